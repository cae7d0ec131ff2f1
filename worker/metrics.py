"""What a worker process measures beside `glyphq.metrics`: where a batch's time goes, how large it is, the model."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from prometheus_client import Gauge, Histogram

from glyphq import metrics
from glyphq.jobs import Lane, Model
from glyphq.metrics import REGISTRY

STAGES = "claim", "read", "decode", "predict", "answer", "store", "report"
STAGE_SECONDS = Histogram(
    "glyphq_stage_duration_seconds",
    "Of one batch, in each stage: claim (lease and record), read (from the store), decode (unpack, decode, normalize), "
    "predict (the network), answer (rows), store (the result), report (to Redis, and what follows).",
    ["stage", "lane"],
    buckets=(
        0.0005,
        0.001,
        0.0025,
        0.005,
        0.01,
        0.025,
        0.05,
        0.1,
        0.25,
        0.5,
        1,
        2.5,
        5,
        10,
        30,
        60,
        120,
        300,
        600,
        1800,
    ),
    registry=REGISTRY,
)
BATCH_IMAGES = Histogram(
    "glyphq_batch_images",
    "Images that the network saw in one batch: those of a chunk, or of the jobs that one drain answers.",
    ["lane"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
    registry=REGISTRY,
)
_PROCESSES = Gauge(
    "glyphq_worker_processes",
    "Processes of this worker that hold this model in memory.",
    ["digest", "engine"],
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
_BUSY = Gauge(
    "glyphq_busy_processes",
    "Processes of this worker that are at a chunk, or a drain.",
    ["lane"],
    registry=REGISTRY,
    multiprocess_mode="livesum",
)


def begin_counting(model: Model) -> None:
    """This process has its model, and has done nothing yet."""
    metrics.begin_counting()
    for lane in Lane:
        _BUSY.labels(lane)
        BATCH_IMAGES.labels(lane)
        for stage in STAGES:
            STAGE_SECONDS.labels(stage, lane)
    _PROCESSES.labels(model.digest, model.engine).set(1)


class Stages:
    """Where the time of one batch goes. What is timed within another stage is not the outer one's."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._within = [0.0]  # seconds that inner stages took of each stage that is open

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        if len(self._within) == 1:
            _BUSY.labels(self.lane).inc()
        self._within.append(0.0)
        try:
            yield
        finally:
            took = time.perf_counter() - began
            self._seconds[stage] += took - self._within.pop()
            self._within[-1] += took
            if len(self._within) == 1:
                _BUSY.labels(self.lane).dec()

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """Within, time is another batch's."""
        began = time.perf_counter()
        _BUSY.labels(self.lane).dec()
        try:
            yield
        finally:
            _BUSY.labels(self.lane).inc()
            self._within[-1] += time.perf_counter() - began

    def observe(self) -> None:
        """The batch is through."""
        for stage, seconds in self._seconds.items():
            _stage_seconds(stage, self.lane).observe(seconds)


@cache
def _stage_seconds(stage: str, lane: Lane) -> Histogram:
    return STAGE_SECONDS.labels(stage, lane)
