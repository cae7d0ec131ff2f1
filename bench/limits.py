"""What the machine can do at all: the work of a job without queue, HTTP and store, on as many processes as glyphq has.

`Limits` measures cumulative parts of the work on processes that are ready; `stages` tells what each step of glyphq's
own way of a chunk costs, in one process.
"""

import multiprocessing
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from glyphq import results
from glyphq.archive import index_zip
from glyphq.contents import contents
from glyphq.jobs import Invert, Model, Rejection, RowStatus
from glyphq.labels import LABELS
from glyphq.settings import Settings
from glyphq.vision.decode import decode, prepare_process
from glyphq.vision.engine import BATCH, Engine, answers, open_engine
from glyphq.vision.frames import has_more_frames
from glyphq.vision.normalize import normalize
from glyphq.vision.picture import PICTURE_SIZE
from glyphq.vision.signs import signs_of

LIMITS = {
    "read": "read with zipfile",
    "decode": "read, decode with cv2",
    "normalize": "read, decode, normalize",
    "forward": "forward alone",
    "all": "read, decode, normalize, forward",
}
_TOP_K = 3

_engines: list[Engine] = []  # of each process of the pool, opened once


@dataclass(frozen=True)
class Limits:
    """Processes with an engine in memory, each of one thread."""

    pool: ProcessPoolExecutor
    processes: int

    def per_second(self, limit: str, archive: Path, images: int) -> float:
        """Images a second of one of LIMITS, over the first so many of the zip: that of the slowest process."""
        bounds = pairwise(round(images * part / self.processes) for part in range(self.processes + 1))
        return images / max(self.pool.map(partial(_seconds, limit, archive), bounds))


@contextmanager
def limits(processes: int, model: Path) -> Iterator[Limits]:
    """Ready when entered."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _open, (model,)) as pool:
        yield Limits(pool, processes)


def _open(model: Path) -> None:
    prepare_process()
    _engines.append(open_engine(folder=model))


def _seconds(limit: str, archive: Path, bounds: tuple[int, int]) -> float:
    pictures: list[Any] = [np.zeros((PICTURE_SIZE, PICTURE_SIZE), np.uint8)] * (bounds[1] - bounds[0])
    started = time.perf_counter()
    if limit != "forward":
        with zipfile.ZipFile(archive) as file:
            pictures = [_work(limit, file.read(name)) for name in file.namelist()[slice(*bounds)]]
    if limit in ("forward", "all"):
        for first in range(0, len(pictures), BATCH):
            _engines[0].logits(np.stack(pictures[first : first + BATCH]))
    return time.perf_counter() - started


def _work(limit: str, content: bytes) -> Any:
    if limit == "read":
        return None
    scan: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    return scan if limit == "decode" else normalize(scan)


def stages(archive: Path, images: int, model: Path) -> dict[str, float]:
    """Microseconds an image of each step on the way of a zip's first `images` scans, done in turn in one process."""
    settings, engine = Settings(), open_engine(folder=model)
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds[step] = time.perf_counter() - started

    def read(start: int, length: int) -> bytes:
        file.seek(start)
        return file.read(length)

    with archive.open("rb") as file:
        with timed("index, of the whole zip"):
            index = index_zip(file, settings.archive_limits, "cp437")
        chunks = list(islice(index.batches(), -(-images // settings.chunk_images)))
        with timed("read, inflate, CRC"):
            found = [
                bytes(each) for chunk in chunks for each in contents(chunk, read) if not isinstance(each, Rejection)
            ]
    with timed("look for more frames"):
        for each in found:
            has_more_frames(each)
    with timed("decode"):
        scans = [decode(each, settings.max_pixels) for each in found]
    with timed("normalize"):
        pictures = _pictures(scans)
    with timed("forward"):
        logits = engine.logits(pictures)
    with timed("signs"):
        signs = signs_of(pictures)
    with timed("softmax, sort"):
        classes, confidences = answers(logits, 1.0, tuple(range(len(LABELS))), _TOP_K)
    with timed("rows, Arrow"):
        first, rows = 0, []
        for chunk in chunks:
            own = slice(first, first + chunk.num_rows)
            statuses = [RowStatus.CLASSIFIED] * chunk.num_rows
            names, numbers = chunk.column("name"), chunk.column("row").to_numpy()
            rows.append(results.build(numbers, names, statuses, classes[own], confidences[own], {}, signs[own]))
            results.counts(rows[-1])
            results.serialize(rows[-1], Model("", ""))
            first += chunk.num_rows
    with timed("CSV"):
        for batch in rows:
            results.to_csv(batch, _TOP_K)
    images_of = dict.fromkeys(seconds, len(found)) | {"index, of the whole zip": index.total}
    return {step: taken * 1e6 / images_of[step] for step, taken in seconds.items()}


def _pictures(scans: list[NDArray[np.uint8] | Rejection]) -> NDArray[np.uint8]:
    pictures = [normalize(scan, Invert.AUTO) for scan in scans if isinstance(scan, np.ndarray)]
    return np.stack([picture for picture in pictures if picture is not None])
