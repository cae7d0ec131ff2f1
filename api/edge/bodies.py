"""How the body of a request comes: piece by piece, bounded in size, time and slowness. Knows not what is in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from starlette.requests import ClientDisconnect, Request

from glyphq.errors import LimitExceeded, UploadInterrupted, UploadTooSlow
from glyphq.settings import Settings


@asynccontextmanager
async def pieces_of(
    request: Request, settings: Settings, limit_name: str, limit: int
) -> AsyncIterator[AsyncIterator[bytes]]:
    """The body, to be read within. Raises LimitExceeded at once when it is announced or found to be larger than `limit`
    bytes, UploadInterrupted and UploadTooSlow.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit, limit_name)
    try:
        async with asyncio.timeout(settings.max_upload_seconds) as deadline:
            with _Pace(deadline, settings) as pace:
                yield _pieces(request, pace, limit_name, limit)
    except ClientDisconnect:
        raise UploadInterrupted("The connection ended before the whole body had arrived. Submit again.") from None
    except TimeoutError:
        raise UploadTooSlow(
            f"Nothing arrived for {settings.max_body_gap_seconds:,g} seconds, or the upload took longer than "
            f"{settings.max_upload_seconds:,g}. Submit again; split a larger upload into several jobs."
        ) from None


async def read_body(request: Request, settings: Settings, limit_name: str, limit: int) -> bytes:
    """The whole of a small body. Raises as `pieces_of`."""
    async with pieces_of(request, settings, limit_name, limit) as pieces:
        return b"".join([piece async for piece in pieces])


class _Pace:
    """How fast the body comes. Only waiting counts: what the disk takes is not the sender's fault.

    A context manager: within, the deadline passes when a piece does not come. One timer looks after many pieces, for
    moving it at each took longer than the piece.
    """

    def __init__(self, deadline: asyncio.Timeout, settings: Settings) -> None:
        self._loop, self._deadline = asyncio.get_running_loop(), deadline
        self._gap, self._least = settings.max_body_gap_seconds, settings.min_body_bytes_per_second
        self._asked: float | None = None  # when a piece was, which has not come
        self._waited, self._received = 0.0, 0

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(self._gap, self._look)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def ask(self) -> None:
        self._asked = self._loop.time()

    def take(self, piece: bytes) -> int:
        """The bytes that have come by now. Raises UploadTooSlow when they are too few."""
        if self._asked is not None:
            self._waited += self._loop.time() - self._asked
            self._asked = None
        self._received += len(piece)
        if self._waited > self._gap and self._received < self._least * self._waited:
            raise UploadTooSlow(
                f"The upload was slower than {self._least:,} bytes a second. Submit again over a faster connection."
            )
        return self._received

    def _look(self) -> None:
        now = self._loop.time()
        due = (self._asked or now) + self._gap
        if due > now:
            self._timer = self._loop.call_at(due, self._look)
        elif not self._deadline.expired():
            self._deadline.reschedule(now)


async def _pieces(request: Request, pace: _Pace, limit_name: str, limit: int) -> AsyncIterator[bytes]:
    """The body, piece by piece. Raises LimitExceeded when there is too much of it."""
    pace.ask()
    async for piece in request.stream():
        if pace.take(piece) > limit:
            raise _too_large(limit, limit_name)
        yield piece
        pace.ask()
    pace.take(b"")  # nothing more is awaited


def _too_large(limit: int, name: str) -> LimitExceeded:
    return LimitExceeded(name, limit, f"The upload is larger than {limit:,} bytes. Split it into several jobs.")
