"""Each request as an operator sees it: its id, its time by route, and one line in the log. Knows nothing of jobs.

The line has what was left in the scope: `problem` by `api.problems`, `owner` and `key_id` by whoever let it in.
"""

import logging
import re
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import HTTP_SECONDS
from glyphq import logs

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,64}")
_METHODS = "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"
_PROBES = "/healthz", "/readyz", "/metrics"  # asked every few seconds: a line each would hide the others


class AccessLog:
    """ASGI middleware: binds the request's id (`X-Request-ID`, else a new one), answers it, measures and logs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, received_bytes = time.perf_counter(), "none", 0
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()
        logs.bind_request(request_id.decode())
        logs.bind_job(None)  # of requests that were sent ahead, one may begin in the task of the one before

        async def receive_counted() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive_counted, send_with_id)
        finally:
            _observe(scope, status, time.perf_counter() - began, received_bytes)


def _observe(scope: Scope, status: str, seconds: float, received_bytes: int) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "other"
    route = getattr(scope.get("route"), "path", None) or scope.get("root_path") or "none"
    HTTP_SECONDS.labels(method, route, status).observe(seconds)
    if route not in _PROBES or status not in ("200", "503"):
        client = scope.get("client")
        origin = {
            "client": client[0] if client else None,
            "owner": scope.get("owner"),
            "key_id": scope.get("key_id"),
            "received_bytes": received_bytes or None,
            "problem": scope.get("problem"),
        }
        known = {name: value for name, value in origin.items() if value is not None}
        fields = {"method": method, "route": route, "status": status, "seconds": round(seconds, 6), **known}
        level = logging.WARNING if status.startswith("5") else logging.INFO
        said = "".join(f" {name}={value}" for name, value in known.items())
        log.log(level, "%s %s %s in %.4f s%s", method, route, status, seconds, said, extra=fields)
