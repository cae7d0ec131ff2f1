"""What a bucket of an S3-compatible service promises, shown on a real server of that protocol."""

import itertools
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, GenericError

from bench.bucket import bucket
from glyphq.blobs import open_blobs
from glyphq.errors import SetupError, StoreError
from glyphq.object_blobs import AT_ONCE, ObjectBlobs
from tests.unit.blobs_contract import BlobsContract

NUMBERS = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def service() -> Iterator[None]:
    """A server with a bucket, to which the environment leads."""
    with bucket() as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.variables.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def blobs() -> ObjectBlobs:
    return ObjectBlobs("scans", f"test/{next(NUMBERS)}")


@pytest.fixture(scope="module")
def lasting() -> ObjectBlobs:
    return ObjectBlobs("scans", "lasting")


class TestContract(BlobsContract):
    """As every store."""


def test_an_address_says_bucket_and_prefix() -> None:
    open_blobs("s3://scans/one/two/").create("a", b"content")
    assert ObjectBlobs("scans", "one/two").get("a") == b"content"
    assert ObjectBlobs("scans").get("one/two/a") == b"content"


@pytest.mark.parametrize("url", ["s3://", "s3://scans//a", "s3://scans/a/../b", "s3://scans/a b"])
def test_an_address_that_says_neither_is_refused(url: str) -> None:
    with pytest.raises(SetupError, match="BUCKET/PREFIX"):
        open_blobs(url)


def test_a_put_that_meets_its_own_success_has_won(blobs: ObjectBlobs) -> None:
    assert blobs.create("a", b"mine")
    assert blobs.create("a", b"mine")
    assert not blobs.create("a", b"another's")


def test_a_put_whose_answer_is_lost_has_won(blobs: ObjectBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def put_and_lose_the_answer(*arguments: object, **more: object) -> None:
        put(*arguments, **more)
        raise GenericError("Connection reset by peer")

    put = obstore.put
    monkeypatch.setattr(obstore, "put", put_and_lose_the_answer)
    assert blobs.create("a", b"mine")
    assert not blobs.create("a", b"another's")


def test_a_put_that_is_refused_though_nothing_is_there_is_made_again(
    blobs: ObjectBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AlreadyExistsError("409 ConditionalRequestConflict")

    put = obstore.put
    with monkeypatch.context() as patch:
        answers = iter([refuse])
        patch.setattr(obstore, "put", lambda *asked, **more: next(answers, put)(*asked, **more))  # noqa: PLW0108
        assert blobs.create("a", b"mine")
    assert blobs.get("a") == b"mine"


def test_the_next_objects_are_asked_for_while_one_is_awaited(
    blobs: ObjectBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(4, timeout=10)

    def get(key: str) -> bytes:
        together.wait()
        return key.encode()

    monkeypatch.setattr(blobs, "get", get)
    assert list(blobs.get_each(["a", "b", "c", "d"])) == [b"a", b"b", b"c", b"d"]


def test_a_bucket_that_is_not_there_is_a_store_error() -> None:
    nowhere = ObjectBlobs("no-such-bucket")
    for ask in (nowhere.get, nowhere.delete, lambda key: nowhere.create(key, b"content")):
        with pytest.raises(StoreError, match="NoSuchBucket"):
            ask("a")


def test_a_404_in_other_words_than_the_services_is_a_store_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Proxy(BaseHTTPRequestHandler):
        """Which knows of no service yet."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_error(404, "page not found")

        do_HEAD = do_DELETE = do_POST = do_PUT = do_GET  # noqa: N815

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        behind = ObjectBlobs("scans")
        try:
            for ask in (
                behind.get,
                behind.exists,
                behind.modified,
                behind.delete,
                behind.delete_folder,
                lambda key: behind.get_range(key, 0, 5),
                lambda key: list(behind.list(key)),
                lambda key: list(behind.folders(key)),
            ):
                with pytest.raises(StoreError, match="404"):
                    ask("a")
        finally:
            server.shutdown()


def test_an_object_of_no_bytes_is_none(blobs: ObjectBlobs) -> None:
    blobs.replace("a", b"")
    assert blobs.size("a") == 0
    assert not blobs.exists("a")


def test_where_one_of_many_cannot_be_put_those_that_wait_are_not_tried(
    blobs: ObjectBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def create(key: str, data: bytes) -> bool:
        tried.append(key)
        time.sleep(0.01)  # as the way there, which is longer than what gives up the others
        raise StoreError(f"{key}: {len(data)} bytes that nobody takes")

    monkeypatch.setattr(blobs, "create", create)
    held = threading.Event()
    for _ in range(AT_ONCE - 1):
        blobs._at_once.submit(held.wait)
    try:
        with pytest.raises(StoreError, match="nobody takes"):
            blobs.create_all({str(number): b"content" for number in range(100)})
    finally:
        held.set()
    assert len(tried) < 100


def test_a_service_that_does_not_answer_is_a_store_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("glyphq.object_blobs._RETRIES", 1)  # as six, but sooner
    unreachable = ObjectBlobs("scans")
    for ask in (unreachable.get, unreachable.exists, unreachable.delete, lambda key: list(unreachable.list(key))):
        with pytest.raises(StoreError):
            ask("a")


def test_a_read_that_stalls_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    asked: list[str] = []

    class StallsOnce(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            if len(asked) == 1:
                over.wait()
            self.send_response(200)
            for name, value in {"Content-Length": "7", "Last-Modified": "Sun, 29 Nov 2026 07:00:00 GMT"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"content")

    with ThreadingHTTPServer(("127.0.0.1", 0), StallsOnce) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr("glyphq.object_blobs._READ_TIMEOUT", timedelta(seconds=0.5))
        try:
            assert ObjectBlobs("scans").get("a") == b"content"
        finally:
            over.set()
            server.shutdown()
    assert len(asked) == 2


def test_a_folder_was_modified_when_its_latest_object_was(blobs: ObjectBlobs) -> None:
    blobs.create("data/a/input", b"content")
    assert blobs.modified("data/a") == blobs.modified("data/a/input")
