"""`Client` and `AsyncClient`: two that run the same operations, one by blocking and one by awaiting. Knows httpx;
nothing of what an operation asks for or why.

The methods of both are made of the functions in `operations` and `downloads`, with their parameters and docstrings.
"""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from functools import update_wrapper
from inspect import signature
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, get_args

import anyio
import anyio.to_thread
import httpx

from glyphq import __version__
from glyphq.client import downloads, operations
from glyphq.client.exchange import Service
from glyphq.client.steps import Block, Body, Flow, Give, Operation, Pause, ReadPiece, Send, Step
from glyphq.errors import InvalidOption

DEFAULT_URL = "http://127.0.0.1:8000"

P = ParamSpec("P")
T = TypeVar("T")
Y = TypeVar("Y")


def _described(method: Callable[P, T], operation: Callable[..., Any], gives: Any = None) -> Callable[P, T]:
    """The method with the operation's name, words and parameters, and what it returns, or `gives` one by one."""
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


def _blocking(operation: Callable[Concatenate[Service, P], Operation[T]]) -> "Callable[Concatenate[Client, P], T]":
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client._run(operation(client._service, *args, **kwargs))  # noqa: SLF001  # its method

    return _described(method, operation)


def _iterated(flow: Callable[Concatenate[Service, P], Flow[T]]) -> "Callable[Concatenate[Client, P], Iterator[T]]":
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return client._go_through(flow(client._service, *args, **kwargs))  # noqa: SLF001  # its method

    return _described(method, flow, Iterator)


