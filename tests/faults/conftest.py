"""A service that may be broken, what is handed in to it, and what an undisturbed run makes of that."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from glyphq import samples
from glyphq.client import Client
from tests.faults.stack import PATIENCE_SECONDS, Stack, stack

SCANS = 1500


@dataclass(frozen=True)
class Batch:
    """A zip, how many inputs it has, and the CSV of an undisturbed run."""

    archive: Path
    total: int
    table: bytes

    def is_kept(self, client: Client, job_id: str) -> None:
        """The promise: the job ends with one row an input, the same as if nothing had happened."""
        job = client.wait(job_id, timeout_seconds=PATIENCE_SECONDS)
        assert job.state == "completed"
        assert (job.counts.total, job.counts.pending, job.counts.cancelled) == (self.total, 0, 0)
        assert client.results(job_id) == self.table


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("faults") / "stack") as made:
        made.start()
        yield made


@pytest.fixture
def running(shared_stack: Stack) -> Iterator[Stack]:
    """The service, up. What a test has killed is started again before the next one."""
    shared_stack.start()
    yield shared_stack
    left = [path.name for path in (shared_stack.folder / "faults").glob("*-*")]
    assert not left, f"armed and never come to: {left}"


@pytest.fixture
def client(running: Stack) -> Iterator[Client]:
    with running.client() as client:
        yield client


@pytest.fixture(scope="session")
def batch(shared_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    archive = tmp_path_factory.mktemp("batch") / "scans.zip"
    samples.write_zip(archive, SCANS, seed=11)
    with shared_stack.client() as client:
        job = client.wait(client.submit(archive).id, timeout_seconds=PATIENCE_SECONDS)
        return Batch(archive, job.counts.total, client.results(job.id))


@pytest.fixture(scope="session")
def scan() -> bytes:
    """One drawn scan, as PNG."""
    return next(iter(samples.draw(1, seed=2))).png


@contextmanager
def worker_replaced(running: Stack, client: Client, batch: Batch) -> Iterator[str]:
    """Within: the id of a job of which a process that is halted has the first chunk. After: another worker runs."""
    running.arm("worker-decode", "halt")
    job = client.submit(batch.archive)
    running.struck("worker-decode")
    yield job.id
    running.worker.kill()
    running.worker.start()


def cannot_run(why: str) -> None:
    """Skip the test and say why; under CI it fails, for there every fault must be made."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)
