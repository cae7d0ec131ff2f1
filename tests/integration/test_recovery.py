"""Workers die, Redis forgets, messages get lost; every accepted job ends all the same, with the same rows."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from glyphq import samples
from glyphq.broker import BULK_QUEUE
from glyphq.client import Client, JobStatus
from glyphq.embedded import EmbeddedService, embedded_service

SCANS = 4000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    """A service of its own, whose processes may be killed, with many small chunks and short leases."""
    pace = {
        "GLYPHQ_CHUNK_IMAGES": "128",
        "GLYPHQ_WINDOW_CHUNKS": "4",
        "GLYPHQ_LEASE_SECONDS": "2",
        "GLYPHQ_RECONCILE_SECONDS": "0.3",
    }
    with embedded_service(tmp_path_factory.mktemp("recovery") / "store", 2, environment=pace) as running:
        yield running


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scans") / "scans.zip"
    samples.write_zip(path, SCANS, seed=11)
    return path


@pytest.fixture(scope="module")
def undisturbed(service: EmbeddedService, archive: Path) -> bytes:
    """The CSV of a run in which nothing goes wrong."""
    with Client(service.url) as client:
        return client.results(client.wait(client.submit(archive).id).id)


def redis_of(service: EmbeddedService) -> Redis:
    return Redis.from_url(service.redis_url, decode_responses=True)


def worker_processes(service: EmbeddedService) -> list[int]:
    """The pool's processes: children of the worker that have beaten."""
    parent = service.children["worker"].pid
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def under_way(client: Client, job_id: str) -> JobStatus:
    """The job once some of it is done and some is not."""
    while True:
        job = client.status(job_id)
        assert job.counts.pending, "the job ended before it could be disturbed"
        if job.counts.done:
            return job


def test_a_killed_worker_process_and_a_flushed_redis_cost_no_row(service, archive, undisturbed):
    with Client(service.url) as client, redis_of(service) as redis:
        job = client.submit(archive)
        under_way(client, job.id)
        os.kill(worker_processes(service)[0], signal.SIGKILL)
        redis.flushall()
        ended = client.wait(job.id, timeout_seconds=120)
        assert (ended.state, ended.counts.classified) == ("completed", SCANS)
        assert client.results(job.id) == undisturbed


def test_the_whole_worker_killed_costs_no_row(service, archive, undisturbed):
    with Client(service.url) as client:
        job = client.submit(archive)
        under_way(client, job.id)
        for pid in [*worker_processes(service), service.children["worker"].pid]:
            os.kill(pid, signal.SIGKILL)
        client.wait(job.id, timeout_seconds=120)
        assert client.results(job.id) == undisturbed


def test_redis_killed_and_started_empty_costs_no_row(service, archive, undisturbed):
    with Client(service.url) as client:
        job = client.submit(archive)
        under_way(client, job.id)
        os.kill(service.children["redis"].pid, signal.SIGKILL)
        client.wait(job.id, timeout_seconds=120)
        assert client.results(job.id) == undisturbed


def test_messages_that_vanish_are_sent_again(service, archive, undisturbed):
    with Client(service.url) as client, redis_of(service) as redis:
        job = client.submit(archive)
        under_way(client, job.id)
        redis.delete(BULK_QUEUE)
        client.wait(job.id, timeout_seconds=120)
        assert client.results(job.id) == undisturbed


def test_an_api_killed_mid_job_goes_on_with_it(service, archive, undisturbed):
    with Client(service.url) as client:
        job = client.submit(archive)
        under_way(client, job.id)
        os.kill(service.children["api"].pid, signal.SIGKILL)
        client.wait(job.id, timeout_seconds=120)
        assert client.results(job.id) == undisturbed


def test_interactive_jobs_outlive_a_flushed_redis(service):
    scan = next(iter(samples.draw(1, seed=2))).png
    with Client(service.url) as client, redis_of(service) as redis:
        for pid in worker_processes(service):
            os.kill(pid, signal.SIGSTOP)
        job = client.submit(scan)
        redis.flushall()
        for pid in worker_processes(service):
            os.kill(pid, signal.SIGCONT)
        assert client.wait(job.id, timeout_seconds=60).counts.classified == 1