def _awaited(
    operation: Callable[Concatenate[Service, P], Operation[T]],
) -> "Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]":
    async def method(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client._run(operation(client._service, *args, **kwargs))  # noqa: SLF001  # its method

    return _described(method, operation)


def _async_iterated(
    flow: Callable[Concatenate[Service, P], Flow[T]],
) -> "Callable[Concatenate[AsyncClient, P], AsyncIterator[T]]":
    def method(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return client._go_through(flow(client._service, *args, **kwargs))  # noqa: SLF001  # its method

    return _described(method, flow, AsyncIterator)


class Client:
    """A connection to one service, to be closed or used as a context manager.

    `server` is its address, by default GLYPHQ_SERVER or http://127.0.0.1:8000; `key`, by default GLYPHQ_KEY, is sent
    as a bearer token, and to that address alone: redirects are not followed, and proxies named in the environment are
    not used. `timeout_seconds` is for each connect, read and write; what fails is tried again for `retry_seconds` where
    that may help, but for 3 at the most where nobody has answered yet. `transport` and `sleep` are what talks to the
    network and what pauses. Raises InvalidOption for an address or key that cannot be used.
    """

    def __init__(
        self,
        server: str | None = None,
        key: str | None = None,
        timeout_seconds: float = 30.0,
        *,
        retry_seconds: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        url = _address(server)
        self._service, self._sleep = Service(str(url).rstrip("/"), retry_seconds), sleep
        transport = transport or httpx.HTTPTransport(verify=_verified(url))
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout_seconds, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.server}>"

    @property
    def server(self) -> str:
        """The service's address, without a slash at its end."""
        return self._service.url

    def close(self) -> None:
        self._http.close()

    submit = _blocking(operations.submit)
    status = _blocking(operations.status)
    wait = _blocking(operations.wait)
    classify = _blocking(operations.classify)
    jobs = _iterated(operations.jobs)
    cancel = _blocking(operations.cancel)
    delete = _blocking(operations.delete)
    rows = _iterated(downloads.rows)
    follow = _iterated(downloads.follow)
    download = _blocking(downloads.download)
    results = _blocking(downloads.results)
    arrow = _blocking(downloads.arrow)
    correct = _blocking(operations.correct)
    uncorrect = _blocking(operations.uncorrect)
    summary = _blocking(operations.summary)
    image = _blocking(operations.image)
    model = _blocking(operations.model)
    ready = _blocking(operations.ready)
    checks = _blocking(operations.checks)

    def _run(self, operation: Operation[T]) -> T:
        with closing(operation), closing(_Exchange(self._http, self._sleep)) as exchange:
            step = _advanced(operation)
            while not isinstance(step, _Ended):
                step = _advanced(operation, *exchange.outcome(step))
            return step.result

    def _go_through(self, flow: Flow[T]) -> Iterator[T]:
        with closing(flow), closing(_Exchange(self._http, self._sleep)) as exchange:
            step = _advanced(flow)
            while not isinstance(step, _Ended):
                if isinstance(step, Give):
                    yield from step.values
                    step = _advanced(flow)
                else:
                    step = _advanced(flow, *exchange.outcome(step))


class AsyncClient:
    """`Client` for asyncio and trio: the same methods, awaited, or gone through with `async for`.

    Files are read and written in threads. Callbacks are called, not awaited.
    """

    def __init__(
        self,
        server: str | None = None,
        key: str | None = None,
        timeout_seconds: float = 30.0,
        *,
        retry_seconds: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        url = _address(server)
        self._service, self._sleep = Service(str(url).rstrip("/"), retry_seconds), sleep
        transport = transport or httpx.AsyncHTTPTransport(verify=_verified(url))
        self._http = httpx.AsyncClient(
            base_url=url, headers=_headers(key), timeout=timeout_seconds, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient of {self.server}>"

    @property
    def server(self) -> str:
        """The service's address, without a slash at its end."""
        return self._service.url

    async def close(self) -> None:
        await self._http.aclose()

    submit = _awaited(operations.submit)
    status = _awaited(operations.status)
    wait = _awaited(operations.wait)
    classify = _awaited(operations.classify)
    jobs = _async_iterated(operations.jobs)
    cancel = _awaited(operations.cancel)
    delete = _awaited(operations.delete)
    rows = _async_iterated(downloads.rows)
    follow = _async_iterated(downloads.follow)
    download = _awaited(downloads.download)
    results = _awaited(downloads.results)
    arrow = _awaited(downloads.arrow)
    correct = _awaited(operations.correct)
    uncorrect = _awaited(operations.uncorrect)
    summary = _awaited(operations.summary)
    image = _awaited(operations.image)
    model = _awaited(operations.model)
    ready = _awaited(operations.ready)
    checks = _awaited(operations.checks)

    async def _run(self, operation: Operation[T]) -> T:
        with closing(operation):
            async with aclosing(_AsyncExchange(self._http, self._sleep)) as exchange:
                step = _advanced(operation)
                while not isinstance(step, _Ended):
                    step = _advanced(operation, *await exchange.outcome(step))
                return step.result

    async def _go_through(self, flow: Flow[T]) -> AsyncIterator[T]:
        with closing(flow):
            async with aclosing(_AsyncExchange(self._http, self._sleep)) as exchange:
                step = _advanced(flow)
                while not isinstance(step, _Ended):
                    if isinstance(step, Give):
                        for value in step.values:
                            yield value
                        step = _advanced(flow)
                    else:
                        step = _advanced(flow, *await exchange.outcome(step))


@dataclass(frozen=True)
class _Ended(Generic[T]):
    """What came of an operation."""

    result: T


def _advanced(
    operation: Generator[Y, Any, T], answer: object = None, error: BaseException | None = None
) -> Y | _Ended[T]:
    """Its next step, or its end."""
    try:
        return operation.send(answer) if error is None else operation.throw(error)
    except StopIteration as ended:
        return _Ended(ended.value)


class _Exchange:
    """Does what an operation asks for. At most one response is open."""

    def __init__(self, http: httpx.Client, sleep: Callable[[float], None]) -> None:
        self._http, self._sleep = http, sleep
        self._open: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())

    def close(self) -> None:
        if self._open is not None:
            self._open.close()

    def outcome(self, step: Step) -> tuple[object, BaseException | None]:
        try:
            return self._done(step), None
        except BaseException as error:  # noqa: BLE001  # the operation raises it, where it stands
            return None, error

    def _done(self, step: Step) -> object:
        match step:
            case Send():
                return self._sent(step)
            case ReadPiece():
                return next(self._pieces, None)
            case Pause(seconds):
                self._sleep(seconds)
                return None
            case Block(call):
                return call()

    def _sent(self, step: Send) -> httpx.Response:
        self.close()
        request = _request(self._http, step, self._content(step.body) if step.body else None)
        self._open = response = self._http.send(request, stream=True)
        if step.stream and response.is_success:
            self._pieces = response.iter_bytes()
        else:
            response.read()
        return response

    def _content(self, body: Body) -> Iterator[bytes]:
        sent = 0
        for piece in body.pieces():
            yield piece
            sent += len(piece)
            _tell(body, sent)


class _AsyncExchange:
    """`_Exchange`, awaited."""

    def __init__(self, http: httpx.AsyncClient, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._http, self._sleep = http, sleep
        self._open: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def aclose(self) -> None:
        if self._open is not None:
            await self._open.aclose()

    async def outcome(self, step: Step) -> tuple[object, BaseException | None]:
        try:
            return await self._done(step), None
        except BaseException as error:  # noqa: BLE001  # the operation raises it, where it stands
            return None, error

    async def _done(self, step: Step) -> object:
        match step:
            case Send():
                return await self._sent(step)
            case ReadPiece():
                return await anext(self._pieces, None) if self._pieces else None
            case Pause(seconds):
                await self._sleep(seconds)
                return None
            case Block(call):
                return await anyio.to_thread.run_sync(call)

    async def _sent(self, step: Send) -> httpx.Response:
        await self.aclose()
        request = _request(self._http, step, self._content(step.body) if step.body else None)
        self._open = response = await self._http.send(request, stream=True)
        if step.stream and response.is_success:
            self._pieces = response.aiter_bytes()
        else:
            await response.aread()
        return response

    async def _content(self, body: Body) -> AsyncIterator[bytes]:
        sent, pieces = 0, body.pieces()
        while piece := await anyio.to_thread.run_sync(next, pieces, b""):
            yield piece
            sent += len(piece)
            _tell(body, sent)


def _request(
    http: httpx.Client | httpx.AsyncClient, step: Send, content: Iterator[bytes] | AsyncIterator[bytes] | None
) -> httpx.Request:
    headers = dict(step.headers)
    if step.body:
        headers["Content-Type"] = step.body.media_type
        if step.body.size is not None:
            headers["Content-Length"] = str(step.body.size)
    timeout = http.timeout.as_dict()
    if timeout["read"] is not None:
        timeout["read"] = max(timeout["read"], step.read_seconds)
    return http.build_request(
        step.method, step.path, params=step.params, headers=headers, content=content, timeout=httpx.Timeout(**timeout)
    )


def _tell(body: Body, sent: int) -> None:
    if body.on_upload:
        total = body.size if body.size is not None else body.about
        body.on_upload(sent, max(sent, total) if total is not None else None)


def _address(server: str | None) -> httpx.URL:
    url = server if server is not None else os.environ.get("GLYPHQ_SERVER") or DEFAULT_URL
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidOption("server", f"{url!r} is not the address of a service, such as {DEFAULT_URL}.")
    return parsed


def _headers(key: str | None) -> dict[str, str]:
    headers = {"User-Agent": f"glyphq/{__version__}"}
    key = key if key is not None else os.environ.get("GLYPHQ_KEY")
    if key is None:
        return headers
    if not (key and key.isascii() and key.isprintable()):
        raise InvalidOption("key", "The key is empty or has characters that no key has.")
    return {**headers, "Authorization": f"Bearer {key}"}


def _verified(url: httpx.URL) -> bool:
    """Certificates are read only where they are needed: that takes 30 ms, more than many a command."""
    return url.scheme == "https"
