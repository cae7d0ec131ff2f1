"""Celery with Redis as broker and result backend: a prefork worker with a process for every core, results by group.

Image by image and in chunks the PNGs travel in the messages, in Celery's default JSON (bytes as base64), and the tasks
run Pillow and eager float32. Tuned, a message names a part of the zip, which the task reads itself, decodes with cv2
and computes compiled in bfloat16: the functions of `tuned_script`.

A task of one image takes 4.8 ms of CPU (2 cores of an EPYC 9005): the client 1.1, the worker's main process 1.1, its
children 2.3, of which the network 0.8, Redis 0.3. To publish without a group, on one producer, takes as long.
"""

import csv
import os
import sys
import tempfile
import time
import zipfile
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

from celery import Celery, group
from redis import Redis
from redis.exceptions import ConnectionError as NotYet

from bench.peers.processes import READY_SECONDS, StartedPeer, running
from bench.peers.table import COLUMNS, write_table
from glyphq.embedded import redis_server
from glyphq.errors import SetupError

CHUNK = 256
_TASKS = "bench.peers.celery_app"


class CeleryPeer(StartedPeer):
    """Redis, the worker, and a client of both. Each kind of task is a subclass."""

    compiled = False

    def start(self, stack: ExitStack) -> None:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="glyphq-"))
        socket = f"{folder}/redis.sock"
        server = [redis_server(), "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no"]
        redis = stack.enter_context(Redis(unix_socket_path=socket))
        stack.enter_context(running([*server, "--dir", folder], lambda: _answers(redis)))
        url = f"redis+socket://{socket}"
        self._client = stack.enter_context(Celery("bench", broker=url, backend=url, set_as_current=False))
        cores = os.cpu_count() or 1
        worker = [
            *(sys.executable, "-m", "celery", "--broker", url, "--result-backend", url, "-A", _TASKS),
            *("worker", "--concurrency", str(cores), "--loglevel", "WARNING", "--without-gossip"),
        ]
        environment = {"BENCH_MODEL": str(self._model)}
        stack.enter_context(running(worker, lambda: bool(self._client.control.ping(timeout=0.5)), environment))
        self._warm_up(cores)

    def _warm_up(self, processes: int) -> None:
        ready: set[int] = set()
        deadline = time.monotonic() + READY_SECONDS
        while len(ready) < processes:
            if time.monotonic() > deadline:
                raise SetupError(f"Of {processes} processes of the Celery worker {len(ready)} got ready.")
            ready.update(self._gather("warm_up", [(self.compiled,)] * processes))

    def _gather(self, task: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
        """What the tasks return, one for each tuple of arguments, in their order."""
        tasks = group(self._client.signature(f"{_TASKS}.{task}", each) for each in arguments)
        # Before it listens for results get() sleeps once, for half a second unless told otherwise.
        answers: list[Any] = tasks.apply_async().get(timeout=600, interval=0.001)
        return answers


def _answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except NotYet:
        return False


class CeleryImage(CeleryPeer):
    name = "Celery, one task an image"

    def classify(self, archive: Path, table: Path) -> float:
        started = time.perf_counter()
        with zipfile.ZipFile(archive) as file:
            names = file.namelist()
            answers = self._gather("classify_image", [(file.read(name),) for name in names])
        write_table(table, names, answers)
        return time.perf_counter() - started


class CeleryChunk(CeleryPeer):
    name = f"Celery, one task for {CHUNK} images"

    def classify(self, archive: Path, table: Path) -> float:
        started = time.perf_counter()
        with zipfile.ZipFile(archive) as file:
            names = file.namelist()
            starts = range(0, len(names), CHUNK)
            chunks = [([file.read(name) for name in names[start : start + CHUNK]],) for start in starts]
            answers = self._gather("classify_images", chunks)
        write_table(table, names, chain.from_iterable(answers))
        return time.perf_counter() - started


class CeleryChunkTuned(CeleryPeer):
    name = f"Celery, one tuned task for {CHUNK} images"
    compiled = True

    def classify(self, archive: Path, table: Path) -> float:
        started = time.perf_counter()
        with zipfile.ZipFile(archive) as file:
            starts = range(0, len(file.namelist()), CHUNK)
        path = str(archive.resolve())
        parts = self._gather("classify_part", [(path, start, start + CHUNK) for start in starts])
        with table.open("w", newline="", encoding="utf-8") as csv_file:
            csv.writer(csv_file).writerow(COLUMNS)
            csv_file.writelines(parts)
        return time.perf_counter() - started
