"""The client that awaits: `blocking` for asyncio and trio, with the same methods."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, closing, suppress
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import anyio
import anyio.to_thread
import httpx

from glyphq.client import downloads, operations
from glyphq.client.exchange import Service
from glyphq.client.methods import Ended, address, advanced, connections, described, headers, request, tell
from glyphq.client.steps import Block, Body, Flow, Give, Operation, Pause, ReadPiece, Send, Step

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(
    operation: Callable[Concatenate[Service, P], Operation[T]],
) -> "Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]":
    async def method(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client._run(operation(client._service, *args, **kwargs))  # noqa: SLF001  # its method

    return described(method, operation)


def _iterated(
    flow: Callable[Concatenate[Service, P], Flow[T]],
) -> "Callable[Concatenate[AsyncClient, P], AsyncGenerator[T, None]]":
    def method(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
        return client._go_through(flow(client._service, *args, **kwargs))  # noqa: SLF001  # its method

    return described(method, flow, AsyncGenerator[T, None])


class AsyncClient:
    """`Client` for asyncio and trio: the same methods, awaited, or gone through with `async for`.

    Files are read and written in threads. Callbacks are called, not awaited. What is not gone through to its end is to
    be closed, by contextlib.aclosing.
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
        url = address(server)
        self._service, self._sleep = Service(str(url).rstrip("/"), retry_seconds), sleep
        transport = transport or httpx.AsyncHTTPTransport(**connections(url))
        self._http = httpx.AsyncClient(base_url=url, headers=headers(key), timeout=timeout_seconds, transport=transport)

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
    jobs = _iterated(operations.jobs)
    cancel = _awaited(operations.cancel)
    delete = _awaited(operations.delete)
    rows = _iterated(downloads.rows)
    follow = _iterated(downloads.follow)
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
            async with aclosing(_Exchange(self._http, self._sleep)) as exchange:
                step = advanced(operation)
                while not isinstance(step, Ended):
                    step = advanced(operation, *await exchange.outcome(step))
                return step.result

    async def _go_through(self, flow: Flow[T]) -> AsyncGenerator[T, None]:
        with closing(flow):
            async with aclosing(_Exchange(self._http, self._sleep)) as exchange:
                step = advanced(flow)
                while not isinstance(step, Ended):
                    if isinstance(step, Give):
                        for value in step.values:
                            yield value
                        step = advanced(flow)
                    else:
                        step = advanced(flow, *await exchange.outcome(step))


class _Exchange:
    """Does what an operation asks for. At most one response is open."""

    def __init__(self, http: httpx.AsyncClient, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._http, self._sleep = http, sleep
        self._open: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def aclose(self) -> None:
        if self._open is not None:
            await self._open.aclose()
        if self._pieces is not None:
            with suppress(httpx.HTTPError, httpx.StreamError):  # trio warns of generators that nobody ends
                async for _ in self._pieces:
                    pass

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
        sent = request(self._http, step, self._content(step.body) if step.body else None)
        self._open = response = await self._http.send(sent, stream=True)
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
            tell(body, sent)
