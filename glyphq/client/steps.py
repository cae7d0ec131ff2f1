"""What an operation asks of whoever runs it. Operations are generators that yield these and are sent what came of it:
they do no I/O, so each is written once, and `Client` and `AsyncClient` both run it.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

import httpx

T = TypeVar("T")
OnUpload = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Body:
    """What is sent: `pieces` begins it anew for each attempt. `size` is in bytes; where it is known only afterwards,
    there may be an `about`. `on_upload(bytes sent, bytes in all or None)` is told of each piece.
    """

    pieces: Callable[[], Iterator[bytes]]
    media_type: str
    size: int | None = None
    about: int | None = None
    on_upload: OnUpload | None = None


@dataclass(frozen=True)
class Send:
    """Send a request: the response, read to its end unless `stream`. A response that was being read is closed.

    Raises httpx.RequestError.
    """

    method: str
    path: str
    params: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    stream: bool = False
    read_seconds: float = 0.0  # the least time to wait for an answer, where the client's own is shorter
    most_seconds: float = float("inf")  # the longest to wait for anything


@dataclass(frozen=True)
class ReadPiece:
    """The next bytes of the response that is being read; None at its end. Raises httpx.RequestError."""


@dataclass(frozen=True)
class Pause:
    """Go on after this long."""

    seconds: float


@dataclass(frozen=True)
class Block:
    """Make a call that may take its time on this machine, such as on a file."""

    call: Callable[[], Any]


@dataclass(frozen=True)
class Give(Generic[T]):
    """Hand these to whoever goes through the operation."""

    values: Sequence[T]


Step = Send | ReadPiece | Pause | Block
Operation = Generator[Step, Any, T]
"""Ends with its result."""
Flow = Generator[Step | Give[T], Any, None]
"""Gives its results on the way."""


def send(request: Send) -> Operation[httpx.Response]:
    return cast("httpx.Response", (yield request))


def read_piece() -> Operation[bytes | None]:
    return cast("bytes | None", (yield ReadPiece()))


def pause(seconds: float) -> Operation[None]:
    yield Pause(seconds)


def block(call: Callable[[], T]) -> Operation[T]:
    return cast("T", (yield Block(call)))
