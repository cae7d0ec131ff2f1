"""Every call of a store is timed and its errors are counted; what it answers is the store's own."""

from pathlib import Path

import pytest
from prometheus_client import generate_latest

from glyphq.blobs import BlobWriter, open_blobs
from glyphq.errors import StoreError
from glyphq.local_blobs import LocalBlobs
from glyphq.measured_blobs import MeasuredBlobs, MeasuredWriter
from glyphq.metrics import REGISTRY


def told(name: str, operation: str) -> float:
    return REGISTRY.get_sample_value(name, {"operation": operation}) or 0.0


def test_it_has_whatever_a_store_has() -> None:
    for measured, plain in ((MeasuredBlobs, LocalBlobs), (MeasuredWriter, BlobWriter)):
        public = {name for name in vars(plain) if not name.startswith("_")} - {"root"}
        assert public <= set(vars(measured))


def test_calls_are_timed_and_answered(tmp_path: Path) -> None:
    blobs = open_blobs(f"file://{tmp_path}")
    before = told("glyphq_store_operation_duration_seconds_count", "create")
    assert blobs.create("a/one", b"content")
    assert not blobs.create("a/one", b"other")
    assert blobs.create_all({"a/one": b"1", "a/two": b"2"}) == {"a/two"}
    assert list(blobs.list("a")) == ["a/one", "a/two"]
    assert told("glyphq_store_operation_duration_seconds_count", "create") == before + 2
    assert b"glyphq_store_errors_total" in generate_latest(REGISTRY)


@pytest.mark.parametrize("operation", ["get_each", "list", "entries", "folders"])
def test_what_is_read_one_by_one_is_timed_once_it_is_left(tmp_path: Path, operation: str) -> None:
    blobs = open_blobs(f"file://{tmp_path}")
    blobs.create_all({"a/b/one": b"1", "a/c/two": b"2"})
    count = "glyphq_store_operation_duration_seconds_count"
    before = told(count, operation)
    read = getattr(blobs, operation)
    argument = ["a/b/one", "a/c/two"] if operation == "get_each" else "a"
    assert len(list(read(argument))) == 2
    assert told(count, operation) == before + 1
    next(partly := read(argument))
    partly.close()
    assert told(count, operation) == before + 2


def test_errors_are_told_of_before_the_first(tmp_path: Path) -> None:
    open_blobs(f"file://{tmp_path}")
    for operation in ("discard_staged", "commit"):
        assert REGISTRY.get_sample_value("glyphq_store_errors_total", {"operation": operation}) is not None


@pytest.mark.parametrize("operation", ["get", "list", "commit"])
def test_errors_are_counted_and_raised(tmp_path: Path, operation: str) -> None:
    blobs = open_blobs(f"file://{tmp_path}/store")
    (tmp_path / "store" / "a").write_bytes(b"no folder")
    calls = {
        "get": lambda: blobs.get("not//a key"),
        "list": lambda: list(blobs.list("a")),
        "commit": lambda: blobs.writer("a/below").commit(),
    }
    before = told("glyphq_store_errors_total", operation)
    with pytest.raises(StoreError):
        calls[operation]()
    assert told("glyphq_store_errors_total", operation) == before + 1
