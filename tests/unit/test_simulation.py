"""What the simulation of many workers must keep, whatever the costs."""

from dataclasses import replace

import pytest

from bench.simulation import Costs, Place, simulate

COSTS = Costs(
    images=1000,
    worker_seconds=0.1,
    redis_seconds=0.001,
    upload_seconds=0.002,
    following_seconds=0.001,
    results_seconds=0.002,
    reads=4,
    writes=1,
    end_reads=1,
    rows_reads=1,
    bytes_moved=500_000,
)
FREE = replace(COSTS, redis_seconds=0, upload_seconds=0, following_seconds=0, results_seconds=0)


@pytest.mark.parametrize("workers", [1, 3, 50])
def test_each_chunk_is_done_once(workers: int) -> None:
    assert simulate(COSTS, Place(workers), clients=4, chunks=11, jobs=2).chunks_done == 88


def test_one_worker_takes_as_long_as_one_thing_after_the_other() -> None:
    place = Place(1, store_latency_seconds=0.01)
    seconds_a_chunk = COSTS.worker_seconds + COSTS.redis_seconds + 5 * 0.01
    ahead_seconds = 2 * 3 * 0.01  # 20 results, 8 at once, for the end and for the rows
    seconds = 20 * (seconds_a_chunk + COSTS.upload_seconds + COSTS.results_seconds) + ahead_seconds
    outcome = simulate(replace(COSTS, following_seconds=0), place, clients=1, chunks=20, jobs=1)
    assert outcome.images_per_second == pytest.approx(20 * COSTS.images / seconds)


def test_workers_that_wait_for_nothing_are_busy_all_the_time() -> None:
    outcome = simulate(FREE, Place(8), clients=1, chunks=80, jobs=1)
    assert outcome.images_per_second == pytest.approx(8 * FREE.images / FREE.worker_seconds)
    assert outcome.busy["workers"] == pytest.approx(1)
    assert outcome.saturated == "workers"


def test_one_job_has_no_more_chunks_out_than_its_window_and_its_owners() -> None:
    assert simulate(COSTS, Place(100), clients=1, chunks=200, jobs=1).most_out == 8
    assert simulate(COSTS, Place(100, window=50), clients=1, chunks=200, jobs=1).most_out == 32


def test_shared_cores_do_no_more_than_they_can() -> None:
    outcome = simulate(FREE, Place(6, cores=2, one_machine=True), clients=2, chunks=40, jobs=1)
    assert outcome.images_per_second == pytest.approx(2 * FREE.images / FREE.worker_seconds)


@pytest.mark.parametrize(
    ("place", "part", "most"),
    [
        (Place(1000), "API", 1000 / 0.005),
        (Place(1000, api_processes=100), "Redis", 1000 / 0.001),
        (Place(1000, api_processes=100, store_reads_per_second=600), "store", 600 / 6 * 1000),
        (Place(1000, api_processes=100, store_writes_per_second=50), "store", 50 * 1000),
        (Place(1000, api_processes=100, store_bytes_per_second=1e7), "store", 1e7 / 500_000 * 1000),
    ],
    ids=["api", "redis", "reads", "writes", "bytes"],
)
def test_what_saturates_first_is_the_limit(place: Place, part: str, most: float) -> None:
    outcome = simulate(COSTS, place, clients=500, chunks=8, jobs=3)
    assert outcome.saturated == part
    assert 0.9 * most < outcome.images_per_second <= most * (1 + 1e-9)


def test_more_workers_are_never_slower() -> None:
    rates = [simulate(COSTS, Place(n), clients=2 * n, chunks=10, jobs=2).images_per_second for n in (1, 2, 5, 20, 100)]
    assert rates == sorted(rates)
