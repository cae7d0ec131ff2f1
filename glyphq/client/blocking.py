"""The client that blocks. Knows how steps are taken; nothing of what an operation asks for or why.

Its methods are made of the functions in `operations` and `downloads`, with their parameters and docstrings.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx

from glyphq.client import downloads, operations
from glyphq.client.exchange import Service
from glyphq.client.methods import Ended, address, advanced, connections, described, headers, request, tell
from glyphq.client.steps import Block, Body, Flow, Give, Operation, Pause, ReadPiece, Send, Step

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(operation: Callable[Concatenate[Service, P], Operation[T]]) -> "Callable[Concatenate[Client, P], T]":
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client._run(operation(client._service, *args, **kwargs))  # noqa: SLF001  # its method

    return described(method, operation)


def _iterated(
    flow: Callable[Concatenate[Service, P], Flow[T]],
) -> "Callable[Concatenate[Client, P], Generator[T, None, None]]":
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        return client._go_through(flow(client._service, *args, **kwargs))  # noqa: SLF001  # its method

    return described(method, flow, Generator[T, None, None])


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
        url = address(server)
        self._service, self._sleep = Service(str(url).rstrip("/"), retry_seconds), sleep
        transport = transport or httpx.HTTPTransport(**connections(url))
        self._http = httpx.Client(base_url=url, headers=headers(key), timeout=timeout_seconds, transport=transport)

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
            step = advanced(operation)
            while not isinstance(step, Ended):
                step = advanced(operation, *exchange.outcome(step))
            return step.result

    def _go_through(self, flow: Flow[T]) -> Generator[T, None, None]:
        with closing(flow), closing(_Exchange(self._http, self._sleep)) as exchange:
            step = advanced(flow)
            while not isinstance(step, Ended):
                if isinstance(step, Give):
                    yield from step.values
                    step = advanced(flow)
                else:
                    step = advanced(flow, *exchange.outcome(step))


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
        sent = request(self._http, step, self._content(step.body) if step.body else None)
        self._open = response = self._http.send(sent, stream=True)
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
            tell(body, sent)
