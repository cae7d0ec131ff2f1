"""Where strangers connect: bounds how many connections there are, how large a request's head is and how long both ends
may take. Knows HTTP's frame; nothing of jobs.

uvicorn bounds none of it. Its `limit_concurrency` is looked at when a head is complete, so that half a head costs
nothing, and counts such connections, so that everybody else is refused; its `timeout_keep_alive` ends with the first
byte that comes; its httptools parser holds a header of any size. How slowly a body may come, `api.edge.bodies`
decides.
"""

import asyncio
import socket
import time
from collections import Counter
from ipaddress import IPv6Address, ip_network
from typing import Any

import httptools
from starlette.responses import Response
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.edge.security_headers import HEADERS
from api.metrics import CONNECTIONS_REFUSED
from api.problems import http_problem
from glyphq.errors import InvalidRequest
from glyphq.settings import Settings

_MOST_PIPELINED = 16  # requests that were sent before the answer to the first; browsers and curl send none
_LONGEST_SECONDS = 24 * 60 * 60.0  # that the kernel is asked to wait; it refuses what has no place in its fields
_IDLE_SECONDS = 1.0  # a connection that has waited less may be about to send its request


class Connections:
    """The open connections of this process, and since when some have waited for a request, the longest first."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self._most, self._most_per_address = most, most_per_address
        self._address_of: dict[Edge, str] = {}
        self._of_address: Counter[str] = Counter()
        self._waiting: dict[Edge, float] = {}

    def take_in(self, connection: "Edge", address: str) -> bool:
        """Whether there is room, if need be in place of the one that idles the longest; of its own address where that
        has its share. An IPv6 address stands for its /64, which is what one customer is given at the least.
        """
        if ":" in address:
            address = _network_of(IPv6Address(address.partition("%")[0]))
        if 0 < self._most_per_address <= self._of_address[address]:
            if not self._end_idle(address):
                return False
        elif len(self._address_of) >= self._most and not self._end_idle(None):
            return False
        self._address_of[connection] = address
        self._of_address[address] += 1
        self.waits(connection)
        return True

    def waits(self, connection: "Edge") -> None:
        """From now on the client's request is awaited, unless it has gone."""
        if connection in self._address_of:
            self._waiting.pop(connection, None)
            self._waiting[connection] = time.monotonic()

    def asks(self, connection: "Edge") -> None:
        """The request is there, and an answer owed."""
        self._waiting.pop(connection, None)

    def let_go(self, connection: "Edge") -> None:
        """It is closed. May be said twice."""
        self._waiting.pop(connection, None)
        address = self._address_of.pop(connection, None)
        if address is not None:
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]

    def _end_idle(self, address: str | None) -> bool:
        latest = time.monotonic() - _IDLE_SECONDS
        for connection, since in self._waiting.items():
            if since > latest:
                return False
            if address in (None, self._address_of[connection]):
                self.let_go(connection)
                connection.transport.abort()
                return True
        return False


def _network_of(address: IPv6Address) -> str:
    return str(address.ipv4_mapped or ip_network((address, 64), strict=False))


def _watch(client: socket.socket, seconds: float) -> None:
    """Have the kernel end the connection of a client whose machine or network is gone and has said nothing for so long:
    while there is nothing to send, as to whoever follows a job without new rows, nothing else would notice.
    """
    seconds = min(seconds, _LONGEST_SECONDS)
    often = max(1, int(seconds / 4))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, often)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, often)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * seconds))


