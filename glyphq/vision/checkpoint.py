"""Weights on disk: a safetensors file, and beside it the card that says what the weights are.

The card (JSON) is the metadata: architecture, classes, preprocessing version, recipe, data, measured accuracy,
temperature and the SHA-256 of the weights file. Loading fails on any mismatch; a worker without the model it was
shipped with must not start. Reading the card needs no torch, so the API reads it too.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glyphq.errors import ModelError
from glyphq.labels import LABELS

if TYPE_CHECKING:
    from glyphq.vision.network import Network

SHIPPED = Path(__file__).parent / "weights"
PREPROCESSING_VERSION = 1  # of normalize(); raised when old weights would see other pictures than they were trained on
_WEIGHTS, _CARD = "model.safetensors", "card.json"


@dataclass(frozen=True)
class ModelCard:
    """What is known of the weights. `fields` is the card's JSON as written."""

    digest: str
    temperature: float
    fields: dict[str, Any]


def read_card(folder: Path = SHIPPED) -> ModelCard:
    """The card in `folder`. Raises ModelError when it is missing, unreadable or for other classes."""
    path = folder / _CARD
    try:
        fields = json.loads(path.read_text())
        card = ModelCard(fields["digest"], float(fields["temperature"]), fields)
        classes, preprocessing = fields["classes"], fields["preprocessing"]
    except FileNotFoundError:
        raise ModelError(
            f"There is no model card at {path}. Reinstall glyphq, or point GLYPHQ_MODEL at a model."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The model card {path} cannot be read ({error!r}). Reinstall glyphq.") from error
    if classes != LABELS:
        raise ModelError(f"The model in {folder} has other classes ({classes}) than glyphq's ({LABELS}).")
    if preprocessing != PREPROCESSING_VERSION:
        raise ModelError(
            f"The model in {folder} was trained on pictures of preprocessing version {preprocessing}; "
            f"this glyphq makes version {PREPROCESSING_VERSION}."
        )
    return card


def read_weights(folder: Path = SHIPPED) -> tuple[bytes, ModelCard]:
    """The bytes of the weights file, and the card. Raises ModelError when they are missing or not the card's."""
    card = read_card(folder)
    path = folder / _WEIGHTS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"The weights {path} cannot be read ({error.strerror}). Reinstall glyphq.") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != card.digest:
        raise ModelError(
            f"The weights {path} are not those of the card beside them: SHA-256 is {digest[:16]}..., the card says "
            f"{card.digest[:16]}... Reinstall glyphq, or restore both files from the same model."
        )
    return data, card


def load_network(folder: Path = SHIPPED) -> "tuple[Network, ModelCard]":
    """The network with its weights, in evaluation mode, and its card.

    Raises ModelError as `read_weights` does, and when the weights do not fit the architecture that the card names.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    from glyphq.vision.network import Architecture, Network

    data, card = read_weights(folder)
    try:
        architecture = card.fields["architecture"]
        network = Network(Architecture(**{**architecture, "channels": tuple(architecture["channels"])}))
        network.load_state_dict(load(data))
    except (SafetensorError, RuntimeError, TypeError, ValueError, KeyError) as error:
        raise ModelError(f"The weights in {folder} do not fit the architecture on their card: {error}") from error
    return network.eval(), card


def save_network(folder: Path, network: "Network", fields: dict[str, Any]) -> ModelCard:
    """Write weights and card to `folder`, the digest added to `fields`, each file replaced whole."""
    from safetensors.torch import save

    data = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    fields = {
        **fields,
        "classes": LABELS,
        "preprocessing": PREPROCESSING_VERSION,
        "digest": hashlib.sha256(data).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / _WEIGHTS, data)
    return write_card(folder, fields)


def write_card(folder: Path, fields: dict[str, Any]) -> ModelCard:
    """Replace the card in `folder`, whose weights stay as they are."""
    _replace(folder / _CARD, (json.dumps(fields, indent=2) + "\n").encode())
    return read_card(folder)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
