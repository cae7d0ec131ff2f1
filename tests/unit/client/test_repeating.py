"""What is asked again, how often and when, and what is told at once."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

import glyphq
from glyphq.client import AsyncClient, Client
from glyphq.errors import (
    GlyphqError,
    JobAlreadyEnded,
    JobNotFound,
    ProblemReported,
    QuotaExceeded,
    ServiceError,
    ServiceUnreachable,
)
from glyphq.jobs import JobState
from tests.unit.client.service import JOB_ID, Blocking, Service, job_json, problem


@contextmanager
def tls_server() -> Iterator[str]:
    """The address of a server with a certificate that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def shake_hands() -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError), context.wrap_socket(connection, server_side=True):
            pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=shake_hands)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


@contextmanager
def probed_server() -> Iterator[tuple[str, list[int]]]:
    """The address of a server, and after how many seconds of silence the other ends of its connections are given up;
    0: never.
    """
    found: list[int] = []

    def answer() -> None:
        connection, peer = listening.accept()
        with connection:
            connection.recv(65536)
            found.append(given_up_after_seconds(peer))
            body = json.dumps(job_json()).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", found
        thread.join()


def given_up_after_seconds(name: tuple[str, int]) -> int:
    for number in [int(path.name) for path in Path("/dev/fd").iterdir() if path.is_socket()]:
        with suppress(OSError), socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as own:
            if own.getsockname() == name and own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
                options = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT
                idle, interval, count = (own.getsockopt(socket.IPPROTO_TCP, option) for option in options)
                return idle + interval * count
    return 0


class TestRepeating:
    def test_a_busy_service_is_asked_again_after_the_time_it_names_or_a_little_more(self) -> None:
        busy = problem(503, "overloaded", "Busy.", {"Retry-After": "7"})
        service = Service(busy, busy, httpx.Response(200, json=job_json()))
        assert service.client().status(JOB_ID).state is JobState.COMPLETED
        assert len(service.pauses) == 2
        assert all(7 <= pause <= 8.75 for pause in service.pauses)

    def test_where_nobody_has_ever_answered_it_gives_up_soon(self) -> None:
        service = Service(httpx.ConnectError("Connection refused"))
        with pytest.raises(ServiceUnreachable, match=r"Nobody answers at http://service: Connection refused\."):
            service.client().status(JOB_ID)
        assert service.pauses == sorted(service.pauses)
        assert 1 < sum(service.pauses) <= 3

    def test_a_service_that_has_answered_is_waited_for_longer(self) -> None:
        gone = httpx.ConnectError("Connection refused")
        service = Service(httpx.Response(200, json=job_json()), gone)
        client = service.client()
        client.status(JOB_ID)
        with pytest.raises(ServiceUnreachable):
            client.status(JOB_ID)
        assert 20 < sum(service.pauses) <= 30

    def test_a_service_that_stays_busy_is_reported_as_it_said(self) -> None:
        service = Service(problem(503, "overloaded", "No room.", {"Retry-After": "0"}))
        with pytest.raises(glyphq.Overloaded, match="No room"):
            service.client().status(JOB_ID)
        assert sum(service.pauses) > 20

    def test_a_wait_that_would_be_too_long_is_not_begun(self) -> None:
        service = Service(
            problem(429, "quota-exceeded", "No more.", {"Retry-After": "3600"}, limit="open_jobs", value=9)
        )
        with pytest.raises(QuotaExceeded) as caught:
            service.client().status(JOB_ID)
        assert (caught.value.limit, caught.value.value, caught.value.retry_after_seconds) == ("open_jobs", 9, 3600)
        assert service.pauses == []

    @pytest.mark.parametrize("code", ["setup-error", "model-error"])
    def test_what_somebody_must_mend_first_is_not_asked_again(self, code: str) -> None:
        service = Service(problem(503, code, "Broken.", {"Retry-After": "5"}))
        with pytest.raises(GlyphqError, match="Broken"):
            service.client().image(JOB_ID, 0)
        assert service.pauses == []

    @pytest.mark.parametrize("error", [httpx.UnsupportedProtocol("gopher"), httpx.LocalProtocolError("header")])
    def test_what_would_fail_again_is_not_tried_again(self, error: Exception) -> None:
        service = Service(error)
        with pytest.raises(ServiceUnreachable):
            service.client().status(JOB_ID)
        assert service.pauses == []

    def test_a_date_to_come_back_at_is_kept_to(self) -> None:
        at = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
        service = Service(
            problem(503, "overloaded", "Busy.", {"Retry-After": at}), httpx.Response(200, json=job_json())
        )
        service.client().status(JOB_ID)
        assert 10 < service.pauses[0] <= 25

    @pytest.mark.parametrize("at", ["soon", "Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 99 Dec 1999 23:59:59 GMT"])
    def test_a_date_that_is_past_or_none_asks_for_no_time(self, at: str) -> None:
        service = Service(
            problem(503, "overloaded", "Busy.", {"Retry-After": at}), httpx.Response(200, json=job_json())
        )
        service.client().status(JOB_ID)
        assert service.pauses[0] < 1

    def test_a_server_error_that_is_not_the_services_own_is_passing(self) -> None:
        service = Service(httpx.Response(500, text="<html>"), httpx.Response(200, json=job_json()))
        assert service.client().status(JOB_ID).state is JobState.COMPLETED
        service = Service(problem(500, "internal-error", "Something went wrong."))
        with pytest.raises(ProblemReported):
            service.client().status(JOB_ID)
        assert service.pauses == []

    def test_a_connection_that_has_died_is_given_up_however_long_an_answer_may_take(self) -> None:
        with probed_server() as (url, given_up_after):
            client: Any = Client(url) if Service.flavour is Client else Blocking(AsyncClient(url))
            client.status(JOB_ID)
            client.close()
        assert given_up_after == [30]

    def test_a_certificate_that_is_not_trusted_is_told_at_once(self) -> None:
        pauses: list[float] = []

        async def pause(seconds: float) -> None:
            pauses.append(seconds)

        with tls_server() as url:
            client: Any = (
                Client(url, sleep=pauses.append)
                if Service.flavour is Client
                else Blocking(AsyncClient(url, sleep=pause))
            )
            with pytest.raises(ServiceError, match=r"certificate of https://.* SSL_CERT_FILE") as caught:
                client.status(JOB_ID)
        assert not isinstance(caught.value, ServiceUnreachable)
        assert pauses == []

    def test_a_cancel_whose_answer_was_lost_finds_the_job_cancelled(self) -> None:
        service = Service(
            httpx.ReadError("Connection reset"),
            problem(409, "job-already-ended", "It has ended."),
            httpx.Response(200, json=job_json("cancelled")),
        )
        assert service.client().cancel(JOB_ID).state is JobState.CANCELLED

    def test_a_cancel_too_late_is_told(self) -> None:
        ended = problem(409, "job-already-ended", "It has ended.")
        with pytest.raises(JobAlreadyEnded):
            Service(ended, httpx.Response(200, json=job_json("completed"))).client().cancel(JOB_ID)

    def test_a_delete_whose_answer_was_lost_finds_the_job_gone(self) -> None:
        gone = problem(404, "job-not-found", "There is no such job.")
        Service(httpx.ReadError("Connection reset"), gone).client().delete(JOB_ID)
        with pytest.raises(JobNotFound):
            Service(gone).client().delete(JOB_ID)
