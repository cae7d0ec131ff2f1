"""From a finished run to a model: `python -m training.export --recipe best --data ROOT`.

Writes weights, learning curves and a card with what is known without a test set; the temperature is fitted on the
images held out of training. `training.card` adds what is measured.

Trained on every class as often, a network takes each for as likely as any other. What people write has 62 characters,
two of which share each class of `MERGED_CASES`: such a class is twice as likely, and its logit is raised by log 2.
"""

import csv
import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer
from torch import Tensor, nn

from glyphq.errors import GlyphqError
from glyphq.labels import LABELS, MERGED_CASES
from glyphq.vision.checkpoint import SHIPPED, save_network
from glyphq.vision.network import Network, parameters
from training.data import Pictures, hold_out, load_emnist
from training.fonts import PACKAGES
from training.measures import LOOK_ALIKES
from training.recipes import Recipe, read_recipe
from training.report import CURVES
from training.train import RUNS, finished_run, logits_of

SOURCE = (
    "EMNIST (Cohen, Afshar, Tapson, van Schaik 2017), from NIST Special Database 19; "
    "letters whose cases look alike are one class"
)


class Prior(StrEnum):
    """What the model takes for equally likely."""

    CHARACTERS = "characters"
    CLASSES = "classes"


@torch.no_grad()
def expect_characters(network: Network) -> None:
    """Raise the logits of the classes that stand for two characters."""
    last = cast("nn.Linear", network.classifier[-1])
    for case in MERGED_CASES:
        last.bias[LABELS.index(case)] += math.log(2)


def fit_temperature(logits: Tensor, classes: Tensor) -> float:
    """The T that makes softmax(logits / T) most likely (Guo et al. 2017, "On Calibration of Modern Neural
    Networks").
    """
    log_temperature = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(logits / log_temperature.exp(), classes)
        loss.backward()
        return loss

    optimizer.step(closure)
    return math.exp(log_temperature.item())


def export(
    recipe: Recipe,
    run: Path,
    training: Pictures,
    validation: Pictures,
    folder: Path,
    prior: Prior = Prior.CHARACTERS,
) -> dict[str, Any]:
    """Write the run's model to `folder`; answers its card. Raises SetupError for an unfinished run."""
    network, history = finished_run(recipe, run)
    if prior is Prior.CHARACTERS:
        expect_characters(network)
    fields = {
        "name": f"glyphq {recipe.name}",
        "architecture": recipe.architecture.as_dict(),
        "parameters": parameters(network),
        "recipe": {name: value for name, value in recipe.as_dict().items() if name != "architecture"},
        "data": {
            "source": SOURCE,
            "split": f"emnist-{recipe.split}-train",
            "trained_on": len(training),
            "held_out": len(validation),
            "fonts": len(PACKAGES) if recipe.takes_fonts else 0,
        },
        "prior": prior.value,
        "look_alikes": LOOK_ALIKES,
        "temperature": round(fit_temperature(logits_of(network, validation.pixels), validation.classes), 4),
    }
    card = save_network(folder, network, fields)
    with (folder / CURVES).open("w", newline="") as file:
        lines = csv.DictWriter(file, history[0].keys(), lineterminator="\n")
        lines.writeheader()
        lines.writerows(history)
    return card.fields


def main(
    recipe: Annotated[str, typer.Option(help="The recipe of the finished run.")] = "best",
    data: Annotated[Path | None, typer.Option(help="Folder that holds EMNIST/raw; left out, it is downloaded.")] = None,
    output: Annotated[Path, typer.Option(help="Where to write weights and card.")] = SHIPPED,
    prior: Annotated[Prior, typer.Option(help="Equally likely: each character, or as trained each class.")] = (
        Prior.CHARACTERS
    ),
) -> None:
    """Write a finished run as a model, by default as the shipped one."""
    try:
        chosen = read_recipe(recipe)
        training, validation = hold_out(load_emnist(data, chosen.split, train=True), seed=chosen.seed)
        fields = export(chosen, RUNS / recipe, training, validation, output, prior)
    except GlyphqError as error:
        typer.echo(f"error: {error.detail}", err=True)
        raise SystemExit(1) from None
    print(f"{fields['parameters']:,} parameters, temperature {fields['temperature']}")
    print(f"written to {output}: {fields['digest']}")


if __name__ == "__main__":
    typer.run(main)
