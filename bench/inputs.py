"""The zips that are measured: drawn characters in the sizes and formats that people hand in."""

import io
import zipfile
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import cycle, islice
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from glyphq.errors import GlyphqError
from glyphq.samples import draw
from glyphq.vision.normalize import normalize

_DISTINCT = {28: 2_000, 128: 1_000}  # drawings, repeated under other names; of larger ones fewer
_DISTINCT_LARGE = 50


class Kind(StrEnum):
    """One kind of scan a zip."""

    PNG_28 = "28x28 PNG", 28, 28, "PNG"
    PNG_128 = "128x128 PNG", 128, 128, "PNG"
    PAGE = "1200x900 PNG", 1200, 900, "PNG"
    JPEG_MEGAPIXEL = "1-megapixel JPEG", 1000, 1000, "JPEG"

    width: int
    height: int
    form: str

    def __new__(cls, value: str, width: int, height: int, form: str) -> Self:
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.width, kind.height, kind.form = width, height, form
        return kind


def files(kind: Kind) -> Iterator[bytes]:
    """Image files of one kind, without end. Those of 28x28 are EMNIST's: light on dark, as the network is fed."""
    drawn = [_file(sample.png, kind) for sample in draw(_DISTINCT.get(kind.width, _DISTINCT_LARGE))]
    return cycle(drawn)


def write_zip(target: Path, images: int, kind: Kind = Kind.PNG_28, told: Callable[[int], None] | None = None) -> None:
    """A deflated zip of so many scans; `told` of each that is written."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(islice(files(kind), images)):
            archive.writestr(f"{number:07}.{kind.form.lower()}", content)
            if told:
                told(1)


def _file(png: bytes, kind: Kind) -> bytes:
    scan = Image.open(io.BytesIO(png)).convert("L")
    if kind is Kind.PNG_28:
        picture = normalize(np.asarray(scan))
        if picture is None:
            raise GlyphqError("A drawn sample was taken for a blank one.")
        scan = Image.fromarray(picture)
    else:
        scan = scan.resize((kind.width, kind.height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    scan.save(file, kind.form)
    return file.getvalue()
