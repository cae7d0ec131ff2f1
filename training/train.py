"""Train a recipe: `python -m training.train --recipe published --data ROOT`. Resumes from its last epoch.

Knows recipes, epochs and checkpoints; what becomes of the result is `training.export`'s. An epoch's order and dropout
follow from the seed and the epoch's number alone, so a resumed run is the run that was interrupted.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from glyphq.errors import GlyphqError, SetupError
from glyphq.vision.network import Architecture, Network, parameters
from training.data import Pictures, hold_out, load_emnist

RUNS = Path("runs")
_RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Stage:
    """So many epochs at one learning rate."""

    epochs: int
    learning_rate: float


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a run, as read from `recipes/<name>.toml`."""

    name: str
    architecture: Architecture
    batch_size: int
    seed: int
    stages: tuple[Stage, ...]

    @property
    def learning_rates(self) -> list[float]:
        """One an epoch."""
        return [stage.learning_rate for stage in self.stages for _ in range(stage.epochs)]

    def as_dict(self) -> dict[str, Any]:
        """For the model card."""
        stages = [{"epochs": stage.epochs, "learning_rate": stage.learning_rate} for stage in self.stages]
        return {
            "name": self.name,
            "optimizer": "Adam",
            "batch_size": self.batch_size,
            "seed": self.seed,
            "stages": stages,
        }


def read_recipe(name: str) -> Recipe:
    """Raises SetupError when there is no recipe of that name."""
    path = _RECIPES / f"{name}.toml"
    if not path.exists():
        known = ", ".join(sorted(path.stem for path in _RECIPES.glob("*.toml")))
        raise SetupError(f"There is no recipe {name!r}; there are: {known}.")
    fields = tomllib.loads(path.read_text())
    architecture = Architecture(tuple(fields["channels"]), fields["hidden"], fields["dropout"])
    stages = tuple(Stage(**stage) for stage in fields["stages"])
    return Recipe(name, architecture, fields["batch_size"], fields["seed"], stages)


@torch.no_grad()
def evaluate(network: nn.Module, pictures: Pictures) -> tuple[float, float]:
    """(accuracy, mean cross-entropy in nats) in evaluation mode."""
    logits = logits_of(network, pictures.pixels)
    loss = nn.functional.cross_entropy(logits, pictures.classes)
    return (logits.argmax(1) == pictures.classes).float().mean().item(), loss.item()


@torch.no_grad()
def logits_of(network: nn.Module, pixels: Tensor) -> Tensor:
    """float32[N, classes], computed in float32."""
    network.eval()
    return torch.cat([network(batch) for batch in pixels.split(512)])


def train(recipe: Recipe, training: Pictures, validation: Pictures, folder: Path) -> Network:
    """Run what is left of the recipe, a checkpoint and a line of `log.txt` an epoch in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    network = Network(recipe.architecture)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    rates = recipe.learning_rates
    done = _resume(folder / "checkpoint.pt", recipe, network, optimizer)
    step = _compiled_step(network, optimizer)
    for epoch in range(done, len(rates)):
        optimizer.param_groups[0]["lr"] = rates[epoch]
        started = monotonic()
        loss = _epoch(step, network, training, recipe, epoch)
        accuracy, validation_loss = evaluate(network, validation)
        seconds = monotonic() - started
        line = (
            f"epoch {epoch + 1}/{len(rates)}  rate {rates[epoch]:g}  loss {loss:.4f}  validation {accuracy:.4f} "
            f"loss {validation_loss:.4f}  {len(training) / seconds:,.0f} images/s  "
            f"{seconds * (len(rates) - epoch - 1) / 60:.0f} min left"
        )
        print(line, flush=True)
        with (folder / "log.txt").open("a") as log:
            log.write(line + "\n")
        _save(folder / "checkpoint.pt", recipe, network, optimizer, epoch + 1, loss)
    return network.eval()


def _epoch(step: Any, network: Network, training: Pictures, recipe: Recipe, epoch: int) -> float:
    network.train()
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)  # dropout's
    # The last, smaller batch is left out: the compiled step knows one shape, and the next epoch's order is another.
    batches = torch.randperm(len(training), generator=generator).split(recipe.batch_size)[
        : len(training) // recipe.batch_size
    ]
    losses = [step(training.pixels[chosen], training.classes[chosen]) for chosen in batches]
    return torch.stack(losses).mean().item()


def _compiled_step(network: Network, optimizer: torch.optim.Optimizer) -> Any:
    @torch.compile
    def loss_of(pixels: Tensor, classes: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(pixels)
        return nn.functional.cross_entropy(logits.float(), classes)

    def step(pixels: Tensor, classes: Tensor) -> Tensor:
        loss = loss_of(pixels, classes)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _resume(path: Path, recipe: Recipe, network: Network, optimizer: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True)
    if saved["recipe"] != repr(recipe):
        raise SetupError(f"{path} is of another recipe than {recipe.name} is now. Remove it, or restore the recipe.")
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["epochs"])


def _save(
    path: Path, recipe: Recipe, network: Network, optimizer: torch.optim.Optimizer, epochs: int, loss: float
) -> None:
    temporary = path.with_suffix(".tmp")
    state = {
        "recipe": repr(recipe),
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epochs": epochs,
        "loss": loss,
    }
    torch.save(state, temporary)
    temporary.replace(path)


def main(
    recipe: Annotated[str, typer.Option(help="A name from training/recipes.")] = "published",
    data: Annotated[Path | None, typer.Option(help="Folder that holds EMNIST/raw; left out, it is downloaded.")] = None,
    threads: Annotated[int, typer.Option(help="Threads to compute with; 0 is one a core.")] = 0,
) -> None:
    """Train a recipe on EMNIST Balanced into runs/RECIPE; run again to resume."""
    if threads:
        torch.set_num_threads(threads)
    try:
        chosen = read_recipe(recipe)
        training, validation = hold_out(load_emnist(data, "balanced", train=True), seed=chosen.seed)
        size = parameters(Network(chosen.architecture))
        print(f"{len(training):,} images to train on, {len(validation):,} held out; {size:,} parameters")
        train(chosen, training, validation, RUNS / recipe)
    except GlyphqError as error:
        typer.echo(f"error: {error.detail}", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    typer.run(main)
