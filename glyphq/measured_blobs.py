"""A store whose calls are timed and whose errors are counted, whichever store it is; see `glyphq.metrics`."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from time import perf_counter
from typing import BinaryIO, Self, TypeVar

from prometheus_client import Counter, Histogram

from glyphq.blobs import Blobs, BlobWriter, Entry
from glyphq.errors import StoreError
from glyphq.metrics import STORE_ERRORS, STORE_SECONDS

_Item = TypeVar("_Item")


class MeasuredBlobs:
    """`Blobs` in front of others. Of what is read one by one, the time counts that the store took, not the reader."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        for operation in _OPERATIONS:
            STORE_ERRORS.labels(operation)  # 0 from the start, see `glyphq.metrics.begin_counting`

    def create(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        with _measured("create"):
            return self._blobs.create(key, data, durable=durable)

    def create_all(self, objects: Mapping[str, bytes], *, undo: bool = True) -> frozenset[str]:
        with _measured("create_all"):
            return self._blobs.create_all(objects, undo=undo)

    def writer(self, key: str) -> "MeasuredWriter":
        with _measured("writer"):
            return MeasuredWriter(self._blobs.writer(key))

    def replace(self, key: str, data: bytes) -> None:
        with _measured("replace"):
            self._blobs.replace(key, data)

    def get(self, key: str) -> bytes | None:
        with _measured("get"):
            return self._blobs.get(key)

    def get_each(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        return _measured_each("get_each", self._blobs.get_each(keys))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        with _measured("get_range"):
            return self._blobs.get_range(key, start, length)

    def open(self, key: str) -> BinaryIO:
        with _measured("open"):
            return self._blobs.open(key)

    def exists(self, key: str) -> bool:
        with _measured("exists"):
            return self._blobs.exists(key)

    def size(self, key: str) -> int:
        with _measured("size"):
            return self._blobs.size(key)

    def sizes(self, keys: Iterable[str]) -> tuple[int, ...]:
        with _measured("sizes"):
            return self._blobs.sizes(keys)

    def list(self, prefix: str) -> Iterator[str]:
        return _measured_each("list", self._blobs.list(prefix))

    def entries(self, prefix: str) -> Iterator[Entry]:
        return _measured_each("entries", self._blobs.entries(prefix))

    def folders(self, prefix: str) -> Iterator[str]:
        return _measured_each("folders", self._blobs.folders(prefix))

    def modified(self, key: str) -> float:
        with _measured("modified"):
            return self._blobs.modified(key)

    def delete(self, key: str) -> None:
        with _measured("delete"):
            self._blobs.delete(key)

    def delete_folder(self, prefix: str) -> None:
        with _measured("delete_folder"):
            self._blobs.delete_folder(prefix)

    def sync(self, keys: Iterable[str]) -> None:
        with _measured("sync"):
            self._blobs.sync(keys)

    def free_bytes(self) -> int:
        with _measured("free_bytes"):
            return self._blobs.free_bytes()

    def discard_staged(self, older_than: float) -> None:
        with _measured("discard_staged"):
            self._blobs.discard_staged(older_than)


class MeasuredWriter:
    """`BlobWriter` in front of another."""

    def __init__(self, writer: BlobWriter) -> None:
        self._writer = writer

    def write(self, data: bytes | memoryview) -> None:
        with _measured("write"):
            self._writer.write(data)

    def commit(self, *, durable: bool = True) -> bool:
        with _measured("commit"):
            return self._writer.commit(durable=durable)

    def discard(self) -> None:
        self._writer.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


class _measured:  # noqa: N801  # reads as a verb where it is used
    """Times what is done within, and counts the error of the store that ends it. A third as costly as a generator."""

    __slots__ = ("_began", "_errors", "_seconds")

    def __init__(self, operation: str) -> None:
        self._seconds, self._errors = _counters(operation)

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._seconds.observe(perf_counter() - self._began)
        if isinstance(error, StoreError):
            self._errors.inc()


def _measured_each(operation: str, items: Iterator[_Item]) -> Iterator[_Item]:
    seconds, errors = _counters(operation)
    took = 0.0
    try:
        with errors.count_exceptions(StoreError):
            while True:
                began = perf_counter()
                try:
                    item = next(items)
                except StopIteration:
                    return
                finally:
                    took += perf_counter() - began
                yield item
    finally:
        seconds.observe(took)


_OPERATIONS = [name for kind in (MeasuredBlobs, MeasuredWriter) for name in vars(kind) if not name.startswith("_")]


@cache
def _counters(operation: str) -> tuple[Histogram, Counter]:
    return STORE_SECONDS.labels(operation), STORE_ERRORS.labels(operation)
