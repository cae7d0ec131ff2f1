"""Durable objects under names: create if absent, get, get a range, list, delete. Knows nothing of jobs.

Two stores keep them: `glyphq.local_blobs` in a folder, `glyphq.object_blobs` in a bucket of any S3-compatible service.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, Self

from glyphq.errors import SetupError, StoreError

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class Entry(NamedTuple):
    """One object in a listing: its size in bytes, and when it last changed, in seconds since the epoch."""

    key: str
    size: int
    modified: float


class Blobs(Protocol):
    """A store. Keys are slash-separated names of letters, digits, dot, underscore and dash; objects are not empty.

    Methods raise StoreFull when the store is full and StoreError for what else it refuses.
    """

    def create(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Store `data` under `key` unless something is there. True: it is ours; False: somebody else's stands.

        With `durable`, whatever stands under `key` afterwards, ours or not, survives a power cut.
        """

    def create_all(self, objects: Mapping[str, bytes], *, undo: bool = True) -> frozenset[str]:
        """Store each unless something is there, durably. Answers the keys of those that are ours.

        Where one cannot be stored none is, unless not `undo`: then the others stay, for somebody may have seen them.
        """

    def writer(self, key: str) -> "BlobWriter":
        """For an object that arrives piece by piece: nothing is under its key until `commit`."""

    def replace(self, key: str, data: bytes) -> None:
        """Put `data` in the place of whatever is under `key`, at once and durably."""

    def get(self, key: str) -> bytes | None:
        """The whole object, or None where there is none."""

    def get_each(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        """As `get`, in the order of the keys. A store that is far away is asked for the next ones meanwhile."""

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`: fewer at the end of the object, none where there is no object."""

    def open(self, key: str) -> BinaryIO:
        """The object as a seekable file. Raises StoreError where there is none."""

    def exists(self, key: str) -> bool: ...

    def size(self, key: str) -> int:
        """In bytes; 0 where there is no object."""

    def sizes(self, keys: Iterable[str]) -> tuple[int, ...]:
        """In bytes, in the order of the keys; as `size`."""

    def list(self, prefix: str) -> Iterator[str]:
        """The keys below the folder `prefix`, folder by folder, each in the order of its names."""

    def entries(self, prefix: str) -> Iterator[Entry]:
        """As `list`, with what a listing says of each object."""

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders right below `prefix`, in order."""

    def modified(self, key: str) -> float:
        """When the object or folder last changed, in seconds since the epoch; infinity where there is none."""

    def delete(self, key: str) -> None:
        """Remove the object, if there is one, durably."""

    def delete_folder(self, prefix: str) -> None:
        """Remove every object below the folder."""

    def sync(self, keys: Iterable[str]) -> None:
        """Make objects that were created without `durable` survive a power cut. Raises StoreError where one is gone."""

    def free_bytes(self) -> int:
        """Bytes that can still be written."""

    def discard_staged(self, older_than: float) -> None:
        """Remove what interrupted writers left behind before `older_than`, in seconds since the epoch."""


class BlobWriter(Protocol):
    """Bytes of an object to be. A context manager: without `commit`, leaving it leaves nothing."""

    def write(self, data: bytes | memoryview) -> None: ...

    def commit(self, *, durable: bool = True) -> bool:
        """Let the object be; see `Blobs.create`."""

    def discard(self) -> None:
        """Leave nothing of what was written."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_blobs(url: str) -> Blobs:
    """The store at `file:///FOLDER` or `s3://BUCKET/PREFIX`, measured. Open it after the fork. Raises SetupError."""
    from glyphq.measured_blobs import MeasuredBlobs

    scheme, _, place = url.partition("://")
    if scheme == "s3":
        try:
            from glyphq.object_blobs import ObjectBlobs
        except ImportError as error:
            raise SetupError(f"A store at s3:// takes obstore; in a clone: pip install -e '.[s3]' ({error}).") from None
        bucket, _, prefix = place.strip("/").partition("/")
        if not bucket or (prefix and not is_key(prefix)):
            raise SetupError(f"{url} is not s3://BUCKET or s3://BUCKET/PREFIX; a prefix is as a/b.")
        return MeasuredBlobs(ObjectBlobs(bucket, prefix))
    from glyphq.local_blobs import LocalBlobs

    return MeasuredBlobs(LocalBlobs(Path(place)))


def is_key(text: str) -> bool:
    """Whether a store can have an object of this name."""
    return _KEY.fullmatch(text) is not None


def checked_key(text: str) -> str:
    """The key. Raises StoreError for what is none, such as whatever would lead out of the store."""
    if not is_key(text):
        raise StoreError(f"{text!r} is not a key of the store.")
    return text
