"""Tiny files of EMNIST's format, two recipes, and what is said when such a file is refused."""

import gzip
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from glyphq.errors import SetupError
from glyphq.vision.network import Architecture
from training.augment import Augmentation
from training.data import Pictures, Split
from training.recipes import Recipe, Stage

PLAIN = Recipe(
    name="plain",
    split="balanced",
    architecture=Architecture((2, 2, 2), 4),
    batch_size=8,
    seed=3,
    stages=(Stage(2, 0.01, 0.01), Stage(2, 0.001, 0.001)),
)
PLAIN_TOML = """
split = "balanced"
batch_size = 8
seed = 3
[architecture]
channels = [2, 2, 2]
hidden = 4
dropout = 0.5
[[stages]]
epochs = 2
learning_rate = 0.01
[[stages]]
epochs = 2
learning_rate = 0.001
"""
FULL = Recipe(
    name="full",
    split="bymerge",
    architecture=Architecture((2, 2, 2), 4, dropout=0.25),
    batch_size=8,
    seed=3,
    stages=(Stage(2, 0.01, 0.02), Stage(2, 0.02, 0.0, augmentation=0.4)),
    class_balanced=True,
    images_per_epoch=45,
    weight_decay=0.05,
    label_smoothing=0.1,
    averaging=0.9,
    augmentation=Augmentation(rotation=10, shear=0.2, scale=0.15, shift=1.5, elastic=1.2, pen_width=0.4, blur=0.8),
)
FULL_TOML = """
split = "bymerge"
batch_size = 8
seed = 3
class_balanced = true
images_per_epoch = 45
weight_decay = 0.05
label_smoothing = 0.1
averaging = 0.9
[architecture]
channels = [2, 2, 2]
hidden = 4
dropout = 0.25
[augmentation]
rotation = 10
shear = 0.2
scale = 0.15
shift = 1.5
elastic = 1.2
pen_width = 0.4
blur = 0.8
[[stages]]
epochs = 2
learning_rate = 0.01
final_learning_rate = 0.02
[[stages]]
epochs = 2
learning_rate = 0.02
final_learning_rate = 0.0
augmentation = 0.4
"""


def noise(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def in_turn(count: int, classes: int = 47) -> NDArray[np.uint8]:
    return (np.arange(count) % classes).astype(np.uint8)


def pictures(count: int, classes: int = 47, seed: int = 0) -> Pictures:
    return Pictures(torch.from_numpy(noise(count, seed)), torch.from_numpy(in_turn(count, classes)).long())


TRAINING, VALIDATION = pictures(44, seed=1), pictures(10, seed=2)


def idx(values: NDArray[Any], kind: int = 8) -> bytes:
    """The format of MNIST's files: two zeros, type (8 is bytes), dimensions, their sizes, the values."""
    return struct.pack(f">HBB{values.ndim}I", 0, kind, values.ndim, *values.shape) + values.tobytes()


def write_emnist(
    root: Path,
    pixels: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    *,
    split: Split = "balanced",
    part: str = "train",
    packed: bool = False,
) -> Path:
    """Upright pictures as EMNIST stores them, column by column; answers the folder of the files."""
    raw = root / "EMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for kind, values in (("images-idx3", pixels.transpose(0, 2, 1)), ("labels-idx1", classes)):
        name, content = f"emnist-{split}-{part}-{kind}-ubyte", idx(np.ascontiguousarray(values))
        if packed:
            (raw / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (raw / name).write_bytes(content)
    return raw


@contextmanager
def refused(match: str) -> Iterator[pytest.ExceptionInfo[SetupError]]:
    """With what the person at the terminal reads: one line, with something said wherever something is announced."""
    with pytest.raises(SetupError, match=match) as caught:
        yield caught
    said = caught.value.detail
    assert "\n" not in said
    assert " ()" not in said
    assert not said.rstrip().endswith(":")
    assert len(said) < 400
