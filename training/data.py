"""EMNIST as tensors, from torchvision's raw layout, downloaded or unpacked from a local root.

Knows files and splits; nothing of networks. The test set is read by `training.evaluate` alone.
"""

import gzip
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.error import URLError

import torch
from torch import Tensor

from glyphq.errors import SetupError
from glyphq.labels import LABELS
from glyphq.vision.picture import PICTURE_SIZE

Split = Literal["balanced", "bymerge"]  # of 47 classes both: the second has more images, and not as many of each class
CACHE = Path("runs/data")  # what was downloaded, and in a folder beside it what was unpacked from a local root
VALIDATION_PER_CLASS = 50


@dataclass(frozen=True)
class Pictures:
    """pixels uint8[N, 28, 28], upright, light on dark; classes int64[N]."""

    pixels: Tensor
    classes: Tensor

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, chosen: Tensor) -> "Pictures":
        return Pictures(self.pixels[chosen], self.classes[chosen])

    def __add__(self, others: "Pictures") -> "Pictures":
        """These, then the others."""
        return Pictures(torch.cat([self.pixels, others.pixels]), torch.cat([self.classes, others.classes]))

    def to(self, device: torch.device) -> "Pictures":
        return Pictures(self.pixels.to(device), self.classes.to(device))


def load_emnist(root: Path | None, split: Split, *, train: bool) -> Pictures:
    """One part of EMNIST; downloads the official files when `root` is None.

    `root` holds `EMNIST/raw/emnist-<split>-<part>-*-ubyte`, plain or gzipped; gzipped files are unpacked into
    `runs/data`, never beside the originals. Raises SetupError when the part is missing or truncated.
    """
    declare_missing_operators()
    from torchvision.datasets import EMNIST

    cache = CACHE / ("official" if root is None else "local")
    if root is not None:
        _unpack(root, cache / "EMNIST" / "raw", split, "train" if train else "test")
    try:
        dataset = EMNIST(str(cache), split=split, train=train, download=root is None)
    except URLError as error:
        raise SetupError(
            f"EMNIST {split} cannot be downloaded ({error.reason}). "
            "Try again, or point --data at a folder that holds EMNIST/raw."
        ) from error
    except (RuntimeError, ValueError, KeyError, TypeError, AssertionError, OSError) as error:
        said = str(error) or type(error).__name__
        raise SetupError(f"EMNIST {split} cannot be read; its files are truncated or no idx files ({said}).") from error
    _check(dataset.data, dataset.targets, split)
    # The official files store each image column by column.
    return Pictures(dataset.data.transpose(1, 2).contiguous(), dataset.targets.long())


def _check(pixels: Tensor, classes: Tensor, split: Split) -> None:
    if len(pixels) != len(classes):
        raise SetupError(f"EMNIST {split} has {len(pixels)} images and {len(classes)} labels; they are of two parts.")
    if pixels.shape[1:] != (PICTURE_SIZE, PICTURE_SIZE):
        raise SetupError(f"EMNIST {split} has images of {tuple(pixels.shape[1:])} pixels, not 28x28.")
    if len(classes) and int(classes.max()) >= len(LABELS):
        raise SetupError(
            f"EMNIST {split} has labels up to {int(classes.max())}, but {len(LABELS)} classes: "
            "these are the files of another split under its name."
        )


def hold_out(pictures: Pictures, per_class: int = VALIDATION_PER_CLASS, *, seed: int) -> tuple[Pictures, Pictures]:
    """(the rest, `per_class` images of each class), drawn with `seed`; nothing is in both."""
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))
    shuffled = pictures.classes[order]
    held = torch.zeros(len(pictures), dtype=torch.bool)
    for value in shuffled.unique():
        held[order[(shuffled == value).nonzero().flatten()[:per_class]]] = True
    return pictures[~held], pictures[held]


def _unpack(root: Path, raw: Path, split: Split, part: str) -> None:
    raw.mkdir(parents=True, exist_ok=True)
    for kind in ("images-idx3", "labels-idx1"):
        name = f"emnist-{split}-{part}-{kind}-ubyte"
        source = root / "EMNIST" / "raw" / name
        packed = source.with_name(name + ".gz")
        target, temporary = raw / name, raw / f"{name}.tmp"
        if not source.exists() and not packed.exists():
            raise SetupError(
                f"{packed} is missing. Point --data at the folder that holds EMNIST/raw, or leave it out to download."
            )
        try:
            with gzip.open(packed) if packed.exists() else source.open("rb") as stream, temporary.open("wb") as sink:
                shutil.copyfileobj(stream, sink, 1 << 20)
        except (EOFError, OSError, zlib.error) as error:
            raise SetupError(f"{packed} cannot be unpacked into {raw}: {error}") from error
        temporary.replace(target)


def declare_missing_operators() -> None:
    """Let torchvision import where its compiled part does not match this build of torch.

    Such a torchvision raises on two operators of detection networks that nothing here uses; declared, they satisfy it.
    """
    try:
        import torchvision  # noqa: F401  # the import is the test
    except RuntimeError:
        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
