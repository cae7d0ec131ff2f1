"""A whole service of real processes with its default limits, and what a hostile file may cost it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from glyphq.client import Client
from glyphq.embedded import EmbeddedService, embedded_service
from tests.hostile.corpus import MAX_ENTRIES, Case, scan

PATIENCE_SECONDS = 60.0
"""For the answer to a file and for its rows. The longest, a 100-megapixel TIFF of floats, takes 5 s on an idle core."""

MOST_MIB = {"api": 768.0, "worker": 2048.0}
"""What a process may need at its peak over what it had before a file. The API holds 32 MB of JSON as bytes, as text and
as objects; a worker 100 megapixels of floats with the copies that Pillow makes."""


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    limits = {"GLYPHQ_MAX_ENTRIES": str(MAX_ENTRIES)}
    with embedded_service(tmp_path_factory.mktemp("hostile") / "store", 2, environment=limits) as running:
        yield running


@pytest.fixture
def http(service: EmbeddedService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
        yield client


def processes(service: EmbeddedService) -> dict[int, str]:
    """The API and the worker processes with all their children, by id."""
    found = {}
    for name in MOST_MIB:
        waiting = [service.children[name].pid]
        while waiting:
            pid = waiting.pop()
            found[pid] = name
            for thread in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
    return found


def memory_mib(pid: int, line: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{line}:")[2].split()[0]) / 1024


@contextmanager
def bounded(service: EmbeddedService) -> Iterator[None]:
    """Within, no process of the service dies, nor needs more memory than stated."""
    before = dict[int, float]()
    for pid in processes(service):
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew: proc(5)
        before[pid] = memory_mib(pid, "VmRSS")
    yield
    after = processes(service)
    assert set(before) <= set(after), "a process has died"
    grown = {(name, pid): memory_mib(pid, "VmHWM") - before.get(pid, 0.0) for pid, name in after.items()}
    assert all(mib < MOST_MIB[name] for (name, _), mib in grown.items()), grown


def met(case: Case, http: httpx.Client, service: EmbeddedService, **request: object) -> Mapping[str, object] | None:
    """Hand the case in and hold it to what the corpus says of it; its job where it has one."""
    with bounded(service):
        answer = http.post("/v1/jobs", **request)
        if case.refused:
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == case.refused, answer.text[:500]
            assert answer.headers["content-type"] == "application/problem+json"
            assert problem["detail"]
            assert len(answer.content) < 1000
            job = None
        else:
            assert answer.status_code == 202, answer.text[:500]
            job = answer.json()
            rows = rows_of(http, service, job)
            assert tuple(row["reason"] or row["status"] for row in rows) == case.rows
            assert case.names is None or tuple(row["filename"] for row in rows) == case.names
    still_works(http)
    return job


def rows_of(http: httpx.Client, service: EmbeddedService, job: Mapping[str, object]) -> list[dict]:
    """Of the job when it has ended, after its counts were added up."""
    with Client(service.url) as client:
        ended = client.wait(job["id"], timeout_seconds=PATIENCE_SECONDS)
    assert ended.state == "completed"
    rows = http.get(job["links"]["results"], params={"format": "json"}).json()["results"]
    counted = {status: sum(row["status"] == status for row in rows) for status in ("classified", "blank", "rejected")}
    counts = ended.counts
    assert (counts.classified, counts.blank, counts.rejected) == tuple(counted.values())
    assert (counts.total, counts.pending, counts.cancelled) == (len(rows), 0, 0)
    assert [row["row"] for row in rows] == list(range(len(rows)))
    assert all(row["detail"] and len(row["detail"]) < 300 for row in rows if row["status"] == "rejected")
    return rows


def still_works(http: httpx.Client) -> None:
    answer = http.post("/v1/jobs", content=scan(1), headers={"Prefer": "wait=30"})
    assert answer.status_code == 200, answer.text
    assert [row["status"] for row in answer.json()["results"]] == ["classified"]
