"""Jobs on so many workers, in simulated time, from what a chunk costs each part and the rules by which chunks go out.

Knows costs, queues and windows; measures nothing. Redis and each API process do one thing at a time. A store answers
each request after its latency, and no more requests or bytes a second than it takes.
"""

from collections.abc import Generator
from dataclasses import dataclass
from math import ceil
from typing import Any

import simpy

from glyphq.object_blobs import AT_ONCE
from glyphq.settings import Settings

Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Costs:
    """Of one chunk: seconds of a processor, requests to the store, and bytes."""

    images: int
    worker_seconds: float
    redis_seconds: float
    upload_seconds: float  # of the API, until the job is accepted
    following_seconds: float  # of the API, while it is worked on
    results_seconds: float  # of the API, until its rows are sent
    reads: float  # one after the other, as the writes
    writes: float
    end_reads: float  # of the process that ends the job, for each chunk; object_blobs.AT_ONCE of them together
    rows_reads: float  # of the API when it sends the rows, likewise
    bytes_moved: float  # between workers and store


@dataclass(frozen=True)
class Place:
    """Where it runs. `cores` are the worker processes', one for each unless told otherwise; on `one_machine` Redis and
    the API have no others."""

    workers: int
    cores: int | None = None
    one_machine: bool = False
    api_processes: int = 1
    window: int = Settings.model_fields["window_chunks"].default
    owner_window: int = Settings.model_fields["owner_window_chunks"].default
    store_latency_seconds: float = 0.0
    store_reads_per_second: float = float("inf")
    store_writes_per_second: float = float("inf")
    store_bytes_per_second: float = float("inf")


@dataclass(frozen=True)
class Outcome:
    """`busy`: how much of what each part of the service can do at once it did, on average."""

    images_per_second: float
    busy: dict[str, float]
    chunks_done: int
    most_out: int  # chunks of one job, at a time

    @property
    def saturated(self) -> str:
        """The part that had the most to do."""
        return max(self.busy, key=lambda part: self.busy[part])


def simulate(costs: Costs, place: Place, *, clients: int, chunks: int, jobs: int) -> Outcome:
    """`clients`, each an owner, hand in a job of so many chunks, fetch its rows and hand in the next: `jobs` each."""
    return _Run(costs, place).outcome(clients, chunks, jobs)


@dataclass
class _Job:
    chunks: int
    left: int  # to be sent
    out: int
    ended: simpy.Event


class _Part:
    """Something that does `places` things at a time, and how long it was at it."""

    def __init__(self, environment: simpy.Environment, places: int) -> None:
        self._environment, self.places = environment, places
        self._resource = simpy.Resource(environment, places)
        self.busy_seconds = 0.0

    def work(self, seconds: float) -> Steps:
        with self._resource.request() as turn:
            yield turn
            self.busy_seconds += seconds
            yield self._environment.timeout(seconds)


class _Run:
    def __init__(self, costs: Costs, place: Place) -> None:
        self._costs, self._place = costs, place
        self._environment = simpy.Environment()
        self._queue = simpy.Store(self._environment)
        self._done = self._most_out = 0
        cores = _Part(self._environment, place.cores or place.workers)
        self._parts = {
            "workers": cores,
            "Redis": cores if place.one_machine else _Part(self._environment, 1),
            "API": cores if place.one_machine else _Part(self._environment, place.api_processes),
            "store": _Part(self._environment, 1),
        }
        bounds = (
            costs.reads / place.store_reads_per_second,
            costs.writes / place.store_writes_per_second,
            costs.bytes_moved / place.store_bytes_per_second,
        )
        self._store_seconds = max(bounds)  # of its whole capacity, for a chunk

    def outcome(self, clients: int, chunks: int, jobs: int) -> Outcome:
        for _ in range(self._place.workers):
            self._environment.process(self._worker())
        over = [self._environment.process(self._client(chunks, jobs)) for _ in range(clients)]
        self._environment.run(simpy.AllOf(self._environment, over))
        seconds = self._environment.now
        busy = {name: part.busy_seconds / seconds / part.places for name, part in self._parts.items()}
        return Outcome(self._done * self._costs.images / seconds, busy, self._done, self._most_out)

    def _client(self, chunks: int, jobs: int) -> Steps:
        for _ in range(jobs):
            job = _Job(chunks, chunks, 0, self._environment.event())
            yield from self._parts["API"].work(self._costs.upload_seconds * chunks)
            self._send(job)
            yield job.ended
            yield from self._read_ahead(self._costs.rows_reads * chunks)
            yield from self._parts["API"].work(self._costs.results_seconds * chunks)

    def _send(self, job: _Job) -> None:
        """What the script in Redis picks: under the job's window, and under its owner's, who has this job alone."""
        while job.left and job.out < min(self._place.window, self._place.owner_window):
            job.left -= 1
            job.out += 1
            self._queue.put(job)
        self._most_out = max(self._most_out, job.out)

    def _worker(self) -> Steps:
        while True:
            job = yield self._queue.get()
            yield from self._store(self._costs.reads)
            yield from self._parts["workers"].work(self._costs.worker_seconds)
            yield from self._store(self._costs.writes)
            yield from self._parts["Redis"].work(self._costs.redis_seconds)
            self._environment.process(self._parts["API"].work(self._costs.following_seconds))
            self._done += 1
            job.out -= 1
            self._send(job)
            if not job.out:
                yield from self._read_ahead(self._costs.end_reads * job.chunks)
                job.ended.succeed()

    def _store(self, requests: float) -> Steps:
        """One after the other, each after the store's latency; of its capacity half at reading and half at writing."""
        yield self._environment.timeout(requests * self._place.store_latency_seconds)
        yield from self._parts["store"].work(self._store_seconds / 2)

    def _read_ahead(self, requests: float) -> Steps:
        yield self._environment.timeout(ceil(requests / AT_ONCE) * self._place.store_latency_seconds)
        yield from self._parts["store"].work(requests / self._place.store_reads_per_second)
