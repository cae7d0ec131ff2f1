"""What cannot be accepted gets a clear problem, at once, and leaves nothing behind."""

import json
import re
import socket
import zipfile

import httpx
import pytest

from api.app import create_app
from api.edge.authentication import Authenticator
from glyphq.embedded import EmbeddedService
from glyphq.errors import HostRefused
from glyphq.local_blobs import LocalBlobs
from glyphq.settings import Settings
from tests.integration.conftest import zip_of

DOCUMENTED = create_app(Settings()).openapi()["paths"]


def refused(answer: httpx.Response, status: int, code: str) -> dict:
    """The problem, which has the shape of RFC 9457 and a sentence, and is in OpenAPI where its route is."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"/problems/{code}"
    assert problem["status"] == status
    assert problem["detail"]
    path = re.sub(r"(?<=/jobs/)[^/]+", "{job_id}", answer.request.url.path)
    operation = DOCUMENTED.get(path, {}).get(answer.request.method.lower())
    if operation:
        assert code in operation["responses"][str(status)]["content"]["application/problem+json"]["examples"]
    return problem


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "empty-input"),
        (b"neither a zip nor an image", 415, "unsupported-input"),
        (zip_of({}), 422, "empty-input"),
        (zip_of({"a/": b"", "a/b/": b""}), 422, "empty-input"),
        (zip_of({"__MACOSX/._a.png": b"x", ".DS_Store": b"x"}), 422, "empty-input"),
        (zip_of({"a.png": b"x" * 1000})[:-30], 422, "invalid-archive"),
        (b"\x1f\x8b\x08" + bytes(100), 415, "unsupported-input"),
    ],
    ids=["empty", "text", "empty zip", "only folders", "only litter", "truncated zip", "gzip"],
)
def test_a_body_that_holds_no_scans(http, body, status, code):
    refused(http.post("/v1/jobs", content=body), status, code)


def test_encrypted_entries_and_unknown_compression_are_rows_not_refusals(http, scans):
    scan = next(iter(scans.values()))
    archive = bytearray(zip_of({"secret.png": scan, "odd.png": scan, "good.png": scan}))
    first = archive.find(b"PK\x01\x02")
    second = archive.find(b"PK\x01\x02", first + 1)
    archive[first + 8] |= 1
    archive[archive.find(b"PK\x03\x04") + 6] |= 1
    archive[second + 10] = 12  # bzip2
    job = http.post("/v1/jobs", content=bytes(archive), headers={"Prefer": "wait=30"}).json()
    rows = http.get(job["links"]["results"], params={"format": "json"}).json()["results"]
    assert [row["reason"] for row in rows] == ["encrypted", "unsupported_compression", None]


def test_an_announced_upload_over_the_limit_is_refused_before_it_is_sent(service: EmbeddedService):
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000001\r\nConnection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 413")
    assert '"limit":"max_upload_bytes"' in answer
    assert '"value":20000000' in answer


def test_an_upload_over_the_limit_without_a_length_is_refused(http):
    def endless():
        for _ in range(30):
            yield bytes(1_000_000)

    problem = refused(http.post("/v1/jobs", content=endless()), 413, "limit-exceeded")
    assert problem["value"] == 20_000_000


@pytest.mark.parametrize(
    ("query", "option"),
    [
        ({"top_k": "0"}, "top_k"),
        ({"top_k": "11"}, "top_k"),
        ({"top_k": "many"}, "top_k"),
        ({"charset": "ä"}, "charset"),
        ({"charset": ""}, "charset"),
        ({"invert": "maybe"}, "invert"),
        ({"filename_encoding": "rot13"}, "filename_encoding"),
        ({"name": "x" * 201}, "name"),
        ({"topk": "3"}, "topk"),
        ({"cls": "3"}, "cls"),
        ([("top_k", "1"), ("top_k", "9")], "top_k"),
        ({"charset_rules": ["*=letters", "digits"]}, "charset_rules"),
        ({"charset_rules": ["*=0"] * 101}, "charset_rules"),
    ],
)
def test_a_malformed_option(http, scans, query, option):
    problem = refused(http.post("/v1/jobs", content=zip_of(scans), params=query), 422, "invalid-option")
    assert problem["option"] == option


def test_an_unknown_field_of_a_form_is_named(http):
    for name in ("topk", "cls"):
        answer = http.post("/v1/jobs", files={"file": ("a.png", b"x")}, data={name: "3"})
        assert refused(answer, 422, "invalid-option")["option"] == name


def test_a_malformed_or_repeated_field_of_a_form(http):
    for data, option in (
        ({"charset_rules": ["*=letters", "=0"]}, "charset_rules"),
        ({"charset_rules": ["*=0"] * 102}, "charset_rules"),
        ({"top_k": ["1", "9"]}, "top_k"),
    ):
        answer = http.post("/v1/jobs", files={"file": ("a.png", b"x")}, data=data)
        assert refused(answer, 422, "invalid-option")["option"] == option


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ("{", 400, "invalid-request", "not JSON"),
        ("[]", 400, "invalid-request", "`images` alone"),
        ('{"images": [], "top_k": 1}', 400, "invalid-request", "`images` alone"),
        ('{"images": 7}', 400, "invalid-request", "not a list"),
        ('{"images": []}', 422, "empty-input", "empty"),
        (json.dumps({"images": [[0] * 784, [0] * 783]}), 422, "invalid-option", "images[1]"),
        (json.dumps({"images": [[0] * 783 + [256]]}), 422, "invalid-option", "outside 0 to 255"),
        (json.dumps({"images": [[0] * 783 + ["x"]]}), 422, "invalid-option", "no number"),
        (json.dumps({"images": [[0] * 783 + [None]]}), 422, "invalid-option", "no number"),
        (json.dumps({"images": [[0] * 783 + [True]]}), 422, "invalid-option", "no number"),
        (json.dumps({"images": [["7"] * 784]}), 422, "invalid-option", "no number"),
        ('{"images": [[' + "NaN," * 783 + "0]]}", 422, "invalid-option", "outside 0 to 255"),
        ('{"images": [' + "0" * 1_000_001 + "]}", 413, "limit-exceeded", "1,000,000"),
    ],
)
def test_malformed_pixel_rows(http, body, status, code, said):
    answer = http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert said in refused(answer, status, code)["detail"]


def test_malformed_forms(http):
    no_boundary = http.post("/v1/jobs", content=b"x", headers={"Content-Type": "multipart/form-data"})
    refused(no_boundary, 400, "invalid-request")
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    cut = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\nhalf'
    refused(http.post("/v1/jobs", content=cut, headers=headers), 400, "upload-interrupted")
    no_file = b'--b\r\nContent-Disposition: form-data; name="top_k"\r\n\r\n3\r\n--b--\r\n'
    refused(http.post("/v1/jobs", content=no_file, headers=headers), 422, "empty-input")
    refused(http.post("/v1/jobs", content=b"nonsense", headers=headers), 400, "invalid-request")


def test_two_zips_in_one_form(http, scans):
    files = [("file", ("a.zip", zip_of(scans))), ("file", ("b.zip", zip_of(scans)))]
    refused(http.post("/v1/jobs", files=files), 415, "unsupported-input")


def test_an_unknown_job(http):
    for path in ("0199c0de-0000-7000-8000-000000000000", "no-id", "..%2f..%2fetc"):
        refused(http.get(f"/v1/jobs/{path}"), 404, "job-not-found" if "%" not in path else "not-found")
        refused(http.delete(f"/v1/jobs/{path}"), 404, "job-not-found" if "%" not in path else "not-found")
    refused(http.get("/v1/jobs/no-id/results"), 404, "job-not-found")
    refused(http.post("/v1/jobs/no-id/cancel"), 404, "job-not-found")


def test_an_unknown_page_and_method_are_problems_too(http):
    refused(http.get("/v2"), 404, "not-found")
    put = http.put("/v1/jobs")
    refused(put, 405, "method-not-allowed")
    assert set(put.headers["allow"].split(", ")) <= {"GET", "POST"}
    refused(http.get("/v1/jobs", params={"limit": 0}), 422, "invalid-option")


def test_pages_of_other_sites_are_refused(http, scans):
    other_site = http.post("/v1/jobs", content=zip_of(scans), headers={"Sec-Fetch-Site": "cross-site"})
    refused(other_site, 403, "cross-site")


@pytest.mark.parametrize("host", ["glyphq.example", "127.0.0.1.glyphq.example", "localhost.", "a@b", "[::1", "[::2]"])
def test_a_name_that_is_not_the_services_is_refused(http, host):
    refused(http.get("/v1/jobs", headers={"Host": host}), 421, "unknown-host")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_what_watches_it_may_call_it_by_any_name(http, path):
    assert http.get(path, headers={"Host": "api:8000"}).is_success


@pytest.mark.parametrize("host", ["localhost", "LocalHost:8000", "127.0.0.1", "[::1]:8000", "[::1]"])
def test_it_is_called_by_the_names_of_this_machine(http, host):
    assert http.get("/v1/jobs", headers={"Host": host}).is_success


def test_it_is_called_by_names_that_its_operator_gave_it(tmp_path):
    blobs = LocalBlobs(tmp_path / "store")
    named = Authenticator(Settings(keys="required", allowed_hosts="Scans.example, other.example"), blobs)
    for host in ("scans.example:443", "other.example", "localhost"):
        named.check_host(host)
    with pytest.raises(HostRefused, match="GLYPHQ_ALLOWED_HOSTS"):
        named.check_host("glyphq.example")
    Authenticator(Settings(keys="required"), blobs).check_host("any.example")  # a page of another site has no key


def test_what_was_refused_has_left_nothing_in_the_store(http, service: EmbeddedService):
    before = sorted((service.store / "data").glob("*"))
    http.post("/v1/jobs", content=zip_of({"a.png": b"x" * 100_000}, zipfile.ZIP_STORED)[:-30])
    http.post("/v1/jobs", content=bytes(500_000))
    assert sorted((service.store / "data").glob("*")) == before
    assert list((service.store / ".staging").glob("*")) == []
