"""What API and worker write as JSON: every record by itself says when, who and what, and of which job and request."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from redis import Redis

from glyphq.embedded import EmbeddedService, embedded_service
from tests.faults.stack import until
from tests.integration.conftest import halted, zip_of


@dataclass(frozen=True)
class Logged:
    """A service that logs JSON, and its log."""

    service: EmbeddedService
    log: Path

    def records(self, **fields: object) -> list[dict]:
        """Those with these fields, so far. Lines that are no JSON are Redis'."""
        lines = [line for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [record for record in found if fields.items() <= record.items()]

    def record(self, **fields: object) -> dict:
        """The one with these fields, as soon as it is there."""
        until(lambda: self.records(**fields), f"a record with {fields}")
        [found] = self.records(**fields)
        return found


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    folder = tmp_path_factory.mktemp("logged")
    variables = {"GLYPHQ_LOG_FORMAT": "json", "GLYPHQ_RECONCILE_SECONDS": "0.3"}
    with (folder / "log").open("w+b") as log:
        with embedded_service(folder / "store", 1, environment=variables, log=log) as running:
            yield Logged(running, folder / "log")
        lines = (folder / "log").read_text().splitlines()
    # What is no JSON at the end of all: words of Redis, and Celery's one when it is told to end.
    others = [line for line in lines if line and not line.startswith("{")]
    assert not [line for line in others if "Traceback" in line or " INFO " in line]


@pytest.fixture
def http(logged: Logged) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=logged.service.url, timeout=60, trust_env=False) as client:
        yield client


def test_a_jobs_request_is_named_by_api_and_worker(logged: Logged, http: httpx.Client, scans) -> None:
    answer = http.post("/v1/jobs", content=zip_of(scans), headers={"X-Request-ID": "scan-room/17", "Prefer": "wait=30"})
    assert answer.headers["x-request-id"] == "scan-room/17"
    ids = {"job_id": answer.json()["id"], "request_id": "scan-room/17"}
    said = logged.record(logger="api.edge.access_log", **ids)
    assert said.items() >= {"level": "INFO", "method": "POST", "route": "/v1/jobs", "status": "200"}.items()
    assert said["seconds"] > 0
    worked = logged.record(logger="worker.pipeline", **ids)
    assert worked["message"] == f"job {ids['job_id']}: chunk 0: 20 rows"
    assert worked["process"] != said["process"]
    assert worked["time"] > "2026"


def test_an_image_is_named_alike(logged: Logged, http: httpx.Client, scans) -> None:
    headers = {"Prefer": "wait=30", "X-Request-ID": "one-image"}
    job = http.post("/v1/jobs", content=next(iter(scans.values())), headers=headers).json()
    for logger in ("api.edge.access_log", "worker.pipeline"):
        logged.record(logger=logger, job_id=job["id"], request_id="one-image")


def test_the_request_is_known_though_redis_has_forgotten_everything(logged: Logged, http: httpx.Client, scans) -> None:
    with halted(logged.service):
        job = http.post("/v1/jobs", content=zip_of(scans), headers={"X-Request-ID": "before-the-flush"}).json()
        with Redis.from_url(logged.service.redis_url) as redis:
            redis.flushall()
    http.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=30"})
    logged.record(logger="worker.pipeline", job_id=job["id"], request_id="before-the-flush")


@pytest.mark.parametrize("given", ["", "two words", "x" * 65, 'quoted"', "[bracket"])
def test_an_id_that_does_not_suit_is_replaced(http: httpx.Client, given: str) -> None:
    answered = [http.get("/v1/model", headers={"X-Request-ID": given}).headers["x-request-id"] for _ in range(2)]
    assert given not in answered
    assert answered[0] != answered[1]


def test_a_problem_names_its_request_and_the_log_its_job(logged: Logged, http: httpx.Client) -> None:
    job_id = "019ae2f0-6c1f-7d52-b9a5-3a7a1c0d9a11"
    problem = http.get(f"/v1/jobs/{job_id}", headers={"X-Request-ID": "who-asks"}).json()
    assert problem["request_id"] == "who-asks"
    assert logged.record(request_id="who-asks")["job_id"] == job_id


def test_what_is_wrong_with_a_job_is_logged_with_it(logged: Logged, http: httpx.Client, scans) -> None:
    with halted(logged.service):
        job = http.post("/v1/jobs", content=zip_of(scans), headers={"X-Request-ID": "damaged"}).json()
        index = logged.service.store / "data" / job["id"] / "index.arrow"
        index.write_bytes(bytes(len(index.read_bytes())))
    http.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=30"})
    logged.record(level="WARNING", logger="glyphq.inputs", job_id=job["id"], request_id="damaged")


def test_of_what_a_worker_process_died_is_a_record_like_others(logged: Logged) -> None:
    ready = {"logger": "worker.process", "level": "INFO"}
    process = logged.record(**ready)["process"]
    os.kill(process, signal.SIGKILL)
    died = logged.record(logger="multiprocessing", level="ERROR")
    assert f"pid:{process} exited with 'signal 9 (SIGKILL)'" in died["message"]
    until(lambda: len(logged.records(**ready)) == 2, "another has taken its place")


def test_probes_leave_no_line(logged: Logged, http: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/v1/model"):
        http.get(path)
    logged.record(route="/v1/model", request_id=http.get("/v1/model").headers["x-request-id"])
    assert not [each for each in logged.records() if each.get("route") in ("/healthz", "/readyz", "/metrics")]


def test_why_a_request_was_refused_is_in_the_log(logged: Logged, http: httpx.Client, scans) -> None:
    job = http.post("/v1/jobs", content=zip_of(scans), headers={"Prefer": "wait=30"}).json()["id"]
    [rows] = (logged.service.store / "data" / job / "results").iterdir()
    rows.write_bytes(bytes(len(rows.read_bytes())))
    assert http.get(f"/v1/jobs/{job}/results", headers={"X-Request-ID": "why-503"}).status_code == 503
    why = logged.record(logger="api.problems", request_id="why-503")
    assert why["level"] == "WARNING"
    assert why["message"].startswith("damaged-object: ")
    line = logged.record(logger="api.edge.access_log", request_id="why-503")
    assert line.items() >= {"level": "WARNING", "problem": "damaged-object", "owner": "local"}.items()
    assert line["client"] == "127.0.0.1"
