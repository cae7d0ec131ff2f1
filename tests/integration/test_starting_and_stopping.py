"""What the API says when it starts and stops, and what becomes of those who wait then."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from api import __main__ as program
from glyphq.settings import Settings
from tests.conftest import ROOT
from tests.faults.stack import Stack, stack, until
from tests.integration.conftest import zip_of


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Stack]:
    """Redis and the API. There is no worker, so that nothing ends."""
    variables = {"GLYPHQ_PUBLIC_URL": "http://scans.example:9000/", "GLYPHQ_KEYS": "off"}
    with stack(tmp_path / "stack", variables=variables) as made:
        made.redis.start()
        made.api.start()
        until(lambda: "is ready at" in made.log.read_text(), "the API says that it is ready")
        yield made


@pytest.fixture
def http(waiting: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=waiting.url, timeout=60, trust_env=False) as client:
        yield client


def test_who_waits_when_the_service_stops_is_told_how_far_the_job_is(waiting: Stack, http: httpx.Client, scans) -> None:
    held = {"Prefer": "wait=30"}
    first = http.post("/v1/jobs", content=zip_of(scans)).json()["id"]
    handing_in, asking = (HTTPConnection(*waiting.url.removeprefix("http://").split(":"), timeout=60) for _ in range(2))
    handing_in.request("POST", "/v1/jobs", zip_of(scans), held)
    asking.request("GET", f"/v1/jobs/{first}", headers=held)
    until(lambda: len(http.get("/v1/jobs").json()["jobs"]) == 2, "the job is accepted")
    with http.stream("GET", f"/v1/jobs/{first}/events") as events:
        lines = events.iter_lines()
        assert next(lines) == "event: job"
        waiting.api.terminate()
        assert "event: job" in list(lines), "the last word, and then a proper end"
    for waited, status in ((handing_in, 202), (asking, 200)):
        answer = waited.getresponse()
        assert (answer.status, json.load(answer)["state"]) == (status, "queued")
        waited.close()
    assert "Traceback" not in waiting.log.read_text()


def test_rows_that_are_followed_break_off_when_the_service_stops(waiting: Stack, http: httpx.Client, scans) -> None:
    job = http.post("/v1/jobs", content=zip_of(scans)).json()["id"]
    with http.stream("GET", f"/v1/jobs/{job}/results", params={"follow": "true"}) as answer:
        pieces = answer.iter_bytes()
        assert next(pieces).startswith(b"row,filename")
        waiting.api.terminate()
        with pytest.raises(httpx.RemoteProtocolError):
            next(pieces)
    assert "Traceback" not in waiting.log.read_text()


def test_the_log_says_where_the_service_is_and_when_it_stops(waiting: Stack) -> None:
    waiting.api.terminate()
    said = waiting.log.read_text()
    assert "is ready at http://scans.example:9000 (127.0.0.1:" in said
    assert f"store file://{waiting.store}, Redis {waiting.redis_url}" in said
    assert "\nglyphq is ready at http://scans.example:9000\n" in said
    assert "glyphq stops" in said


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"GLYPHQ_PORT": "many", "GLYPHQ_LOG_FORMAT": "xml"}, "error: GLYPHQ_PORT: Input should be a valid integer"),
        ({"GLYPHQ_STORE_URL": "file:///dev/null/store"}, "error: the store: "),
    ],
)
def test_what_cannot_be_begun_with_is_said_in_one_line(variables: dict[str, str], said: str) -> None:
    begun = subprocess.run(
        [sys.executable, "-m", "api"],
        env={**os.environ, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert begun.returncode == 1
    assert begun.stderr.startswith(said)
    assert begun.stderr.count("\n") == 1


def test_requests_are_answered_while_the_store_is_asked_for_the_first_key(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answered = threading.Event(), threading.Event()
    answered_meanwhile: list[bool] = []

    def print_first_key(_: Settings) -> None:
        asked.set()
        answered_meanwhile.append(answered.wait(5))

    monkeypatch.setattr(program, "_print_first_key", print_first_key)
    app = FastAPI()
    app.state.service = SimpleNamespace(events=SimpleNamespace(stop=lambda: None))

    async def served() -> None:
        server = program._Server(uvicorn.Config(app, lifespan="off", log_config=None), app, Settings(keys="required"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve([listener]))
            assert await asyncio.to_thread(asked.wait, 60)
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.get(f"http://127.0.0.1:{listener.getsockname()[1]}")
            answered.set()
            server.should_exit = True
            await serving

    asyncio.run(served())
    assert answered_meanwhile == [True]
