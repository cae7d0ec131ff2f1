"""Runs of the two recipes: how one is watched or interrupted, and what it came to."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from glyphq.vision.network import Network
from training.data import Pictures
from training.recipes import Recipe
from training.train import CHECKPOINT, Run, train

from .training_files import FULL, PLAIN, TRAINING, VALIDATION

STEPS = 5  # an epoch, of both
BOTH = pytest.mark.parametrize("recipe", [PLAIN, FULL], ids=["plain", "full"])


def numbers(value: Any) -> Any:
    """Tensors as lists, which compare bit for bit."""
    if isinstance(value, Tensor):
        return value.flatten().tolist()
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    return [numbers(item) for item in value] if isinstance(value, list) else value


def weights(network: Network) -> dict[str, list[float]]:
    return {name: numbers(tensor) for name, tensor in network.state_dict().items()}


def saved(folder: Path) -> dict[str, Any]:
    """All that the checkpoint keeps, but for the one number that is of the machine."""
    state: dict[str, Any] = torch.load(folder / CHECKPOINT, weights_only=True)
    for epoch in state["history"]:
        del epoch["images_per_second"]
    return {name: numbers(value) for name, value in state.items()}


def unbroken(recipe: Recipe, training: Pictures = TRAINING, validation: Pictures = VALIDATION) -> dict[str, Any]:
    train(recipe, training, validation, Path("runs/unbroken"))
    return saved(Path("runs/unbroken"))


def epochs_logged(folder: Path) -> list[str]:
    lines = (folder / "log.txt").read_text().splitlines()
    assert all(line.count("epoch") == 1 and line.endswith("images/s") for line in lines)
    return [line.split("  ")[0] for line in lines]


@contextmanager
def after_each_step(act: Callable[[Run], object]) -> Iterator[None]:
    take_step = Run.take_step

    def acting(run: Run, *given: Any) -> None:
        take_step(run, *given)
        act(run)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Run, "take_step", acting)
        yield


def after_step(number: int, act: Callable[[], object]) -> AbstractContextManager[None]:
    return after_each_step(lambda run: act() if run.step == number else None)


def control_c() -> None:
    signal.raise_signal(signal.SIGINT)
