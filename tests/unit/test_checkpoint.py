"""Weights and card: what was saved is loaded, and whatever does not match is refused with a sentence."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from glyphq.errors import ModelError
from glyphq.labels import LABELS
from glyphq.vision.checkpoint import PREPROCESSING_VERSION, load_network, read_card, read_weights, save_network
from glyphq.vision.network import Architecture, Network

ARCHITECTURE = Architecture((2, 2, 2), 4)
FIELDS = {
    "name": "tiny",
    "temperature": 1.25,
    "architecture": {"channels": [2, 2, 2], "hidden": 4, "dropout": 0.5},
    "measured": {"emnist-balanced-test": {"accuracy": 0.5}},
}


def network(seed: int = 1) -> Network:
    torch.manual_seed(seed)
    return Network(ARCHITECTURE).eval()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a tiny network and its card."""
    folder = tmp_path / "model"
    save_network(folder, network(), FIELDS)
    return folder


def same_weights(one: Network, other: Network) -> bool:
    weights, others = one.state_dict(), other.state_dict()
    return weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)


def change_card(model: Path, **changes: Any) -> None:
    path = model / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def replace_weights(model: Path, content: bytes) -> None:
    """With a digest that matches, as if they had been saved so."""
    (model / "model.safetensors").write_bytes(content)
    change_card(model, digest=hashlib.sha256(content).hexdigest())


def test_what_was_saved_is_loaded_bit_for_bit(model: Path) -> None:
    assert same_weights(load_network(model)[0], network())


def test_the_loaded_network_answers_as_the_saved_one_did(model: Path) -> None:
    pictures = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    loaded, _ = load_network(model)
    with torch.inference_mode():
        assert torch.equal(loaded(pictures), network()(pictures))


def test_it_is_loaded_in_evaluation_mode(model: Path) -> None:
    assert not load_network(model)[0].training


def test_memory_laid_out_for_training_is_saved_too(tmp_path: Path) -> None:
    trained = network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_network(tmp_path, trained, FIELDS)
    assert same_weights(load_network(tmp_path)[0], network())


def test_the_card_says_what_the_weights_are(model: Path) -> None:
    _, card = load_network(model)
    assert card == read_card(model)
    assert card.digest == hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    assert card.temperature == 1.25
    assert card.fields == {
        **FIELDS,
        "classes": LABELS,
        "preprocessing": PREPROCESSING_VERSION,
        "digest": card.digest,
    }


def test_saving_again_replaces_both_and_leaves_nothing_else(model: Path) -> None:
    save_network(model, network(seed=2), FIELDS)
    assert same_weights(load_network(model)[0], network(seed=2))
    assert sorted(path.name for path in model.iterdir()) == ["card.json", "model.safetensors"]


def test_a_missing_card_is_refused_with_its_path(model: Path) -> None:
    (model / "card.json").unlink()
    with pytest.raises(ModelError, match=r"no model card at .*card\.json.*GLYPHQ_MODEL"):
        load_network(model)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "null", "{}", '{"digest": "x"}', '{"digest": "x", "temperature": "hot"}']
)
def test_a_card_that_cannot_be_read_is_refused(model: Path, content: str) -> None:
    (model / "card.json").write_text(content)
    with pytest.raises(ModelError, match="cannot be read"):
        read_card(model)


def test_a_card_that_is_no_text_is_refused(model: Path) -> None:
    (model / "card.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="cannot be read"):
        read_card(model)


@pytest.mark.parametrize("field", ["digest", "temperature", "classes", "preprocessing"])
def test_a_card_without_what_it_must_say_is_refused(model: Path, field: str) -> None:
    path = model / "card.json"
    fields = json.loads(path.read_text())
    del fields[field]
    path.write_text(json.dumps(fields))
    with pytest.raises(ModelError, match=field):
        read_card(model)


def test_other_classes_are_refused(model: Path) -> None:
    change_card(model, classes=LABELS.lower())
    with pytest.raises(ModelError, match="other classes"):
        load_network(model)


def test_another_preprocessing_is_refused(model: Path) -> None:
    change_card(model, preprocessing=PREPROCESSING_VERSION + 1)
    with pytest.raises(ModelError, match=f"version {PREPROCESSING_VERSION + 1}; this glyphq makes version"):
        load_network(model)


def test_missing_weights_are_refused(model: Path) -> None:
    (model / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        load_network(model)


def test_the_card_of_missing_weights_can_still_be_read(model: Path) -> None:
    (model / "model.safetensors").unlink()
    assert read_card(model).temperature == 1.25


def test_the_bytes_of_the_weights_come_with_their_card(model: Path) -> None:
    assert read_weights(model) == ((model / "model.safetensors").read_bytes(), read_card(model))


@pytest.mark.parametrize("load", [load_network, read_weights])
def test_one_altered_bit_in_the_weights_is_refused(model: Path, load: Callable[[Path], object]) -> None:
    path = model / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="are not those of the card"):
        load(model)


def test_another_models_weights_are_refused(model: Path, tmp_path: Path) -> None:
    save_network(tmp_path / "other", network(seed=2), FIELDS)
    (tmp_path / "other" / "model.safetensors").replace(model / "model.safetensors")
    with pytest.raises(ModelError, match="are not those of the card"):
        load_network(model)


@pytest.mark.parametrize("end", [0, 1, 8, 100, -100, -1])
def test_truncated_weights_with_a_digest_that_matches_are_refused(model: Path, end: int) -> None:
    replace_weights(model, (model / "model.safetensors").read_bytes()[:end])
    with pytest.raises(ModelError, match="do not fit"):
        load_network(model)


@pytest.mark.parametrize(
    "architecture",
    [
        {"channels": [2, 2, 3], "hidden": 4, "dropout": 0.5},
        {"channels": [2, 2, 2], "hidden": 5, "dropout": 0.5},
        {"channels": [2, 2], "hidden": 4, "dropout": 0.5},
        {"channels": [2, 2, 2], "hidden": 4, "dropout": 0.5, "classes": 10},
        {"channels": [2, 2, 2], "hidden": 4, "dropout": 0.5, "depth": 50},
        {"hidden": 4},
        {"channels": 2},
        [],
        None,
    ],
)
def test_an_architecture_that_the_weights_do_not_fit_is_refused(model: Path, architecture: Any) -> None:
    change_card(model, architecture=architecture)
    with pytest.raises(ModelError, match="do not fit the architecture"):
        load_network(model)


def test_a_card_without_an_architecture_is_refused(model: Path) -> None:
    path = model / "card.json"
    fields = json.loads(path.read_text())
    del fields["architecture"]
    path.write_text(json.dumps(fields))
    with pytest.raises(ModelError, match="do not fit the architecture"):
        load_network(model)
