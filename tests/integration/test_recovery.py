"""Workers die, Redis forgets, messages get lost; every accepted job ends all the same, with the same rows."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from glyphq import samples
from glyphq.client import Client, JobStatus
from glyphq.embedded import EmbeddedService, embedded_service
from glyphq.progress import BULK_QUEUE

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


def kill_a_worker_process_and_flush_redis(service: EmbeddedService) -> None:
    os.kill(worker_processes(service)[0], signal.SIGKILL)
    with redis_of(service) as redis:
        redis.flushall()


def kill_the_whole_worker(service: EmbeddedService) -> None:
    for pid in [*worker_processes(service), service.children["worker"].pid]:
        os.kill(pid, signal.SIGKILL)


def kill_redis(service: EmbeddedService) -> None:
    os.kill(service.children["redis"].pid, signal.SIGKILL)


def lose_the_messages(service: EmbeddedService) -> None:
    with redis_of(service) as redis:
        redis.delete(BULK_QUEUE)


def kill_the_api(service: EmbeddedService) -> None:
    os.kill(service.children["api"].pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "disturb",
    [kill_a_worker_process_and_flush_redis, kill_the_whole_worker, kill_redis, lose_the_messages, kill_the_api],
)
def test_the_job_ends_with_the_same_rows(service, archive, undisturbed, disturb):
    with Client(service.url) as client:
        job = client.submit(archive)
        under_way(client, job.id)
        disturb(service)
        ended = client.wait(job.id, timeout_seconds=120)
        assert (ended.state, ended.counts.classified) == ("completed", SCANS)
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
