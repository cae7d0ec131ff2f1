"""The Celery application of the peers, as its users write it: tasks that take images, or a part of a zip, in JSON.

Started by `celery_peer.py`, which names broker and result backend; the model's folder is in BENCH_MODEL.
"""

import os
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from celery import Celery

from bench.peers.eager import Answer, Gray, decode, open_eager
from bench.peers.tuned_script import BATCH, Classifier, open_compiled, rows

app = Celery("bench.peers.celery_app")
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=64,  # as Celery's guide advises for many short tasks
)


@cache
def _eager() -> Callable[[Sequence[Gray]], list[Answer]]:
    """Loaded in every process of the worker once, after the fork."""
    return open_eager(Path(os.environ["BENCH_MODEL"]))


@cache
def _compiled() -> Classifier:
    return open_compiled(Path(os.environ["BENCH_MODEL"]))


@cache
def _archive(path: str, modified_ns: int) -> tuple[zipfile.ZipFile, list[str]]:  # noqa: ARG001  # part of the key: a zip written anew is read anew
    archive = zipfile.ZipFile(path)
    return archive, archive.namelist()


@app.task
def warm_up(compiled: bool) -> int:
    """The process that has its network ready."""
    _ = _compiled() if compiled else _eager()
    return os.getpid()


@app.task
def classify_image(png: bytes) -> Answer:
    return _eager()([decode(png)])[0]


@app.task
def classify_images(pngs: list[bytes]) -> list[Answer]:
    return _eager()([decode(png) for png in pngs])


@app.task
def classify_part(path: str, start: int, stop: int) -> str:
    """The CSV's lines for the members from `start` until before `stop`, which is no batch's middle."""
    archive, names = _archive(path, Path(path).stat().st_mtime_ns)
    firsts = range(start, min(stop, len(names)), BATCH)
    return "".join(rows(archive, names[first : first + BATCH], first, _compiled()) for first in firsts)
