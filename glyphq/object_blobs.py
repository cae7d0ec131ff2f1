"""Durable objects in a bucket of an S3-compatible service; see `glyphq.blobs.Blobs`. Address, region and keys are read
from the AWS_* variables (AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, ...) by obstore, which speaks to the service.

`create` is a conditional put (If-None-Match). A put whose answer was lost may meet its own success, and a service may
refuse one of two that race though nothing is there yet. So `create` looks whenever it was not told of success: the same
bytes are its own, and where there is nothing it puts again. Whatever was put is durable: there is nothing to sync. An
object that arrives piece by piece is sent on as it comes, without a condition: such are the inputs of new jobs, whose
names nobody else has. What an interrupted one leaves behind, the bucket's own rule for incomplete uploads removes.
"""

import io
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from glyphq.ahead import map_ahead
from glyphq.blobs import Entry, checked_key, is_key
from glyphq.errors import StoreError

if TYPE_CHECKING:
    from obstore import ObjectMeta, WritableFile
    from obstore.store import BackoffConfig, ClientConfig

_CONNECT_TIMEOUT = timedelta(seconds=5)
_READ_TIMEOUT = timedelta(seconds=15)  # without a byte: the request is made again
_TIMEOUT = timedelta(seconds=120)  # of a whole request, with `_RETRY_TIMEOUT` less than a worker may be stuck
_PART_TIMEOUT = timedelta(seconds=90)  # of a part that is sent, during which nothing is read
_PARTS_AT_ONCE = 4
# Ten seconds in all, for a service that asks to slow down; then whoever asked says so, and comes again.
_BACKOFF: "BackoffConfig" = {
    "init_backoff": timedelta(seconds=0.2),
    "base": 3,
    "max_backoff": timedelta(seconds=3),
}
_RETRIES, _RETRY_TIMEOUT = 6, timedelta(seconds=60)
_CREATE_AGAIN_SECONDS = 0.1, 0.5, 2.0
_PART_BYTES = 8 << 20  # a service takes 10,000 parts: objects up to 80 GiB
_DELETED_AT_ONCE = 1000  # as many as a service takes in one request
_ABSENT = "<Code>NoSuchKey<"  # a 404 in other words is of a bucket that is not there, or of a proxy on the way
_EMPTY = "<Code>InvalidRange<"
_MOST_SAID = 500  # characters of an error
_READ_AHEAD_BYTES = 1 << 20
AT_ONCE = 8
"""Requests that are under way for whoever asks for many objects."""


