"""A transport that answers as the service does, and what tests make of it."""

import inspect
import json
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from io import BytesIO
from typing import Any

import anyio
import httpx

from glyphq.client import AsyncClient, Client

JOB_ID = "0199f0a0-0000-7000-8000-000000000001"


def job_json(state: str = "completed", classified: int = 4, **changes: Any) -> dict[str, Any]:
    return {
        "id": JOB_ID,
        "name": "scans.zip",
        "kind": "zip",
        "state": state,
        "created_at": "2026-01-02T03:04:05.678Z",
        "ended_at": "2026-01-02T03:04:07Z" if state in ("completed", "cancelled", "failed") else None,
        "counts": {
            "total": 4,
            "pending": 4 - classified,
            "classified": classified,
            "blank": 0,
            "rejected": 0,
            "cancelled": 0,
        },
        "ignored": 1,
        "progress": classified / 4,
        "rate": None,
        "eta_seconds": None,
        "options": {"name": None, "top_k": 3, "charset": "all", "invert": "auto", "filename_encoding": "cp437"},
        "models": [{"digest": "ab12", "engine": "torch"}],
        "warnings": [],
        "links": {
            "self": f"/v1/jobs/{JOB_ID}",
            "results": f"/v1/jobs/{JOB_ID}/results",
            "cancel": f"/v1/jobs/{JOB_ID}/cancel",
        },
        **changes,
    }


def problem(
    status: int, code: str, detail: str, headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    body = {"type": f"/problems/{code}", "title": "A title", "status": status, "detail": detail, "code": code, **fields}
    return httpx.Response(
        status, headers={"Content-Type": "application/problem+json", **(headers or {})}, content=json.dumps(body)
    )


Answer = httpx.Response | Exception


class Service:
    """Answers each request with the next of `answers` (the last one again and again) and remembers what was asked."""

    flavour: type = Client

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        headers = {"glyphq-complete": "true", **answer.headers}
        return httpx.Response(answer.status_code, headers=headers, stream=answer.stream)  # can be read again

    def client(self, key: str | None = None) -> Any:
        if Service.flavour is Client:
            return Client("http://service", key, transport=httpx.MockTransport(self), sleep=self.pauses.append)
        return Blocking(AsyncClient("http://service", key, transport=httpx.MockTransport(self), sleep=self._pause))

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


class Blocking:
    """An AsyncClient as a Client: each call is run to its end."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            async def run() -> Any:
                begun = getattr(self._client, name)(*arguments, **options)
                return [each async for each in begun] if inspect.isasyncgen(begun) else await begun

            return anyio.run(run)

        return call


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Content that breaks off."""

    def __init__(self, content: bytes, error: Exception | None = None) -> None:
        self._content, self._error = content, error or httpx.ReadError("Connection reset")

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def accepted() -> httpx.Response:
    return httpx.Response(202, json=job_json("queued", classified=0), headers={"Location": f"/v1/jobs/{JOB_ID}"})


def line(row: int, label: str | None = "7", **more: Any) -> bytes:
    fields = {"row": row, "filename": f"{row}.png", "status": "classified" if label else "rejected", "label": label,
              "confidence": 0.9 if label else None, "top": [{"label": label, "confidence": 0.9}] if label else [],
              "reason": None if label else "not_an_image", "detail": None, **more}  # fmt: skip
    return json.dumps(fields).encode() + b"\n"


def entries(body: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(body)) as archive:
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        return {name: archive.read(name) for name in archive.namelist()}
