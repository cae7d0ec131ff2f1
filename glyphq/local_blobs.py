"""Durable objects as files of a folder; see `glyphq.blobs.Blobs`.

A new object is written under a temporary name, linked to its own (which fails where somebody was first), then file and
directory are fsynced at once from two threads, so what was acknowledged survives a power cut. What was not may be left
behind empty: nothing exists under such a name, and it can be created. (obstore's LocalStore never fsyncs, so this store
is ours.)
"""

import errno
import fcntl
import math
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from glyphq.blobs import Entry, checked_key, is_key
from glyphq.errors import StoreError, StoreFull

_STAGING = ".staging"
_REMEMBERED_FOLDERS = 10_000


class LocalBlobs:
    """Objects as files below `root`, which is made with mode 0700. Open it after the fork: it owns threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with _disk_errors("the store"):
            (root / _STAGING).mkdir(parents=True, exist_ok=True, mode=0o700)
            root.chmod(0o700)
        self._durable_folders: set[Path] = set()
        self._syncing = ThreadPoolExecutor(4, thread_name_prefix="fsync")

    def create(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        with self.writer(key) as writer:
            writer.write(data)
            return writer.commit(durable=durable)

    def create_all(self, objects: Mapping[str, bytes], *, undo: bool = True) -> frozenset[str]:
        """A folder is synced once for every object in it."""
        ours = set()
        with ExitStack() as failing:
            for key, data in objects.items():
                if self.create(key, data, durable=False):
                    ours.add(key)
                    if undo:
                        failing.callback(self._path(key).unlink, missing_ok=True)
            with _disk_errors("the store"):
                self._make_durable([self._path(key) for key in objects])
            failing.pop_all()
        return frozenset(ours)

    def writer(self, key: str) -> "BlobWriter":
        return BlobWriter(self, key)

    def replace(self, key: str, data: bytes) -> None:
        path = self._path(key)
        staged = self._staged()
        with _disk_errors(key, absent_ok=False):
            try:
                staged.write_bytes(data)
                _fsync(staged)
                self._make_folder(path.parent)
                staged.replace(path)
                _fsync(path.parent)
            finally:
                staged.unlink(missing_ok=True)

    def get(self, key: str) -> bytes | None:
        try:
            with _disk_errors(key):
                return self._path(key).read_bytes()
        except FileNotFoundError:
            return None

    def get_each(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        return map(self.get, keys)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        try:
            with _disk_errors(key), self._path(key).open("rb", buffering=0) as file:
                return os.pread(file.fileno(), length, start)
        except FileNotFoundError:
            return b""

    def open(self, key: str) -> BinaryIO:
        try:
            with _disk_errors(key):
                return self._path(key).open("rb")
        except FileNotFoundError:
            raise StoreError(f"{key} is not in the store.") from None

    def exists(self, key: str) -> bool:
        return self.size(key) > 0

    def size(self, key: str) -> int:
        try:
            with _disk_errors(key):
                return self._path(key).stat().st_size
        except FileNotFoundError:
            return 0

    def sizes(self, keys: Iterable[str]) -> tuple[int, ...]:
        return tuple(map(self.size, keys))

    def list(self, prefix: str) -> Iterator[str]:
        """Also of empty files."""
        try:
            with _disk_errors(prefix):
                entries = sorted(os.scandir(self._path(prefix)), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            key = f"{prefix}/{entry.name}"
            if not is_key(key):  # somebody else's, such as what NFS leaves of a file that is still open
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self.list(key)
            else:
                yield key

    def entries(self, prefix: str) -> Iterator[Entry]:
        for key in self.list(prefix):
            try:
                with _disk_errors(key):
                    found = self._path(key).stat()
            except FileNotFoundError:  # deleted meanwhile
                continue
            yield Entry(key, found.st_size, found.st_mtime)

    def folders(self, prefix: str) -> Iterator[str]:
        with suppress(FileNotFoundError), _disk_errors(prefix):
            yield from sorted(
                entry.name
                for entry in os.scandir(self._path(prefix))
                if entry.is_dir(follow_symlinks=False) and is_key(entry.name)
            )

    def modified(self, key: str) -> float:
        try:
            with _disk_errors(key):
                return self._path(key).stat().st_mtime
        except FileNotFoundError:
            return math.inf

    def delete(self, key: str) -> None:
        path = self._path(key)
        with suppress(FileNotFoundError), _disk_errors(key):
            path.unlink()
            _fsync(path.parent)

    def delete_folder(self, prefix: str) -> None:
        with _disk_errors(prefix):
            shutil.rmtree(self._path(prefix), onerror=_met_by_others)

    def sync(self, keys: Iterable[str]) -> None:
        paths = [self._path(key) for key in keys]
        parents = {path.parent for path in paths}
        grandparents = {parent.parent for parent in parents if parent != self.root}
        try:
            with _disk_errors("the store"):
                for _ in self._syncing.map(_fsync, [*paths, *parents, *grandparents]):
                    pass
        except FileNotFoundError as error:
            raise StoreError(f"{error.filename} was deleted before it was durable.") from error

    def free_bytes(self) -> int:
        with _disk_errors("the store", absent_ok=False):
            return shutil.disk_usage(self.root).free

    def discard_staged(self, older_than: float) -> None:
        with _disk_errors("the store", absent_ok=False):
            for entry in os.scandir(self.root / _STAGING):
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime < older_than:
                        Path(entry.path).unlink()

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)

    def _staged(self) -> Path:
        return self.root / _STAGING / uuid.uuid4().hex

    def _make_folder(self, folder: Path) -> None:
        """With its parents, each durable in its own parent, also where another process made it just now."""
        if folder == self.root or (folder in self._durable_folders and folder.is_dir()):
            return
        self._make_folder(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir()
        _fsync(folder.parent)
        if len(self._durable_folders) >= _REMEMBERED_FOLDERS:
            self._durable_folders.clear()
        self._durable_folders.add(folder)

    def _link(self, staged: Path, key: str, *, durable: bool) -> bool:
        path = self._path(key)
        with _disk_errors(key, absent_ok=False):
            won = self._linked(staged, path)
            if durable:
                try:
                    self._make_durable([path])
                except OSError:
                    if won:
                        path.unlink(missing_ok=True)  # an error means that nothing was created
                    raise
        return won

    def _make_durable(self, paths: Sequence[Path]) -> None:
        """Sync files and their folders; what somebody has deleted meanwhile needs none."""
        # One after the other takes several times as long on most journals.
        folders = [self._syncing.submit(_fsync, folder) for folder in {path.parent for path in paths}]
        for path in paths:
            with suppress(FileNotFoundError):
                _fsync(path)
        for folder in folders:
            with suppress(FileNotFoundError):
                folder.result()

    def _linked(self, staged: Path, path: Path) -> bool:
        """True: `path` is ours now. False: something was there."""
        while True:
            try:
                self._make_folder(path.parent)
                os.link(staged, path)
            except FileExistsError:
                if not self._cleared_of_empty(path):
                    return False
            except FileNotFoundError:
                if not staged.exists():  # else somebody has just deleted a folder on the way
                    raise
            else:
                return True

    def _cleared_of_empty(self, path: Path) -> bool:
        """Whether nothing is at `path` any more, since it was empty, as a power cut may leave it, or has gone."""
        lock = os.open(self.root / _STAGING, os.O_RDONLY)
        try:
            if path.stat().st_size:
                return False
            fcntl.flock(lock, fcntl.LOCK_EX)  # of two who find it empty, the second would remove what the first put
            if path.stat().st_size:
                return False
            path.unlink()
        except FileNotFoundError:
            pass
        finally:
            os.close(lock)
        return True


class BlobWriter:
    """Bytes of a file to be."""

    def __init__(self, blobs: LocalBlobs, key: str) -> None:
        self._blobs, self._key = blobs, key
        self._staged = blobs._staged()  # noqa: SLF001  # the two are one unit
        with _disk_errors("the store", absent_ok=False):
            self._file = self._staged.open("xb", buffering=0)

    def write(self, data: bytes | memoryview) -> None:
        with _disk_errors("the store"):
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]

    def commit(self, *, durable: bool = True) -> bool:
        try:
            with _disk_errors(self._key):
                self._file.close()
            return self._blobs._link(self._staged, self._key, durable=durable)  # noqa: SLF001  # the two are one unit
        finally:
            self.discard()

    def discard(self) -> None:
        self._file.close()
        self._staged.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def _met_by_others(_: object, __: object, raised: tuple[type[BaseException], BaseException, object]) -> None:
    """What is gone already needs no removing, and who has just written there looks after it; raises what else is."""
    error = raised[1]
    if not (isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTEMPTY)):
        raise error


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors(what: str, *, absent_ok: bool = True) -> Iterator[None]:
    """What the disk refuses, as errors of the store; FileNotFoundError as it is, where absence is an answer."""
    try:
        yield
    except OSError as error:
        if absent_ok and isinstance(error, FileNotFoundError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"The store is full: {what} could not be written.") from error
        raise StoreError(f"{what}: {error.strerror or error}") from error
