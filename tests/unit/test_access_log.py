"""What is around every request: also around one that fails without a word, and those that were sent ahead."""

import asyncio
import io
import json
import logging

import pytest
from starlette.types import Receive, Scope, Send

from api.edge.access_log import AccessLog
from api.metrics import HTTP_SECONDS
from glyphq import logs

HEADERS = [(b"x-request-id", b"mine")]


def asked(app, path: str = "/", body: bytes = b"") -> list[dict]:
    """What the application answers, observed."""
    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    async def receive() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "GET", "path": path, "headers": HEADERS}
    asyncio.run(AccessLog(app)(scope, receive, send))
    return sent


def count(status: str) -> float:
    samples = [one for family in HTTP_SECONDS.collect() for one in family.samples]
    return sum(one.value for one in samples if one.name.endswith("_count") and one.labels["status"] == status)


def test_an_error_that_nobody_foresaw_is_logged_with_the_ids() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        logs.bind_job("job-1")
        raise RuntimeError("unforeseen")

    stream, server = io.StringIO(), logging.Logger("uvicorn.error")  # noqa: LOG001  # one that nobody else has
    server.addHandler(logs.handler_of("json", stream))

    async def as_uvicorn_does(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await AccessLog(failing)(scope, receive, send)
        except RuntimeError as error:
            server.error("Exception in ASGI application", exc_info=error)

    before = count("none")
    scope = {"type": "http", "method": "GET", "path": "/", "headers": HEADERS}
    asyncio.run(as_uvicorn_does(scope, None, None))  # type: ignore[arg-type]
    record = json.loads(stream.getvalue())
    assert (record["job_id"], record["request_id"]) == ("job-1", "mine")
    assert "unforeseen" in record["exc_info"]
    assert count("none") == before + 1


def test_the_answer_carries_the_id() -> None:
    async def good(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert asked(good)[0]["headers"] == HEADERS


def test_a_method_and_a_path_that_somebody_made_up_are_no_labels(caplog: pytest.LogCaptureFixture) -> None:
    async def unknown(scope: Scope, receive: Receive, send: Send) -> None:
        scope["method"] = "BREW"
        await send({"type": "http.response.start", "status": 404, "headers": []})

    with caplog.at_level(logging.INFO):
        asked(unknown, "/whatever/somebody/asks/for")
    [record] = caplog.records
    assert (record.__dict__["method"], record.__dict__["route"]) == ("other", "none")


def test_a_line_says_who_asked_from_where_how_much_came_and_what_was_wrong(caplog: pytest.LogCaptureFixture) -> None:
    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        scope.update(problem="overloaded", owner="ada", key_id="abcdef012345", client=("192.0.2.7", 4711))
        await send({"type": "http.response.start", "status": 503, "headers": []})

    with caplog.at_level(logging.INFO):
        asked(refusing, body=b"12345")
    [record] = caplog.records
    assert record.levelname == "WARNING"
    said = " client=192.0.2.7 owner=ada key_id=abcdef012345 received_bytes=5 problem=overloaded"
    assert record.getMessage().endswith(said)
    assert (record.__dict__["client"], record.__dict__["received_bytes"]) == ("192.0.2.7", 5)