class Edge(HttpToolsProtocol):
    """One connection. A head that is late or too large ends it, as does a client that takes no answer or is gone."""

    def __init__(self, settings: Settings, connections: Connections, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._settings, self._open = settings, connections
        self._head_due: asyncio.TimerHandle | None = None
        self._taking_due: asyncio.TimerHandle | None = None
        self._delivered = False  # whether the parser has told of a head, some body or an end
        self._undelivered_bytes = 0  # since then: of a head, of trailers or of a chunk's extensions
        self._answering: RequestResponseCycle | None = None  # of several requests sent ahead, not the last one
        self._deaf = False  # whether nothing that follows can be understood

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        _watch(transport.get_extra_info("socket"), self._settings.max_answer_gap_seconds)
        if self._open.take_in(self, self.client[0] if self.client else ""):
            self._await_head()
        else:
            self._refuse(http_problem(503, "There are too many connections. Try again in a few seconds."))

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.let_go(self)
        self._stop_awaiting_head()
        self.resume_writing()
        if self._answering is not None:
            self._answering.disconnected = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """In pieces no larger than what a head may yet have, so that the parser never holds more."""
        self._unset_keepalive_if_required()
        left = memoryview(data)
        while left and not (self._deaf or self.transport.is_closing()):
            room = self._settings.max_head_bytes - self._undelivered_bytes
            piece, left = left[:room], left[room:]
            self._parse(piece)
        if not self._owes_answer and self._head_due is None and not self.transport.is_closing():
            self._await_head()

    def _parse(self, piece: memoryview) -> None:
        self._delivered = False
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass  # answered as if it had not asked; see on_headers_complete
        except httptools.HttpParserCallbackError as error:
            refused = error.__context__
            said = (
                refused.detail if isinstance(refused, InvalidRequest) else "The target of the request cannot be read."
            )
            self._refuse(http_problem(400, said))
            return
        except httptools.HttpParserError as error:
            self._refuse(http_problem(400, f"This is not HTTP/1.1: {error}."))
            return
        self._undelivered_bytes = 0 if self._delivered else self._undelivered_bytes + len(piece)
        most = self._settings.max_head_bytes
        if self._undelivered_bytes >= most:
            self._refuse(http_problem(431, f"The head of a request has at most {most:,} bytes."))

    def on_headers_complete(self) -> None:
        """Raises InvalidRequest for what the parser lets pass, but would misread."""
        self._delivered = True
        fields = dict(self.headers)
        if fields.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            raise InvalidRequest("The only Transfer-Encoding that is understood is chunked.")
        if self.parser.should_upgrade() and (b"transfer-encoding" in fields or b"content-length" in fields):
            raise InvalidRequest("A request with a body cannot ask for an upgrade. Send it as plain HTTP/1.1.")
        if len(self.pipeline) >= _MOST_PIPELINED:
            raise InvalidRequest(f"At most {_MOST_PIPELINED} requests can be sent ahead.")
        self._stop_awaiting_head()
        self._open.asks(self)
        super().on_headers_complete()
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False  # the parser reads no further

    def on_body(self, body: bytes) -> None:
        self._delivered = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._delivered = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._owes_answer:
            self._open.waits(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking_due = self.loop.call_later(self._settings.max_answer_gap_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        if self._taking_due is not None:
            self._taking_due.cancel()
            self._taking_due = None
        super().resume_writing()

    @property
    def _owes_answer(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._head_due = self.loop.call_later(self._settings.head_seconds, self._end_late_head)

    def _stop_awaiting_head(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _end_late_head(self) -> None:
        if self._undelivered_bytes and not self.transport.is_closing():
            seconds = self._settings.head_seconds
            self._refuse(http_problem(408, f"The head of a request has to be sent within {seconds:,g} seconds."))
        else:
            self.transport.close()  # nothing was asked

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _refuse(self, answer: Response) -> None:
        """Answer what was asked before, then this, unless an answer has begun that it would be taken for; and close."""
        if self._owes_answer and not self.cycle.more_body:
            self._deaf = True
            self.cycle.keep_alive = False
            return
        if not self._owes_answer:
            self._write(answer)
        elif self._answering is self.cycle and not self.cycle.response_started:
            self._write(answer)
            self.cycle.disconnected = True  # what the application answers has nobody to go to
            self.cycle.message_event.set()
        self.transport.close()

    def _write(self, answer: Response) -> None:
        CONNECTIONS_REFUSED.labels(answer.status_code).inc()
        answer.headers.update({**HEADERS, "Connection": "close"})
        fields = b"".join(b"%b: %b\r\n" % field for field in answer.raw_headers)
        self.transport.write(STATUS_LINE[answer.status_code] + fields + b"\r\n" + bytes(answer.body))
