"""What Prometheus is told by the API and by a worker, of whatever its processes have done, ended ones too."""

import csv
import io
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from glyphq.client import Client
from glyphq.embedded import EmbeddedService, embedded_service
from glyphq.keys import Keys
from glyphq.local_blobs import LocalBlobs
from tests.faults.stack import ROOT, free_port, until
from tests.integration.conftest import halted, zip_of
from worker.metrics import STAGES

PROCESSES = 2
STATUSES = "classified", "blank", "rejected", "cancelled"


class Scrape:
    """What one program told, once."""

    def __init__(self, url: str, key: str = "") -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer = httpx.get(f"{url}/metrics", headers=headers, trust_env=False)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        self.samples = [one for family in text_string_to_metric_families(answer.text) for one in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of what has these labels, and any others; None where nothing has."""
        found = [one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items()]
        return sum(found) if found else None

    def since(self, before: "Scrape", name: str, **labels: str) -> float:
        return (self.value(name, **labels) or 0) - (before.value(name, **labels) or 0)


@dataclass(frozen=True)
class Measured:
    """A service whose worker serves metrics, and where."""

    service: EmbeddedService
    worker_url: str

    def api(self) -> Scrape:
        return Scrape(self.service.url)

    def worker(self) -> Scrape:
        return Scrape(self.worker_url)

    def processes(self) -> list[int]:
        """Those of the worker that hold the model: forks, which have its own command line."""
        parent = self.service.children["worker"].pid
        children = map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
        return [pid for pid in children if _command(pid) == _command(parent)]


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@contextmanager
def measured_service(store: Path, **variables: str) -> Iterator[Measured]:
    port = free_port()
    environment = {
        "GLYPHQ_METRICS_PORT": str(port),
        "GLYPHQ_CHUNK_IMAGES": "8",
        "GLYPHQ_LEASE_SECONDS": "2",
        "GLYPHQ_RECONCILE_SECONDS": "0.3",
        **variables,
    }
    with embedded_service(store, PROCESSES, environment=environment) as running:
        yield Measured(running, f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    with measured_service(tmp_path_factory.mktemp("measured") / "store") as running:
        yield running


@pytest.fixture
def client(measured: Measured) -> Iterator[Client]:
    with Client(measured.service.url) as client:
        yield client


@pytest.fixture(scope="module")
def mixed(scans: dict[str, bytes]) -> bytes:
    """A zip of twenty scans, one that is none, and one without ink: three chunks."""
    blank = io.BytesIO()
    Image.new("L", (40, 40), 230).save(blank, "PNG")
    return zip_of({**scans, "letter.txt": b"Dear Sir", "blank.png": blank.getvalue()})


def folders(service: EmbeddedService) -> list[Path]:
    """Where a worker's processes keep their values."""
    return list(Path(service.redis_url.removeprefix("unix://")).parent.glob("glyphq-metrics-*"))


def statuses(table: bytes) -> Counter[str]:
    return Counter(line["status"] for line in csv.DictReader(io.StringIO(table.decode())))


def test_what_is_counted_is_what_the_tables_say(measured: Measured, client: Client, mixed: bytes, scans) -> None:
    api, worker = measured.api(), measured.worker()
    job = client.wait(client.submit(mixed).id)
    image = client.wait(client.submit(next(iter(scans.values()))).id)
    until(lambda: measured.worker().since(worker, "glyphq_jobs_ended_total") == 2, "both ends are counted")
    later, rows = measured.worker(), statuses(client.results(job.id)) + statuses(client.results(image.id))
    assert rows == {"classified": 21, "blank": 1, "rejected": 1}
    assert {status: later.since(worker, "glyphq_images_total", status=status) for status in STATUSES} == {
        **dict.fromkeys(STATUSES, 0),
        **rows,
    }
    for lane, stored, seen in (("bulk", 22, 20), ("interactive", 1, 1)):  # by the network
        assert later.since(worker, "glyphq_images_total", lane=lane) == stored
        assert later.since(worker, "glyphq_batch_images_sum", lane=lane) == seen
        assert later.since(worker, "glyphq_jobs_ended_total", lane=lane, outcome="completed") == 1
        assert later.since(worker, "glyphq_job_duration_seconds_sum", lane=lane) > 0
        for stage in STAGES:
            assert later.since(worker, "glyphq_stage_duration_seconds_sum", lane=lane, stage=stage) > 0
    until(lambda: measured.api().since(api, "glyphq_images_accepted_total") == 23, "the API's second has passed")
    told = measured.api()
    assert told.since(api, "glyphq_jobs_accepted_total", lane="bulk") == 1
    assert told.since(api, "glyphq_jobs_accepted_total", lane="interactive") == 1
    assert told.since(api, "glyphq_http_request_duration_seconds_count", method="POST", route="/v1/jobs") == 2
    assert told.since(api, "glyphq_store_operation_duration_seconds_count", operation="create_all") > 0


def test_every_process_is_told_of_with_its_model(measured: Measured, client: Client) -> None:
    until(lambda: measured.api().value("glyphq_workers") == PROCESSES, "every process is heard from")
    assert measured.worker().value("glyphq_worker_processes", digest=str(client.model()["digest"])) == PROCESSES


def test_what_a_process_has_counted_stays_when_it_is_killed(measured: Measured, client: Client, mixed: bytes) -> None:
    client.wait(client.submit(mixed).id)
    before, processes = measured.worker(), measured.processes()
    assert len(processes) == PROCESSES
    for pid in processes:
        os.kill(pid, signal.SIGKILL)
    ended = "glyphq_worker_processes_ended_total"
    until(lambda: measured.worker().since(before, ended) == PROCESSES, "their deaths are told")
    until(lambda: measured.worker().value("glyphq_worker_processes") == PROCESSES, "others have taken their place")
    after = measured.worker()
    assert after.value("glyphq_images_total") == before.value("glyphq_images_total")
    [folder] = folders(measured.service)
    assert not [file for pid in processes for file in folder.glob(f"*_{pid}.db")]  # they would grow without end
    client.wait(client.submit(mixed).id)
    until(lambda: measured.worker().since(before, "glyphq_images_total") == 22, "the new ones count on")


def test_what_waits_is_told_with_its_age(measured: Measured, client: Client, mixed: bytes, scans) -> None:
    with halted(measured.service):
        jobs = [client.submit(mixed).id, client.submit(next(iter(scans.values()))).id]

        def waits() -> bool:
            ages = [measured.api().value("glyphq_queue_oldest_seconds", lane=lane) for lane in ("bulk", "interactive")]
            return all(age is not None and 1 < age < 100 for age in ages)

        until(waits, "a second has passed")
        found = measured.api()
        assert found.value("glyphq_jobs_open", lane="bulk") == found.value("glyphq_jobs_open", lane="interactive") == 1
        assert found.value("glyphq_interactive_jobs", state="waiting") == 1
        assert (found.value("glyphq_queue_messages", queue="bulk") or 0) >= 1
    for job in jobs:
        client.wait(job)

    def nothing_waits() -> bool:
        found = measured.api()
        names = "glyphq_queue_messages", "glyphq_queue_oldest_seconds", "glyphq_jobs_open", "glyphq_interactive_jobs"
        return all(found.value(name) == 0 for name in names)

    until(nothing_waits, "nothing waits any more")


def test_cancelled_rows_are_counted_where_the_job_was_cancelled(measured: Measured, client: Client, scans) -> None:
    before = measured.api()
    with halted(measured.service):
        client.cancel(client.submit(zip_of(scans)).id)
    until(lambda: measured.api().since(before, "glyphq_images_total", status="cancelled") == 20, "they are told")
    assert measured.api().since(before, "glyphq_jobs_ended_total", lane="bulk", outcome="cancelled") == 1


def test_a_job_that_is_deleted_before_its_end_is_counted(measured: Measured, client: Client, scans) -> None:
    before = measured.api()
    ended = client.wait(client.submit(zip_of(scans)).id)
    with halted(measured.service):
        for job in (client.submit(zip_of(scans)).id, ended.id):
            client.delete(job)
    deleted = {"lane": "bulk", "outcome": "deleted"}
    until(lambda: measured.api().since(before, "glyphq_jobs_ended_total", **deleted), "it is told")
    assert measured.api().since(before, "glyphq_jobs_ended_total", **deleted) == 1


def test_while_redis_hangs_the_rest_is_told(measured: Measured) -> None:
    before = measured.api()
    redis = measured.service.children["redis"].pid
    os.kill(redis, signal.SIGSTOP)
    try:
        until(lambda: measured.api().value("glyphq_redis_up") == 0, "it is noticed")
        found = measured.api()
    finally:
        os.kill(redis, signal.SIGCONT)
    assert found.since(before, "glyphq_redis_errors_total") > 0
    assert found.value("glyphq_queue_messages") is None
    assert found.value("glyphq_workers") is None
    assert found.value("glyphq_jobs_accepted_total") is not None
    until(lambda: measured.api().value("glyphq_redis_up") == 1, "it answers again")


def test_without_a_port_nothing_is_served_and_no_file_kept(service: EmbeddedService, measured: Measured) -> None:
    assert not folders(service)
    assert len(folders(measured.service)) == 1


def test_a_worker_whose_port_is_taken_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environment = {**os.environ, "GLYPHQ_METRICS_PORT": port, "TMPDIR": str(tmp_path)}
        command = [sys.executable, "-m", "worker"]
        ended = subprocess.run(
            command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )
    assert ended.returncode == 1
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "GLYPHQ_METRICS_PORT" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_where_keys_are_needed_metrics_take_one_also_while_the_store_fails(tmp_path: Path) -> None:
    _, key = Keys(LocalBlobs(tmp_path / "store")).create("prometheus")
    with measured_service(tmp_path / "store", GLYPHQ_KEYS="required") as measured:
        url, keys = measured.service.url, tmp_path / "store" / "keys"
        assert httpx.get(f"{url}/metrics", trust_env=False).status_code == 401
        Scrape(url, key)
        keys.rename(tmp_path / "keys")
        keys.touch()  # no folder any more
        until(lambda: Scrape(url, key).value("glyphq_store_errors_total", operation="get"), "the key is read again")
        keys.unlink()
        (tmp_path / "keys").rename(keys)