class ObjectBlobs:
    """Objects of `bucket` whose names begin with `prefix`. Open it after the fork: it owns threads."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self._store = _open_store(bucket, prefix, {"timeout": _TIMEOUT, "read_timeout": _READ_TIMEOUT})
        self._store_of_parts = _open_store(bucket, prefix, {"timeout": _PART_TIMEOUT})
        self._at_once = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="store")

    def _store_for(self, data: bytes) -> S3Store:
        return self._store if len(data) < _READ_AHEAD_BYTES else self._store_of_parts

    def create(self, key: str, data: bytes, *, durable: bool = True) -> bool:  # noqa: ARG002  # whatever is put is
        for pause in (*_CREATE_AGAIN_SECONDS, None):
            try:
                with _errors(key, absent_ok=False):
                    obstore.put(self._store_for(data), checked_key(key), data, mode="create", use_multipart=False)
            except StoreError:
                found = self.get(key)
                if found is not None:
                    return found == data
                if pause is None:
                    raise
                time.sleep(pause)  # what another put comes to has no event
            else:
                break
        return True

    def create_all(self, objects: Mapping[str, bytes], *, undo: bool = True) -> frozenset[str]:
        created = {key: self._at_once.submit(self.create, key, data) for key, data in objects.items()}
        try:
            return frozenset(key for key, each in created.items() if each.result())
        except StoreError:
            begun = [(key, each) for key, each in created.items() if not each.cancel()]
            for key, each in begun:
                if each.exception() is None and each.result() and undo:
                    with suppress(StoreError):
                        self.delete(key)
            raise

    def writer(self, key: str) -> "ObjectWriter":
        return ObjectWriter(self._store_of_parts, checked_key(key))

    def replace(self, key: str, data: bytes) -> None:
        with _errors(key, absent_ok=False):
            obstore.put(self._store_for(data), checked_key(key), data, use_multipart=False)

    def get(self, key: str) -> bytes | None:
        try:
            with _errors(key):
                return bytes(obstore.get(self._store, checked_key(key)).bytes())
        except FileNotFoundError:
            return None

    def get_each(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        return map_ahead(self._at_once, self.get, keys, AT_ONCE)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        if not length:
            return b""
        try:
            with _errors(key):
                return bytes(obstore.get_range(self._store, checked_key(key), start=start, length=length))
        except FileNotFoundError:
            return b""
        except StoreError:
            if start < self.size(key):
                raise
            return b""  # no service answers a range that begins beyond the end

    def open(self, key: str) -> BinaryIO:
        size = self.size(key)
        if not size:
            raise StoreError(f"{key} is not in the store.")
        return io.BufferedReader(_Ranges(self, key, size), _READ_AHEAD_BYTES)

    def exists(self, key: str) -> bool:
        return self.size(key) > 0

    def size(self, key: str) -> int:
        try:
            return self._meta(key)["size"]
        except FileNotFoundError:
            return 0
        except StoreError as error:
            if _EMPTY in error.detail:
                return 0
            raise

    def _meta(self, key: str) -> "ObjectMeta":
        """Told with the first byte: to a HEAD nobody says why there is nothing. Raises FileNotFoundError."""
        with _errors(key):
            found = obstore.get(self._store, checked_key(key), options={"range": (0, 1)})
            found.bytes()  # so that the connection serves again
            return found.meta

    def sizes(self, keys: Iterable[str]) -> tuple[int, ...]:
        return tuple(self._at_once.map(self.size, keys))

    def list(self, prefix: str) -> Iterator[str]:
        return (entry.key for entry in self.entries(prefix))

    def entries(self, prefix: str) -> Iterator[Entry]:
        with _errors(prefix):
            for page in obstore.list(self._store, prefix=checked_key(prefix)):
                for each in page:
                    if is_key(each["path"]):
                        yield Entry(each["path"], each["size"], each["last_modified"].timestamp())

    def folders(self, prefix: str) -> Iterator[str]:
        with _errors(prefix):
            found = obstore.list_with_delimiter(self._store, prefix=checked_key(prefix))["common_prefixes"]
        yield from sorted(path.rsplit("/", 1)[-1] for path in found)

    def modified(self, key: str) -> float:
        with suppress(FileNotFoundError):
            return self._meta(key)["last_modified"].timestamp()
        with _errors(key):
            within = [each for page in obstore.list(self._store, prefix=key) for each in page]
        return max((each["last_modified"].timestamp() for each in within), default=math.inf)

    def delete(self, key: str) -> None:
        with suppress(FileNotFoundError), _errors(key):
            obstore.delete(self._store, checked_key(key))

    def delete_folder(self, prefix: str) -> None:
        with suppress(FileNotFoundError), _errors(prefix):
            for page in obstore.list(self._store, prefix=checked_key(prefix), chunk_size=_DELETED_AT_ONCE):
                obstore.delete(self._store, [each["path"] for each in page])

    def sync(self, keys: Iterable[str]) -> None:
        """There is nothing to do."""

    def free_bytes(self) -> int:
        """Without end."""
        return sys.maxsize

    def discard_staged(self, older_than: float) -> None:
        """There is nothing to do."""


class _Ranges(io.RawIOBase):
    """An object as a file that is read range by range."""

    def __init__(self, blobs: ObjectBlobs, key: str, size: int) -> None:
        self._blobs, self._key, self._size = blobs, key, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        left = max(0, self._size - self._position)  # a range beyond the end would be asked for in vain
        data = self._blobs.get_range(self._key, self._position, min(len(buffer), left))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


class ObjectWriter:
    """Bytes of an object to be, sent on part by part."""

    def __init__(self, store: S3Store, key: str) -> None:
        self._key = key
        self._file: WritableFile | None = obstore.open_writer(
            store, key, buffer_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
        )

    def write(self, data: bytes | memoryview) -> None:
        with _errors(self._key, absent_ok=False):
            self._opened.write(bytes(data))

    def commit(self, *, durable: bool = True) -> bool:  # noqa: ARG002  # whatever is put is
        with _errors(self._key, absent_ok=False):
            self._opened.close()
        self._file = None
        return True

    def discard(self) -> None:
        self._file = None  # what is not closed does not come to be

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    @property
    def _opened(self) -> "WritableFile":
        if self._file is None:
            raise StoreError(f"{self._key} is written no more.")
        return self._file


def _open_store(bucket: str, prefix: str, timeouts: "ClientConfig") -> S3Store:
    return S3Store(
        bucket,
        prefix=prefix or None,
        client_options={**timeouts, "connect_timeout": _CONNECT_TIMEOUT, "allow_http": True},
        retry_config={"backoff": _BACKOFF, "max_retries": _RETRIES, "retry_timeout": _RETRY_TIMEOUT},
    )


@contextmanager
def _errors(what: str, *, absent_ok: bool = True) -> Iterator[None]:
    """What the service refuses, as an error of the store; FileNotFoundError as it is, where absence is an answer."""
    try:
        yield
    except (BaseError, OSError) as error:
        if absent_ok and isinstance(error, FileNotFoundError) and _ABSENT in str(error):
            raise
        said = " ".join(str(error).partition("\n\nDebug source:")[0].split())  # S3's own code is on the second line
        raise StoreError(f"{what}: {said[:_MOST_SAID]}") from error
