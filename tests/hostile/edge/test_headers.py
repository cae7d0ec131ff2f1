"""What browsers are told: to frame, guess and keep nothing; the page of the API trusts the service alone."""

import asyncio
import re

import httpx
import pytest
from fastapi import FastAPI, Response

from api.edge.security_headers import HEADERS, SecurityHeaders
from api.problems import add_problem_handlers
from tests.faults.stack import Stack
from tests.hostile.edge.strangers import Connect


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/docs/start.js", 200),
        ("GET", "/v1/jobs", 200),
        ("GET", "/v1/model", 200),
        ("POST", "/v1/jobs", 422),
        ("GET", "/v1/jobs/none", 404),
        ("PUT", "/v1/jobs", 405),
        ("GET", "/v2", 404),
    ],
)
def test_every_answer_has_them(service: Stack, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, f"{service.url}{path}", trust_env=False)
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers.get("cache-control") == ("no-store" if path.startswith("/v1/") else None)


def test_what_the_edge_refuses_has_them(service: Stack, connect: Connect) -> None:
    connection = connect(service)
    connection.send(b"nonsense\r\n\r\n")
    (answer,) = connection.answers()
    assert answer.status == 400
    assert {name: answer.headers[name.lower()] for name in HEADERS} == {k: v.lower() for k, v in HEADERS.items()}


def answer_of(app: FastAPI, path: str) -> httpx.Response:
    """Without a server."""

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(SecurityHeaders(app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)

    return asyncio.run(get())


def test_an_unforeseen_error_has_them() -> None:
    app = FastAPI()
    add_problem_handlers(app)

    @app.get("/v1/broken")
    def broken() -> None:
        raise ZeroDivisionError

    answer = answer_of(app, "/v1/broken")
    assert answer.status_code == 500
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["cache-control"] == "no-store"


def test_a_route_may_say_otherwise() -> None:
    app = FastAPI()

    @app.get("/v1/picture")
    def picture() -> Response:
        return Response(headers={"Cache-Control": "private", "Content-Security-Policy": "sandbox"})

    answer = answer_of(app, "/v1/picture")
    assert answer.headers.get_list("cache-control") == ["private"]
    assert answer.headers.get_list("content-security-policy") == ["sandbox"]


def test_the_page_of_the_api_needs_no_other_site_and_no_inline_script(service: Stack) -> None:
    with httpx.Client(base_url=service.url, trust_env=False) as client:
        page = client.get("/docs")
        policy = page.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|style=", page.text)
        needed = re.findall(r'(?:src|href)="([^"]*)"', page.text)
        assert len(needed) == 5
        for path in needed:
            assert client.get(path).status_code == 200, path
