"""Whoever asked for it is told that a job has ended: signed, again if need be, and never inside the house."""

import asyncio
import json
import os
import queue
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import httpcore
import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from api.background.callbacks import Callbacks
from api.background.outbound import Outbound, is_public
from glyphq.embedded import EmbeddedService, embedded_service
from glyphq.errors import AddressRefused
from glyphq.settings import Settings
from tests.faults.stack import until
from tests.integration.conftest import halted, zip_of

if TYPE_CHECKING:
    from api.service import Service


class Receiver:
    """Takes what is posted to it, and answers with the statuses it was given, then with 204."""

    def __init__(self, *statuses: int, host: str = "127.0.0.1") -> None:
        self.answering = threading.Event()
        self.answering.set()
        self.seen: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        left = iter(statuses)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path in ("/", "/told;by=glyphq?page=7", "/elsewhere")
                receiver.seen.put(({name.lower(): value for name, value in self.headers.items()}, body))
                receiver.answering.wait(30)
                status = next(left, 204)
                self.send_response(status)
                if status in (301, 302, 307, 308):
                    self.send_header("Location", "/elsewhere")
                with suppress(OSError):  # whoever called may be gone
                    self.end_headers()

            def do_GET(self) -> None:  # where a redirect would have led
                self.do_POST()

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        self.server = Server((host, 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/told;by=glyphq?page=7"

    def next(self) -> tuple[dict[str, str], bytes]:
        return self.seen.get(timeout=30)


@contextmanager
def receiving(*statuses: int, host: str = "127.0.0.1") -> Iterator[Receiver]:
    receiver = Receiver(*statuses, host=host)
    thread = threading.Thread(target=receiver.server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()


@pytest.fixture(scope="module")
def calling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    """A service that may call 127.0.0.1, by that name alone, and soon tries again."""
    variables = {
        "GLYPHQ_CALLBACK_HOSTS": "127.0.0.1",
        "GLYPHQ_CALLBACK_RETRY_SECONDS": "0.1,0.1,0.1",
        "GLYPHQ_RECONCILE_SECONDS": "0.1",
    }
    with embedded_service(tmp_path_factory.mktemp("calling") / "store", 1, environment=variables) as running:
        yield running


@pytest.fixture
def http(calling: EmbeddedService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=calling.url, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(params=["zip", "image"])
def body(request: pytest.FixtureRequest, scans: dict[str, bytes]) -> bytes:
    return zip_of(scans) if request.param == "zip" else next(iter(scans.values()))


def submitted(http: httpx.Client, body: bytes, url: str, **headers: str) -> str:
    return (
        http.post("/v1/jobs", content=body, params={"callback_url": url}, headers=headers)
        .raise_for_status()
        .json()["id"]
    )


def callback_of(http: httpx.Client, job: str) -> dict:
    return http.get(f"/v1/jobs/{job}").json()["callback"] or {}


def is_over(http: httpx.Client, job: str) -> bool:
    return callback_of(http, job).get("state") in ("delivered", "given up")


def test_the_end_of_a_job_is_told_and_signed(http: httpx.Client, body: bytes) -> None:
    secret = http.get("/v1/callback-secret").json()["secret"]
    with receiving() as receiver:
        job = submitted(http, body, receiver.url)
        headers, content = receiver.next()
        until(lambda: is_over(http, job), "the callback is over")
        assert receiver.seen.empty()
    event = Webhook(secret).verify(content, headers)
    assert event["type"] == "job.completed"
    assert headers["webhook-id"] == event["data"]["id"] == job
    assert event["data"]["counts"] == http.get(f"/v1/jobs/{job}").json()["counts"]
    assert callback_of(http, job) == {
        "state": "delivered", "attempts": 1, "answer": "HTTP 204", "next_attempt_at": None,
    }  # fmt: skip
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(content.replace(b"completed", b"cancelled"), headers)


def test_it_is_tried_again_under_the_same_id(http: httpx.Client, body: bytes) -> None:
    with receiving(500, 429) as receiver:
        job = submitted(http, body, receiver.url)
        assert [receiver.next()[0]["webhook-id"] for _ in range(3)] == [job] * 3
        until(lambda: is_over(http, job), "the callback is over")
    assert callback_of(http, job)["state"] == "delivered"
    assert callback_of(http, job)["attempts"] == 3


@pytest.mark.parametrize(("statuses", "attempts"), [([410], 1), ([503] * 9, 4), ([302] * 9, 4), ([308] * 9, 4)])
def test_it_is_given_up_and_no_redirect_is_followed(http: httpx.Client, scans, statuses, attempts) -> None:
    with receiving(*statuses) as receiver:
        job = submitted(http, next(iter(scans.values())), receiver.url)
        until(lambda: is_over(http, job), "the callback is over")
        assert receiver.seen.qsize() == attempts
    assert callback_of(http, job)["state"] == "given up"
    assert callback_of(http, job)["answer"] == f"HTTP {statuses[0]}"


def test_a_cancelled_job_is_told_as_such(http: httpx.Client, calling: EmbeddedService, scans) -> None:
    with receiving() as receiver:
        with halted(calling):
            job = submitted(http, zip_of(scans), receiver.url)
            assert http.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
        assert json.loads(receiver.next()[1])["type"] == "job.cancelled"


def test_of_a_deleted_job_nobody_is_told_and_nothing_stays(http: httpx.Client, calling: EmbeddedService, scans) -> None:
    with receiving(*[500] * 9) as receiver:
        job = submitted(http, next(iter(scans.values())), receiver.url)
        receiver.next()
        http.delete(f"/v1/jobs/{job}").raise_for_status()
        until(lambda: not any(job in str(path) for path in calling.store.rglob("*")), "nothing of it is left")
        for _ in range(receiver.seen.qsize()):  # what was under way
            receiver.next()
        other = submitted(http, next(iter(scans.values())), receiver.url)
        assert {receiver.next()[0]["webhook-id"] for _ in range(4)} == {other}


def test_a_request_that_is_repeated_is_one_callback(http: httpx.Client, body: bytes) -> None:
    with receiving() as receiver:
        jobs = {submitted(http, body, receiver.url, **{"Idempotency-Key": f"k{len(body)}"}) for _ in range(3)}
        assert len(jobs) == 1
        receiver.next()
        until(lambda: is_over(http, *jobs), "the callback is over")
        assert receiver.seen.empty()


def test_it_survives_the_death_of_the_api(http: httpx.Client, calling: EmbeddedService, scans) -> None:
    with receiving() as receiver:
        receiver.answering.clear()
        job = submitted(http, zip_of(scans), receiver.url)
        receiver.next()
        os.kill(calling.children["api"].pid, signal.SIGKILL)  # before there was an answer
        receiver.answering.set()
        assert receiver.next()[0]["webhook-id"] == job
        until(lambda: _answers(http) and is_over(http, job), "the callback is over")


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").is_success
    except httpx.TransportError:
        return False


def test_a_new_secret_signs_from_now_on(http: httpx.Client, body: bytes) -> None:
    old = http.get("/v1/callback-secret").json()["secret"]
    new = http.post("/v1/callback-secret").json()["secret"]
    assert http.get("/v1/callback-secret").json()["secret"] == new != old
    with receiving() as receiver:
        submitted(http, body, receiver.url)
        headers, content = receiver.next()
    Webhook(new).verify(content, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(content, headers)


INSIDE = (
    "localhost",
    "0.0.0.0",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::]",
)


@pytest.mark.parametrize("host", INSIDE)
def test_no_name_of_this_machine_is_called(http: httpx.Client, scans, host: str) -> None:
    with receiving(host="::1" if host in ("[::1]", "[::]") else "127.0.0.1") as receiver:
        socket.create_connection((host.strip("[]"), receiver.port)).close()  # it leads there
        job = submitted(http, next(iter(scans.values())), f"http://{host}:{receiver.port}/")
        until(lambda: callback_of(http, job).get("attempts"), "it was tried")
        until(lambda: is_over(http, job), "the callback is over")
        assert receiver.seen.empty()
    assert callback_of(http, job)["state"] == "given up"
    assert callback_of(http, job)["answer"] == "the host leads to an address that is not public"


class Dialled(httpcore.AsyncNetworkBackend):
    """A network where nobody answers; it keeps the addresses that were called."""

    def __init__(self) -> None:
        self.called: list[tuple[str, int]] = []

    async def connect_tcp(self, host: str, port: int, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        self.called.append((host, port))
        raise httpcore.ConnectError("nobody answers")


def dialled(url: str, *allowed: str) -> list[tuple[str, int]]:
    network = Dialled()
    with pytest.raises(httpcore.ConnectError):
        asyncio.run(Outbound(allowed, timeout_seconds=5, network=network).post(url, b"", {}))
    return network.called


def test_a_name_that_changes_its_mind_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["8.8.8.8", "127.0.0.1"])
    kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, port, **__: [(*kind, (next(answers), port))])
    assert dialled("http://rebinding.example/told") == [("8.8.8.8", 80)]


def test_owners_come_in_turn_where_not_all_can_be_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = [(f"owner{number:02}", f"job{number}-{job}") for number in range(20) for job in range(9)]
    service = SimpleNamespace(settings=Settings(), deliveries=SimpleNamespace(waiting=lambda: waiting))
    callbacks = Callbacks(cast("Service", service))
    monkeypatch.setattr(callbacks, "_if_due", lambda owner, job_id, _: SimpleNamespace(owner=owner, id=job_id))
    looks = [{job.owner for job in callbacks._due([])} for _ in range(2)]
    assert [len(owners) for owners in looks] == [16, 16]
    assert looks[0] | looks[1] == {owner for owner, _ in waiting}


def test_a_host_may_be_allowed_at_one_port_alone() -> None:
    assert dialled("http://127.0.0.1:8443/", "127.0.0.1:8443") == [("127.0.0.1", 8443)]
    with pytest.raises(AddressRefused):
        dialled("http://127.0.0.1:6379/", "127.0.0.1:8443")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/", "file:///etc/passwd", "http://", "//example.org", "http://a:b@example.org/",
        "http://example.org/#a", "http://example.org:99999/", "http://exa mple.org/", "javascript:alert(1)",
        "http://example.org/" + "a" * 2000, "http://example.org\\@127.0.0.1/", "http://[::1/",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(http: httpx.Client, scans, url: str) -> None:
    answer = http.post("/v1/jobs", content=next(iter(scans.values())), params={"callback_url": url})
    assert (answer.status_code, answer.json()["option"]) == (422, "callback_url")


PUBLIC = "8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"
NOT_PUBLIC = (
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.2.1",
    "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "fe80::1",
    "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "3fff::1", "100::1",
)  # fmt: skip


def test_what_is_public() -> None:
    assert all(is_public(ip_address(address)) for address in PUBLIC)
    assert not any(is_public(ip_address(address)) for address in NOT_PUBLIC)
