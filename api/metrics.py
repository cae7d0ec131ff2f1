"""What the API measures, and what `GET /metrics` answers: that, and what Redis says of queues and workers.

The names of what the worker measures too are in `glyphq.metrics`.
"""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from redis import RedisError

from api.batcher import Batcher
from glyphq.blobs import Blobs
from glyphq.broker import sent_with
from glyphq.callbacks import DeliveryState
from glyphq.errors import StoreError
from glyphq.jobs import Job, Lane
from glyphq.metrics import RECOVERIES, RECOVERY_ACTIONS, REGISTRY, begin_counting, build_info, gauge
from glyphq.progress import BULK_QUEUE, INTERACTIVE_QUEUE, Load, open_progress
from glyphq.settings import Settings

log = logging.getLogger(__name__)

_SERVED_SECONDS = 1.0  # one answer serves whoever asks so long
_STORE_SECONDS = 1.0  # likewise for the store
_TIMEOUT_SECONDS = 0.5  # for Redis: whoever scrapes is to be told that it hangs

JOBS_ACCEPTED = Counter("glyphq_jobs_accepted", "Jobs accepted.", ["lane"], registry=REGISTRY)
IMAGES_ACCEPTED = Counter("glyphq_images_accepted", "Images in accepted jobs.", ["lane"], registry=REGISTRY)
HTTP_SECONDS = Histogram(
    "glyphq_http_request_duration_seconds",
    "From a request's head to its answer's last byte, waiting that was asked for included.",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120, 600, 3600),
    registry=REGISTRY,
)
CONNECTIONS_REFUSED = Counter(
    "glyphq_http_connections_refused",
    "Connections that were ended before a request was understood, by the status they were told.",
    ["status"],
    registry=REGISTRY,
)
CALLBACKS = Counter(
    "glyphq_callbacks",
    "Attempts to tell of a job's end: delivered, waiting (failed, and tried again) or given up.",
    ["state"],
    registry=REGISTRY,
)
_KNOWN_LABELS: dict[Counter, Sequence[str | int]] = {
    JOBS_ACCEPTED: list(Lane),
    IMAGES_ACCEPTED: list(Lane),
    CALLBACKS: list(DeliveryState),
    CONNECTIONS_REFUSED: [400, 408, 431, 503],
    RECOVERIES: RECOVERY_ACTIONS,
}
_ANSWERS_TO_JOBS = "200", "202", "500", "503", "507"


def count_accepted(job: Job) -> None:
    JOBS_ACCEPTED.labels(job.lane).inc()
    IMAGES_ACCEPTED.labels(job.lane).inc(job.total)


class Exposition:
    """Everything as Prometheus reads it, made at most once a second. One a process."""

    def __init__(self, settings: Settings, blobs: Blobs) -> None:
        disable_created_metrics()  # each counter would have a second line, with the time of this process' start
        begin_counting()
        for counter, values in _KNOWN_LABELS.items():
            for value in values:
                counter.labels(value)
        for status in _ANSWERS_TO_JOBS:
            HTTP_SECONDS.labels("POST", "/v1/jobs", status)
        own = CollectorRegistry()
        own.register(_Redis(settings))
        own.register(_Installation(settings, blobs))
        ProcessCollector(registry=own)
        self._registries = REGISTRY, own
        self._text = b""
        self._made_at = float("-inf")
        self.latest = Batcher(self._make)

    def _make(self, askers: Sequence[None]) -> Sequence[bytes]:
        if time.monotonic() - self._made_at > _SERVED_SECONDS:
            self._text = b"".join(map(generate_latest, reversed(self._registries)))  # Redis' error is counted first
            self._made_at = time.monotonic()
        return [self._text] * len(askers)


class _Redis(Collector):
    """What Redis says; nothing, and an error counted, while it does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._progress = open_progress(settings, timeout_seconds=_TIMEOUT_SECONDS)

    def describe(self) -> Iterator[Metric]:
        """Nothing is asked before somebody wants to know."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        try:
            load = self._progress.load([BULK_QUEUE, INTERACTIVE_QUEUE])
        except RedisError as error:
            log.warning("metrics: Redis: %s", error)
            yield gauge("glyphq_redis_up", "Whether Redis answers.", {(): 0})
            return
        yield gauge("glyphq_redis_up", "Whether Redis answers.", {(): 1})
        yield gauge("glyphq_workers", "Worker processes heard from in the last seconds.", {(): load.workers})
        yield gauge(
            "glyphq_jobs_open",
            "Jobs that have not ended, as far as Redis knows.",
            {(Lane.BULK,): load.open_jobs, (Lane.INTERACTIVE,): load.waiting_jobs + load.leased_jobs},
            "lane",
        )
        yield gauge(
            "glyphq_queue_messages",
            "Messages that wait in Celery's queues.",
            {(queue,): length for queue, length in load.messages.items()},
            "queue",
        )
        yield gauge(
            "glyphq_interactive_jobs",
            "Jobs of the interactive lane: waiting for a worker, or leased to one.",
            {("waiting",): load.waiting_jobs, ("leased",): load.leased_jobs},
            "state",
        )
        yield gauge(
            "glyphq_queue_oldest_seconds",
            "How long the oldest chunk, or job of the interactive lane, has waited for a worker; 0 where none waits.",
            {(lane,): age for lane, age in _ages(load).items()},
            "lane",
        )


class _Installation(Collector):
    """Which version runs, and how much room its store has; not of a store that says nothing, or has no end."""

    def __init__(self, settings: Settings, blobs: Blobs) -> None:
        self._settings, self._blobs = settings, blobs
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="free bytes")
        self._asked: Future[int] | None = None

    def describe(self) -> Iterator[Metric]:
        """Nothing is asked before somebody wants to know."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield build_info()
        free = self._free_bytes()
        if free < sys.maxsize:
            reserve = self._settings.disk_reserve_bytes
            yield gauge("glyphq_store_free_bytes", "Bytes that can still be written to the store.", {(): free})
            yield gauge("glyphq_store_reserve_bytes", "Free bytes below which uploads are refused.", {(): reserve})

    def _free_bytes(self) -> int:
        """sys.maxsize where the store does not say. One that hangs holds up nobody."""
        self._asked = self._asked or self._asking.submit(self._blobs.free_bytes)
        try:
            free = self._asked.result(_STORE_SECONDS)
        except TimeoutError:
            return sys.maxsize
        except StoreError as error:
            log.warning("metrics: %s", error.detail)
            free = sys.maxsize
        self._asked = None
        return free


def _ages(load: Load) -> dict[Lane, float]:
    sent = sent_with(load.oldest_message) / 1000 if load.oldest_message else 0
    since = {Lane.BULK: sent, Lane.INTERACTIVE: load.waiting_since}
    return {lane: max(0.0, load.now - began) if began else 0.0 for lane, began in since.items()}
