"""Recipes: everything that determines a run, in one small file each, `recipes/<name>.toml`."""

import math
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from glyphq.errors import SetupError
from glyphq.vision.network import Architecture
from training.augment import Augmentation
from training.data import Split

FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Stage:
    """So many epochs whose learning rate goes from one value to another along half a cosine."""

    epochs: int
    learning_rate: float
    final_learning_rate: float
    augmentation: float = 1  # how much of the recipe's changes
    fonts: float = 0  # the part of every batch that is drawn from fonts instead of the split, every class as often

    def rate(self, done: float) -> float:
        """After `done`, 0..1, of the stage."""
        falling = (1 + math.cos(math.pi * done)) / 2
        return self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * falling


@dataclass(frozen=True)
class Recipe:
    """A run. What a file leaves out is not done."""

    name: str
    split: Split
    architecture: Architecture
    batch_size: int
    seed: int
    stages: tuple[Stage, ...]
    class_balanced: bool = False  # draw every class as often, with replacement
    images_per_epoch: int = 0  # 0: as many as there are
    weight_decay: float = 0  # decoupled (Loshchilov and Hutter 2019); without it AdamW is Adam
    label_smoothing: float = 0
    averaging: float = 0  # of the weights over steps, exponential with this decay; 0: the last weights are the result
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or not self.stages or min(stage.epochs for stage in self.stages) < 1:
            raise ValueError("it takes a batch_size and at least one stage, of one epoch or more")
        if min(min(stage.learning_rate, stage.final_learning_rate) for stage in self.stages) < 0:
            raise ValueError("a learning rate is less than 0")
        if not all(0 <= stage.fonts < 1 for stage in self.stages):
            raise ValueError("the part that is drawn from fonts is not from 0 to less than 1")

    @property
    def epochs(self) -> int:
        """Of all stages."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def takes_fonts(self) -> bool:
        return any(stage.fonts for stage in self.stages)

    def stage(self, epochs_done: float) -> tuple[Stage, float]:
        """The stage that is under way after so many epochs of the run, and how much of it is done, 0..1."""
        for stage in self.stages:
            if epochs_done < stage.epochs:
                return stage, epochs_done / stage.epochs
            epochs_done -= stage.epochs
        return self.stages[-1], 1.0

    def learning_rate(self, epochs_done: float) -> float:
        """At any point of the run, in epochs from its beginning."""
        stage, done = self.stage(epochs_done)
        return stage.rate(done)

    def as_dict(self) -> dict[str, Any]:
        """For checkpoints and the model card."""
        return {**asdict(self), "architecture": self.architecture.as_dict(), "stages": [asdict(s) for s in self.stages]}


def read_recipe(name: str) -> Recipe:
    """Raises SetupError when there is no recipe of that name, or its file says what no recipe knows."""
    path = FOLDER / f"{name}.toml"
    if not path.exists():
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.toml")))
        raise SetupError(f"There is no recipe {name!r}; there are: {known}.")
    try:
        fields = tomllib.loads(path.read_text())
        architecture = fields.pop("architecture")
        return Recipe(
            name=name,
            split=_split(fields.pop("split")),
            architecture=Architecture(**{**architecture, "channels": tuple(architecture["channels"])}),
            stages=tuple(_stage(**stage) for stage in fields.pop("stages")),
            augmentation=Augmentation(**fields.pop("augmentation", {})),
            **fields,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise SetupError(f"{path} is no recipe ({error}). Compare it with {FOLDER / 'published.toml'}.") from error


def _split(name: str) -> Split:
    if name not in get_args(Split):
        raise ValueError(f"split is {name!r}, not one of {', '.join(get_args(Split))}")
    return cast("Split", name)


def _stage(epochs: int, learning_rate: float, final_learning_rate: float | None = None, **others: float) -> Stage:
    final = learning_rate if final_learning_rate is None else final_learning_rate
    return Stage(epochs, learning_rate, final, **others)
