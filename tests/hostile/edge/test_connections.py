"""Connections that are meant to stay, heads and bodies that do not end, and frames that lie."""

import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import httpx
import pytest

from api.edge.connections import Connections, Edge
from glyphq import samples
from tests.faults.conftest import cannot_run
from tests.faults.stack import CAN_LOSE_PACKETS, ROOT, Stack, packets_lost, until
from tests.hostile.edge.conftest import LIMITS
from tests.hostile.edge.strangers import BYSTANDER, Connect, Connection, besieged, nothing_staged, refused

HALF_OPEN = 400
HALF_A_HEAD = b"GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n"
MIB = 1 << 20


def test_hundreds_of_half_heads_do_not_stay(service: Stack, connect: Connect) -> None:
    with besieged(service):
        connections = [connect(service) for _ in range(HALF_OPEN)]
        for connection in connections:
            connection.send(HALF_A_HEAD)

        def all_closed() -> bool:
            connections[:] = [connection for connection in connections if not connection.drip()]
            return not connections

        until(all_closed, "all of them are closed")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_a_share_is_one_customers(first: str, second: str, same: bool) -> None:
    connections = Connections(10, 1)
    assert connections.take_in(cast("Edge", "one"), first)
    assert connections.take_in(cast("Edge", "two"), second) is not same


def test_a_late_head_is_told_so(service: Stack) -> None:
    assert refused(service, HALF_A_HEAD)["code"] == "request-timeout"


def test_a_silent_connection_is_closed_without_a_word(service: Stack, connect: Connect) -> None:
    assert connect(service).answers() == []


def test_a_late_head_after_an_answer(service: Stack, connect: Connect) -> None:
    connection = connect(service)
    connection.send(HEALTH)
    assert connection.one_answer().status == 200
    connection.send(HALF_A_HEAD)
    until(connection.drip, "the service closes it")
    assert [answer.status for answer in connection.answers()] == [408]


def test_a_body_that_goes_on_after_its_answer(service: Stack, connect: Connect) -> None:
    connection = connect(service)
    connection.send(HEALTH.replace(b"\r\n\r\n", b"\r\nContent-Length: 1000000\r\n\r\n"))
    assert connection.one_answer().status == 200
    until(connection.drip, "the service closes it")


CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (HALF_A_HEAD, b"x" * MIB),
        (b"GET /", b"x" * MIB),
        (b"GET / HTTP/1.1\r\n", b"X-Many: y\r\n" * 100_000),
        (b"", b"\r\n" * MIB),
        (CHUNKED + b"0\r\n", b"X-Trailer: y\r\n" * 100_000),
        (CHUNKED + b"1;", b"x" * MIB),
    ],
    ids=["header", "address", "headers", "empty lines", "trailers", "chunk extension"],
)
def test_a_head_that_does_not_end(service: Stack, connect: Connect, begin: bytes, piece: bytes) -> None:
    with besieged(service):
        connection = connect(service)
        connection.send(begin)
        for _ in range(100):
            connection.send(piece)
        (answer,) = connection.answers()
        assert answer.status == 431
        assert answer.problem["code"] == "request-header-fields-too-large"


def test_the_largest_head_is_answered(service: Stack, connect: Connect) -> None:
    connection = connect(service)
    connection.send(HEALTH[:-2] + b"X-Long: " + b"x" * (16384 - len(HEALTH) - 12) + b"\r\n\r\n")
    assert connection.one_answer().status == 200


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: -5",
        b"Content-Length: 5, 5",
        b"Content-Length: five",
        b"Content-Length:",
        b"Content-Length: 99999999999999999999999",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked",  # hello is none
        b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5",
        b"Bad Name: x",
        b": x",
        b"X: \x00",
    ],
)
def test_a_frame_that_lies_is_refused(service: Stack, lines: bytes) -> None:
    with besieged(service):
        assert refused(service, POST + lines + b"\r\n\r\nhello")["status"] == 400


@pytest.mark.parametrize(
    "request_bytes",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n\r\n", b"GET http://[ HTTP/1.1\r\n\r\n"],
    ids=["TLS", "a proxy's request", "no address"],
)
def test_what_is_not_for_this_service_is_refused(service: Stack, request_bytes: bytes) -> None:
    assert refused(service, request_bytes)["status"] == 400


def test_a_content_length_that_is_too_small_ends_the_connection(service: Stack, connect: Connect) -> None:
    connection = connect(service)
    connection.send(POST + b"Content-Length: 3\r\n\r\nneither a zip nor an image")
    (answer,) = connection.answers()
    assert answer.status == 415
    assert answer.headers["connection"] == "close"


def test_thousands_of_requests_sent_ahead(service: Stack, connect: Connect) -> None:
    with besieged(service):
        connection = connect(service)
        connection.send(HEALTH * 20_000)
        answers = connection.answers()
        assert {answer.status for answer in answers} == {200}
        assert len(answers) < 20_000
        assert answers[-1].headers["connection"] == "close"


BODIES = {
    "as it is": b"Content-Type: application/zip\r\n",
    "form": b"Content-Type: multipart/form-data; boundary=b\r\n",
    "pixels": b"Content-Type: application/json\r\n",
}


