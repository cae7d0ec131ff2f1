"""What the two clients share: how an operation is made a method, how it is advanced, and what of a request does not
depend on who waits for the answer.
"""

import os
import socket
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from functools import update_wrapper
from inspect import signature
from typing import Any, Generic, ParamSpec, TypeVar, get_args

import httpx

from glyphq import __version__
from glyphq.client.steps import Body, Send
from glyphq.errors import InvalidOption

DEFAULT_URL = "http://127.0.0.1:8000"
_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}  # macOS has its own name

P = ParamSpec("P")
T = TypeVar("T")
Y = TypeVar("Y")


def described(method: Callable[P, T], operation: Callable[..., Any], gives: Any = None) -> Callable[P, T]:
    """The method with the operation's name, words and parameters, and what it returns, or `gives` one by one: of T."""
    update_wrapper(method, operation)
    own = signature(operation)
    first, *rest = own.parameters.values()
    parameters = [first.replace(name="self", annotation=first.empty), *rest]
    vars(method).pop("__wrapped__")
    vars(method)["__signature__"] = own.replace(
        parameters=parameters, return_annotation=_returned(own.return_annotation, gives)
    )
    return method


def _returned(annotation: Any, gives: Any) -> Any:
    """Of Operation[T] the T, of Flow[T] what gives it."""
    if isinstance(annotation, str):
        return annotation.removeprefix("Operation[").removesuffix("]")
    yielded, _, returned = get_args(annotation)
    return gives[get_args(get_args(yielded)[-1])[0]] if gives else returned


@dataclass(frozen=True)
class Ended(Generic[T]):
    """What came of an operation."""

    result: T


def advanced(
    operation: Generator[Y, Any, T], answer: object = None, error: BaseException | None = None
) -> Y | Ended[T]:
    """Its next step, or its end."""
    try:
        return operation.send(answer) if error is None else operation.throw(error)
    except StopIteration as ended:
        return Ended(ended.value)


def request(
    http: httpx.Client | httpx.AsyncClient, step: Send, content: Iterator[bytes] | AsyncIterator[bytes] | None
) -> httpx.Request:
    """What is to be sent, with `content` as the client can read it."""
    headers = dict(step.headers)
    if step.body:
        headers["Content-Type"] = step.body.media_type
        if step.body.size is not None:
            headers["Content-Length"] = str(step.body.size)
    timeout = http.timeout.as_dict()
    if timeout["read"] is not None:
        timeout["read"] = max(timeout["read"], step.read_seconds)
    if step.most_seconds < float("inf"):
        timeout = {what: min(seconds or step.most_seconds, step.most_seconds) for what, seconds in timeout.items()}
    return http.build_request(
        step.method, step.path, params=step.params, headers=headers, content=content, timeout=httpx.Timeout(**timeout)
    )


def tell(body: Body, sent: int) -> None:
    """Whoever wants to know, that so many bytes have been sent."""
    if body.on_upload:
        total = body.size if body.size is not None else body.about
        body.on_upload(sent, max(sent, total) if total is not None else None)


def address(server: str | None) -> httpx.URL:
    """The service's, given or from the environment. Raises InvalidOption, which shows nothing that may be secret."""
    url = server if server is not None else os.environ.get("GLYPHQ_SERVER") or DEFAULT_URL
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if set(url) & set("@?#"):
        raise InvalidOption(
            "server",
            f"An address, such as {DEFAULT_URL}, has no user or password, no ? and no #: a key is given apart.",
        )
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidOption("server", f"{url!r} is not the address of a service, such as {DEFAULT_URL}.")
    return parsed


def headers(key: str | None) -> dict[str, str]:
    """Those of every request, with the key that is given or from the environment. Raises InvalidOption."""
    headers = {"User-Agent": f"glyphq/{__version__}"}
    key = key if key is not None else os.environ.get("GLYPHQ_KEY") or None
    if key is None:
        return headers
    key = key.strip()  # as read from a file
    if not is_sendable(key):
        raise InvalidOption("key", "The key is empty or has characters that no key has.")
    return {**headers, "Authorization": f"Bearer {key}"}


def is_sendable(text: str) -> bool:
    """Whether a header can have this as its value."""
    return bool(text) and text.isascii() and text.isprintable() and text == text.strip()


def connections(url: httpx.URL) -> dict[str, Any]:
    """How a transport connects. That the other end is gone without a word is noticed after half a minute, however long
    an answer may take.
    """
    kept = [(getattr(socket, name), value) for name, value in _ALIVE.items() if hasattr(socket, name)]
    return {
        "verify": url.scheme == "https",  # certificates take 30 ms to read, more than many a command
        "limits": httpx.Limits(max_keepalive_connections=20),  # no most at once: many may be held, as by `follow`
        "socket_options": [
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            *((socket.IPPROTO_TCP, option, value) for option, value in kept),
        ],
    }
