"""What the costs of a chunk come to on more machines, by simulation."""

from collections.abc import Iterator
from dataclasses import replace

from bench.simulation import Costs, Outcome, Place, simulate

# Not measured: what a bucket and a network of a large provider promise, in one prefix and on one machine.
ELSEWHERE = Place(
    workers=1,
    store_latency_seconds=0.015,
    store_reads_per_second=5500,
    store_writes_per_second=3500,
    store_bytes_per_second=12.5e9,
)
WORKERS = 10, 100, 1000
CURVE = 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000
JOB_CHUNKS = 40


def many_owners(costs: Costs, place: Place, jobs: int = 3) -> Outcome:
    """Twice as many owners as workers, each with one job after the other."""
    return simulate(costs, place, clients=2 * place.workers, chunks=JOB_CHUNKS, jobs=jobs)


def steps(costs: Costs, workers: int) -> Iterator[tuple[str, Outcome]]:
    """From what is there unless something is said, each step with those before it."""
    place = replace(ELSEWHERE, workers=workers)
    one_job = max(2000, 20 * workers)
    yield "one job", simulate(costs, place, clients=1, chunks=one_job, jobs=1)
    wide = replace(place, window=4 * workers, owner_window=4 * workers)
    yield f"one job, windows of {wide.window:,} chunks", simulate(costs, wide, clients=1, chunks=one_job, jobs=1)
    yield "many owners", many_owners(costs, place)
    twice = replace(place, workers=2 * workers, cores=workers)
    yield "... two processes a core", many_owners(costs, twice, jobs=2)
    enough = api_processes(costs, workers)
    if enough > 1:
        yield f"... {enough} API processes", many_owners(costs, replace(twice, api_processes=enough), jobs=2)


def api_processes(costs: Costs, workers: int) -> int:
    """So many that they are not what holds up the workers."""
    a_chunk = costs.upload_seconds + costs.following_seconds + costs.results_seconds
    return int(1.25 * workers * a_chunk / costs.worker_seconds) + 1
