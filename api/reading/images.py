"""One input of a job to look at: as it was handed in, or as the network saw it. Knows files and names; nothing of HTTP.

The API may neither decode nor draw, so an isolated child does, one for the life of the process, from the first time it
is asked. Those who wait for it wait on the event loop, so that an image on which it hangs holds one thread, not all.
"""

import asyncio
import re
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Self

import numpy as np
from starlette.concurrency import run_in_threadpool

from glyphq.contents import contents
from glyphq.errors import NoPicture
from glyphq.jobs import Job, Kind, Rejection, RowStatus
from glyphq.ledger import Ledger
from glyphq.settings import Settings
from glyphq.sniff import HEAD_BYTES, sniff
from glyphq.vision.isolated import IsolatedDecoder
from glyphq.vision.picture import from_pixels, to_png

_DECODE_SECONDS = 10.0
_MAX_NAME_CHARACTERS = 100
_SUFFIXES = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg"),
    "webp": (".webp",),
    "tiff": (".tif", ".tiff"),
    "bmp": (".bmp",),
}


@dataclass(frozen=True)
class Image:
    """A file to show. `format` is one of _SUFFIXES, told by the bytes; None for anything but an image.

    `name` has no folders and no control characters, and its suffix is one of the format's.
    """

    name: str
    format: str | None
    content: bytes


def image_of(kind: Kind, name: str, content: bytes) -> Image:
    """An input of a job of this kind as a file; of a pixel row its picture."""
    if kind is Kind.PIXELS:
        content = to_png(from_pixels(content))
    found = sniff(content[:HEAD_BYTES])
    form = found if found in _SUFFIXES else None
    return Image(_file_name(name, form), form, content)


class Images:
    """A context manager around the child; see the module."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._max_bytes = settings.max_entry_bytes
        self._ledger = ledger
        self._decoder = IsolatedDecoder(settings.max_pixels, timeout_seconds=_DECODE_SECONDS)
        self._turn = asyncio.Lock()

    def __enter__(self) -> Self:
        self._decoder.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.__exit__()

    async def original(self, job: Job, row: int) -> Image:
        """The input's own bytes; of a pixel row its picture. Raises RowNotFound, NoPicture, DamagedObject."""
        return await run_in_threadpool(self._original, job, row)

    async def model(self, job: Job, row: int) -> Image:
        """The 28x28 picture that the network was given, as PNG. Raises as `original`, NoPicture for a blank too."""
        async with self._turn:
            return await run_in_threadpool(self._model, job, row)

    def _original(self, job: Job, row: int) -> Image:
        return image_of(job.kind, *self._content(job, row))

    def _model(self, job: Job, row: int) -> Image:
        name, content = self._content(job, row)
        if job.kind is Kind.PIXELS:
            pixels = from_pixels(content)
            picture = pixels if pixels.any() else None
        else:
            answer = self._decoder.picture(content, job.options.invert)
            picture = answer if isinstance(answer, np.ndarray) else None
            if isinstance(answer, Rejection):
                raise NoPicture(answer.reason, answer.detail)
        if picture is None:
            raise NoPicture(RowStatus.BLANK, f"The network was given nothing. {RowStatus.BLANK.sentence}")
        return Image(f"{_stem(name)}-model.png", "png", to_png(picture))

    def _content(self, job: Job, row: int) -> tuple[str, bytes]:
        """Name and bytes of one input, of which no more than its own are read."""
        index = self._ledger.inputs.index_row(job, row)
        size = index.column("size")[0].as_py()
        if size > self._max_bytes:
            raise NoPicture("too_many_bytes", f"The file has {size:,} bytes; up to {self._max_bytes:,} are shown.")
        content = next(contents(index, partial(self._ledger.inputs.read, job)))
        if isinstance(content, Rejection):
            raise NoPicture(content.reason, content.detail)
        return index.column("name")[0].as_py(), bytes(content)


def _file_name(name: str, form: str | None) -> str:
    own = _printable(name)
    if form is None or PurePosixPath(own).suffix.lower() in _SUFFIXES[form]:
        return own
    return own + _SUFFIXES[form][0]


def _stem(name: str) -> str:
    return PurePosixPath(_printable(name)).stem


def _printable(name: str) -> str:
    """The last part of a path, its end where it is long."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(c if c.isprintable() else "_" for c in last)[-_MAX_NAME_CHARACTERS:].lstrip(". ") or "scan"