@pytest.mark.parametrize("content_type", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("framing", [b"Content-Length: 10000000\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_that_comes_by_the_byte_is_given_up(
    service: Stack, connect: Connect, content_type: bytes, framing: bytes
) -> None:
    piece = b"\n" if b"Length" in framing else b"1\r\n\n\r\n"
    with besieged(service):
        connection = connect(service)
        connection.send(POST + content_type + framing + b"\r\n")
        until(lambda: connection.drip(piece), "the service gives it up")
        (answer,) = connection.answers()
        assert answer.problem["code"] == "upload-too-slow"
        assert answer.status == 408
        assert answer.headers["connection"] == "close"


def test_a_body_that_stops_is_given_up_and_leaves_nothing(service: Stack) -> None:
    with besieged(service):
        problem = refused(service, POST + b"Content-Length: 10000000\r\n\r\n" + b"x" * 3 * MIB)
        assert problem["code"] == "upload-too-slow"
        until(nothing_staged(service), "what had come is erased")


def test_a_connection_that_ends_within_a_body_leaves_nothing(service: Stack, connect: Connect) -> None:
    with besieged(service):
        for _ in range(20):
            connection = connect(service)
            connection.send(POST + b"Content-Length: 10000000\r\n\r\n" + b"x" * 3 * MIB)
            connection.close()
        until(nothing_staged(service), "what had come is erased")
        assert httpx.get(f"{service.url}/v1/jobs", trust_env=False).json()["jobs"] == []


def held(service: Stack, connection: Connection) -> bool:
    """Whether the API still has this connection: its inode is not 0."""
    port = httpx.URL(service.url).port
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *_, inode = line.split()[:10]
        if (int(local[-4:], 16), int(remote[-4:], 16)) == (port, connection.port):
            return inode != "0"
    return False


def test_a_client_that_takes_no_answer_is_cut_off(service: Stack, connect: Connect) -> None:
    with besieged(service):
        connection = connect(service)
        connection.send(b"GET /docs/swagger-ui/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 16)
        until(lambda: not held(service, connection), "the service has let go of it")


def job_without_end(service: Stack) -> str:
    """The id of a job that nobody works on."""
    scan = next(iter(samples.draw(1, seed=2))).png
    job: str = httpx.post(f"{service.url}/v1/jobs", content=scan, trust_env=False).json()["id"]
    return job


def follow(service: Stack, connect: Connect, job: str) -> tuple[int, Connection]:
    """The status of an answer that ends when the job does, and its connection."""
    connection = connect(service)
    connection.send(f"GET /v1/jobs/{job}/results?follow=true HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return connection.one_answer().status, connection


def test_clients_that_vanish_without_a_word_hold_no_places(service: Stack, connect: Connect) -> None:
    if not CAN_LOSE_PACKETS:
        cannot_run("To lose packets takes iptables and root.")
    job = job_without_end(service)
    most = int(LIMITS["GLYPHQ_MAX_STREAMS"])
    followed = [follow(service, connect, job) for _ in range(most + 1)]
    assert [status for status, _ in followed] == [200] * most + [503]
    with packets_lost(httpx.URL(service.url).port or 0):
        until(lambda: not any(held(service, one) for _, one in followed), "the service has let go of them", 15)
    until(lambda: follow(service, connect, job)[0] == 200, "there is room again")


def status(service: Stack, connect: Connect, address: str) -> int:
    """Of a request on a new connection."""
    connection = connect(service, address)
    connection.send(HEALTH)
    answer = connection.one_answer()
    connection.close()
    if answer.status == 503:
        assert answer.headers["retry-after"]
    return answer.status


def until_served(service: Stack, connect: Connect, address: str) -> Connection:
    """A connection that has been let in, now or when one that was closed is known to be."""
    until(lambda: status(service, connect, address) == 200, "there is room")
    connection = connect(service, address)
    connection.send(HEALTH)
    return connection if connection.one_answer().status == 200 else until_served(service, connect, address)


def busy(service: Stack, connect: Connect, addresses: list[str]) -> list[Connection]:
    """Connections that an answer is owed on."""
    job = job_without_end(service)
    wait = f"GET /v1/jobs/{job} HTTP/1.1\r\nHost: 127.0.0.1\r\nPrefer: wait=30\r\n\r\n"
    connections = [until_served(service, connect, address) for address in addresses]
    for connection in connections:
        connection.send(wait.encode())
    return connections


def test_an_address_takes_its_share_and_no_more(small_service: Stack, connect: Connect) -> None:
    with besieged(small_service):
        connections = busy(small_service, connect, ["127.0.0.3"] * 5)
        assert status(small_service, connect, "127.0.0.3") == 503
        assert status(small_service, connect, "127.0.0.4") == 200
        for connection in connections:
            connection.close()
        until(lambda: status(small_service, connect, "127.0.0.3") == 200, "the share is free again")


def test_all_connections_are_busy(small_service: Stack, connect: Connect) -> None:
    connections = busy(small_service, connect, ["127.0.0.4", "127.0.0.5", "127.0.0.6"] * 4)
    assert status(small_service, connect, BYSTANDER) == 503
    for connection in connections:
        connection.close()
    until(lambda: status(small_service, connect, BYSTANDER) == 200, "there is room again")


def test_a_connection_that_idles_makes_room(small_service: Stack, connect: Connect) -> None:
    with besieged(small_service):
        connections = [connect(small_service, "127.0.0.9") for _ in range(5)]
        for connection in connections:
            connection.send(HALF_A_HEAD)
        until(lambda: status(small_service, connect, "127.0.0.9") == 200, "one of them has made room")
        until(lambda: any(connection.closed() for connection in connections), "it is closed")


def test_more_connections_than_the_system_has_files_for_are_refused_at_the_start() -> None:
    environment = {**os.environ, "GLYPHQ_MAX_CONNECTIONS": "1000000000", "PYTHONPATH": str(ROOT)}
    start = subprocess.run(
        [sys.executable, "-m", "api"], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert start.returncode == 1
    assert "GLYPHQ_MAX_CONNECTIONS" in start.stderr
