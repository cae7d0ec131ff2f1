"""Forms that are meant to cost: each is refused at once, in bounded memory, and leaves nothing."""

from collections.abc import Iterator

import httpx
import pytest

from tests.faults.stack import Stack, until
from tests.hostile.edge.strangers import Connect, besieged, nothing_staged, refused

FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
MIB = 1 << 20


def field(name: bytes, value: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name, value)


def problem_of(service: Stack, body: bytes | Iterator[bytes], boundary: str = "b") -> tuple[int, str]:
    """Status and code of what the form is answered with; nothing of it is left."""
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    with besieged(service):
        answer = httpx.post(f"{service.url}/v1/jobs", content=body, headers=headers, timeout=60, trust_env=False)
        until(nothing_staged(service), "nothing is left of it")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ((FILE + b"x\r\n") * 20_000, (413, "limit-exceeded")),
        (FILE.replace(b"a.png", b"") * 20_000, (413, "limit-exceeded")),
        (b"".join(field(b"o%d" % number, b"x") for number in range(20_000)), (422, "invalid-option")),
        (field(b"charset_rules", b"*=digits") * 20_000, (422, "invalid-option")),
        (field(b"top_k", b"3") * 20_000, (422, "invalid-option")),
        (field(b"name", b"x" * 10 * MIB), (422, "invalid-option")),
        (b"--b\r\nX-Long: " + b"x" * 10 * MIB + b"\r\n\r\n", (400, "invalid-request")),
        (b"--b\r\n" + b"x" * 10 * MIB + b": y\r\n\r\n", (400, "invalid-request")),
        (b"--b\r\n" + b"X-Many: y\r\n" * 500_000 + b"\r\n", (400, "invalid-request")),
        (FILE.replace(b"a.png", b"x" * MIB), (400, "invalid-request")),
        (b"--b\r\nContent-Type: image/png\r\n\r\nx\r\n" * 20_000, (400, "invalid-request")),
        (b"--b\r\n\r\nx\r\n" * 20_000, (400, "invalid-request")),
        (b"--b" * 1_000_000, (422, "empty-input")),
        (b"--b\r\n" * 1_000_000, (400, "invalid-request")),
        (FILE + b"\r\n--" * MIB, (400, "upload-interrupted")),
    ],
    ids=[
        "files", "empty files", "options", "rules", "one option repeated", "a field of megabytes",
        "a header of megabytes", "a header's name of megabytes", "headers", "a file's name of megabytes",
        "parts without names", "parts without headers", "last boundaries",
        "boundaries", "almost boundaries",
    ],
)  # fmt: skip
def test_a_form_that_is_meant_to_cost(service: Stack, body: bytes, problem: tuple[int, str]) -> None:
    assert problem_of(service, body) == problem


@pytest.mark.parametrize("boundary", ["", "b" * 257, '"' + "b" * 5000 + '"'], ids=["none", "long", "quoted and long"])
def test_a_boundary_that_is_none(service: Stack, boundary: str) -> None:
    assert problem_of(service, FILE, boundary) == (400, "invalid-request")


def test_a_boundary_of_a_megabyte(service: Stack) -> None:
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary="
    with besieged(service):
        assert refused(service, head + b"b" * MIB + b"\r\n\r\n")["status"] == 431


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (FILE, b"x" * MIB),
        (b"", b"\r\n" * (MIB // 2)),
        (FILE + b"x\r\n--b--\r\n", b"x" * MIB),
    ],
    ids=["a file", "before the first boundary", "after the last"],
)
def test_a_form_that_does_not_end(service: Stack, begin: bytes, piece: bytes) -> None:
    def endless() -> Iterator[bytes]:
        yield begin
        for _ in range(100):
            yield piece

    assert problem_of(service, endless()) == (413, "limit-exceeded")


def test_a_form_that_is_cut_within_a_header(service: Stack, connect: Connect) -> None:
    connection = connect(service)
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    connection.send(head + b"Content-Length: 30\r\n\r\n--b\r\nContent-Disposition: form")
    assert connection.one_answer().problem["code"] == "upload-interrupted"
