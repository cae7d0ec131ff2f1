"""From a finished run to shipped weights: `python -m training.export --recipe published --data ROOT`.

Fits the temperature on the images held out of training, reads the test set once to measure, and writes weights and
card.
"""

import math
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from glyphq.errors import GlyphqError, SetupError
from glyphq.vision.checkpoint import SHIPPED, save_network
from glyphq.vision.network import Network, parameters
from training.data import Pictures, hold_out, load_emnist
from training.train import RUNS, Recipe, logits_of, read_recipe

PUBLISHED = {"accuracy": 0.8882, "loss": 0.05}  # as the recipe's authors gave them, on their own validation data


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


def measure(logits: Tensor, classes: Tensor) -> dict[str, Any]:
    """Accuracy with its 95 % Wilson interval, and cross-entropy in nats."""
    total = len(classes)
    accuracy = (logits.argmax(1) == classes).float().mean().item()
    z = 1.96
    middle = (accuracy + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(accuracy * (1 - accuracy) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return {
        "images": total,
        "accuracy": round(accuracy, 4),
        "interval_95": [round(middle - half, 4), round(middle + half, 4)],
        "loss": round(nn.functional.cross_entropy(logits, classes).item(), 4),
    }


def export(
    recipe: Recipe, run: Path, training: Pictures, validation: Pictures, test: Pictures, folder: Path
) -> dict[str, Any]:
    """Write the run's weights and card to `folder`; answers the card. Raises SetupError for an unfinished run."""
    path = run / "checkpoint.pt"
    if not path.exists():
        raise SetupError(f"There is no run at {run}. Train first: make train")
    saved = torch.load(path, weights_only=True)
    epochs = len(recipe.learning_rates)
    if saved["recipe"] != repr(recipe) or saved["epochs"] != epochs:
        raise SetupError(
            f"{path} is not a finished run of recipe {recipe.name} ({saved['epochs']} of {epochs} epochs)."
        )
    network = Network(recipe.architecture).eval()
    network.load_state_dict(saved["network"])
    held_out = logits_of(network, validation.pixels)
    fields = {
        "name": f"glyphq {recipe.name}",
        "architecture": {
            "channels": list(recipe.architecture.channels),
            "hidden": recipe.architecture.hidden,
            "dropout": recipe.architecture.dropout,
        },
        "parameters": parameters(network),
        "recipe": recipe.as_dict(),
        "data": {
            "source": "EMNIST Balanced, training part (Cohen et al. 2017, from NIST SD 19)",
            "trained_on": len(training),
            "held_out": len(validation),
        },
        "temperature": round(fit_temperature(held_out, validation.classes), 4),
        "measured": {
            "training_loss_last_epoch": round(saved["loss"], 4),
            "training_without_dropout": measure(logits_of(network, training.pixels), training.classes),
            "held_out": measure(held_out, validation.classes),
            "emnist-balanced-test": measure(logits_of(network, test.pixels), test.classes),
        },
        "published": PUBLISHED,
    }
    return save_network(folder, network, fields).fields


def main(
    recipe: Annotated[str, typer.Option(help="The recipe of the finished run.")] = "published",
    data: Annotated[Path | None, typer.Option(help="Folder that holds EMNIST/raw; left out, it is downloaded.")] = None,
    output: Annotated[Path, typer.Option(help="Where to write weights and card.")] = SHIPPED,
) -> None:
    """Measure a finished run and write it as the shipped model."""
    try:
        chosen = read_recipe(recipe)
        training, validation = hold_out(load_emnist(data, "balanced", train=True), seed=chosen.seed)
        test = load_emnist(data, "balanced", train=False)
        card = export(chosen, RUNS / recipe, training, validation, test, output)
    except GlyphqError as error:
        typer.echo(f"error: {error.detail}", err=True)
        raise SystemExit(1) from None
    for name, numbers in card["measured"].items():
        print(f"{name}: {numbers}")
    print(f"published: {card['published']}\ntemperature: {card['temperature']}\nwritten to {output}: {card['digest']}")


if __name__ == "__main__":
    typer.run(main)
