"""Raw connections to a service, and whoever else uses it meanwhile."""

import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Protocol

import httpx

from tests.faults.stack import Stack, resident_mib, until

STRANGER, BYSTANDER = "127.0.0.3", "127.0.0.2"
_GROWTH_MIB = 64.0  # what the API may take more than before, whatever strangers send
_PATIENCE_SECONDS = 60.0


class Connection:
    """To the service, from an address of one's own."""

    def __init__(self, url: str, address: str = STRANGER) -> None:
        port = httpx.URL(url).port or 0
        self._socket = socket.create_connection(("127.0.0.1", port), _PATIENCE_SECONDS, source_address=(address, 0))
        self.port: int = self._socket.getsockname()[1]
        self._received = b""

    def send(self, data: bytes) -> None:
        """As much as the service takes: it may have closed the connection."""
        with suppress(ConnectionError):
            self._socket.sendall(data)

    def closed(self) -> bool:
        """Whether the service has closed it; what had come before is kept."""
        while select.select([self._socket], [], [], 0)[0]:
            if not self._receive():
                return True
        return False

    def drip(self, data: bytes = b"a") -> bool:
        """One byte more, unless it is closed; whether it is."""
        self.send(data)
        return self.closed()

    def answers(self) -> list["Answer"]:
        """All there are until the service closes the connection."""
        while self._receive():
            pass
        return list(_answers(self._received))

    def one_answer(self) -> "Answer":
        """The next one, on a connection that stays open."""
        while not (found := list(_answers(self._received))):
            assert self._receive(), f"closed after {self._received!r}"
        self._received = b""
        return found[0]

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> bytes:
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionError:
            data = b""
        self._received += data
        return data


class Answer:
    """One answer; `problem` is its body as JSON."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in lines)
        self.body = body

    @property
    def problem(self) -> dict[str, object]:
        assert self.headers["content-type"] == "application/problem+json"
        found: dict[str, object] = json.loads(self.body)
        assert found["status"] == self.status
        assert found["detail"]
        return found


def _answers(received: bytes) -> Iterator[Answer]:
    """Those that are whole and have a length."""
    while b"\r\n\r\n" in received:
        head, _, rest = received.partition(b"\r\n\r\n")
        answer = Answer(head, b"")
        length = int(answer.headers.get("content-length", "0"))
        if len(rest) < length:
            return
        answer.body, received = rest[:length], rest[length:]
        yield answer


class Connect(Protocol):
    """How a test connects."""

    def __call__(self, service: Stack, address: str = STRANGER) -> Connection: ...


def refused(service: Stack, request: bytes) -> dict[str, object]:
    """The problem that the request is answered with, as the only answer, before the connection is closed."""
    with closing(Connection(service.url)) as connection:
        connection.send(request)
        (answer,) = connection.answers()
    assert answer.headers["connection"] == "close"
    return answer.problem


@contextmanager
def besieged(service: Stack) -> Iterator[None]:
    """Within: somebody else asks again and again, each time on a new connection, and is answered every time, and the
    API takes no more memory than it may.
    """
    before = resident_mib(service.api.pid)
    ended, answers, memory = threading.Event(), list[object](), [before]

    def bystander() -> None:
        while not ended.wait(0.02):
            transport = httpx.HTTPTransport(local_address=BYSTANDER, verify=False)
            with httpx.Client(transport=transport, timeout=_PATIENCE_SECONDS) as client:
                try:
                    answers.append(client.get(f"{service.url}/v1/jobs").status_code)
                except httpx.HTTPError as error:
                    answers.append(error)
            memory.append(resident_mib(service.api.pid))

    asking = threading.Thread(target=bystander)
    asking.start()
    try:
        yield
        more = len(answers) + 3
        until(lambda: len(answers) >= more, "somebody else is answered")
    finally:
        ended.set()
        asking.join()
    assert set(answers) == {200}
    assert max(memory) < before + _GROWTH_MIB, f"{before:.0f} MiB before, {max(memory):.0f} at the most"


def nothing_staged(service: Stack) -> Callable[[], bool]:
    return lambda: not any((service.store / ".staging").glob("*"))
