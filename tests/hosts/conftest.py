"""A running service on several hosts, what is handed in to it, and what was measured, printed at the end."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from glyphq import samples
from glyphq.client import Client
from tests.faults.conftest import Batch, cannot_run
from tests.faults.stack import PATIENCE_SECONDS
from tests.hosts.cluster import ADDRESSES, Cluster, cluster
from tests.hosts.network import cannot_be_had, network

SCANS = 4000
FIGURES: dict[str, str] = {}
"""What was measured, by what it is."""


@dataclass(frozen=True)
class Run(Batch):
    """The job of a zip that nothing disturbed."""

    job_id: str
    received: dict[str, int]
    """Bytes that each worker's host had from the store for it."""


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    reason = cannot_be_had()
    if reason is None and shutil.which("redis-check-rdb") is None:
        reason = "A Redis that speaks TLS is missing: apt-get install redis-tools"
    if reason is not None:
        cannot_run(reason)
    with network(ADDRESSES) as hosts, cluster(tmp_path_factory.mktemp("hosts") / "cluster", hosts) as made:
        yield made


@pytest.fixture(autouse=True)
def from_the_client(running: Cluster) -> Iterator[None]:
    """Every test speaks from the client's host."""
    with running.network.hosts["client"].entered():
        yield


@pytest.fixture
def client(running: Cluster) -> Iterator[Client]:
    with running.client() as client:
        yield client


@pytest.fixture(scope="session")
def undisturbed(running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Run:
    archive = tmp_path_factory.mktemp("scans") / "scans.zip"
    samples.write_zip(archive, SCANS, seed=11)
    with running.network.hosts["client"].entered(), running.client() as client:
        before = running.received()
        job = client.wait(client.submit(archive).id, timeout_seconds=PATIENCE_SECONDS)
        received = {name: after - before[name] for name, after in running.received().items()}
        return Run(archive, job.counts.total, client.results(job.id), job.id, received)


@pytest.fixture(scope="session")
def scan() -> bytes:
    """One drawn scan, as PNG."""
    return next(iter(samples.draw(1, seed=2))).png


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("one API host, two worker hosts")
        for what, number in FIGURES.items():
            terminalreporter.line(f"{what:<58}{number:>20}")
