"""What the local store promises: one creator wins, what was acknowledged is on the disk, a full disk is said."""

import errno
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyphq.errors import StoreError, StoreFull
from glyphq.local_blobs import LocalBlobs
from tests.unit.blobs_contract import BlobsContract, race


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "store")


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> LocalBlobs:
    """One store for all examples of a test."""
    return LocalBlobs(tmp_path_factory.mktemp("lasting"))


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, int]]:
    """Device and inode of whatever has been fsynced."""
    seen: set[tuple[int, int]] = set()
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        status = os.fstat(descriptor)
        seen.add((status.st_dev, status.st_ino))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    return seen


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB; only root can make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def staged(blobs: LocalBlobs) -> list[str]:
    return [path.name for path in (blobs.root / ".staging").iterdir()]


class TestContract(BlobsContract):
    """As every store."""


class TestCreate:
    def test_of_creators_who_race_for_an_empty_file_exactly_one_wins(self, blobs: LocalBlobs) -> None:
        (blobs.root / "race").mkdir()
        for number in range(20):
            (blobs.root / f"race/{number}").touch()
            race(blobs, f"race/{number}")

    def test_creators_race_for_a_new_file_often(self, blobs: LocalBlobs) -> None:
        for number in range(20):
            race(blobs, f"race/{number}")

    def test_nothing_staged_is_left(self, blobs: LocalBlobs) -> None:
        blobs.create("a", b"first")
        blobs.create("a", b"second")
        blobs.replace("a", b"third")
        assert staged(blobs) == []

    def test_under_an_empty_file_nothing_exists(self, blobs: LocalBlobs) -> None:
        (blobs.root / "empty").touch()
        assert not blobs.exists("empty")
        assert blobs.create("empty", b"content")
        assert blobs.exists("empty")

    def test_a_key_below_an_object_is_refused(self, blobs: LocalBlobs) -> None:
        blobs.create("a", b"")
        with pytest.raises(StoreError):
            blobs.create("a/b", b"")

    def test_another_process_reads_what_was_created(self, blobs: LocalBlobs) -> None:
        blobs.create("a", b"content")
        assert LocalBlobs(blobs.root).get("a") == b"content"


class TestWriter:
    def test_leaving_it_without_commit_leaves_nothing_staged(self, blobs: LocalBlobs) -> None:
        with blobs.writer("a") as writer:
            writer.write(b"half of i")
            assert staged(blobs)
        assert staged(blobs) == []

    def test_a_commit_that_lost_the_race_leaves_the_winner(self, blobs: LocalBlobs) -> None:
        with blobs.writer("a") as writer:
            writer.write(b"late")
            blobs.create("a", b"early")
            assert not writer.commit()
        assert blobs.get("a") == b"early"


class TestDurability:
    def test_create_syncs_the_file_and_its_folder(self, blobs: LocalBlobs, synced: set[tuple[int, int]]) -> None:
        blobs.create("jobs/first", b"", durable=False)
        synced.clear()
        blobs.create("jobs/second", b"content")
        assert synced == {identity(blobs.root / "jobs/second"), identity(blobs.root / "jobs")}

    def test_create_syncs_every_folder_that_a_new_folder_is_in(
        self, blobs: LocalBlobs, synced: set[tuple[int, int]]
    ) -> None:
        blobs.create("data/id/results/0", b"content")
        chain = ["data/id/results/0", "data/id/results", "data/id", "data", "."]
        assert {identity(blobs.root / name) for name in chain} <= synced

    def test_without_durable_neither_file_nor_folder_is_synced(
        self, blobs: LocalBlobs, synced: set[tuple[int, int]]
    ) -> None:
        blobs.create("jobs/first", b"")
        synced.clear()
        blobs.create("jobs/second", b"content", durable=False)
        assert synced == set()

    def test_somebody_elses_object_is_synced_before_it_is_acknowledged(
        self, blobs: LocalBlobs, synced: set[tuple[int, int]]
    ) -> None:
        blobs.create("jobs/a", b"theirs", durable=False)
        synced.clear()
        assert not blobs.create("jobs/a", b"ours")
        assert {identity(blobs.root / "jobs/a"), identity(blobs.root / "jobs")} <= synced

    def test_sync_makes_up_for_what_create_left_out(self, blobs: LocalBlobs, synced: set[tuple[int, int]]) -> None:
        keys = ["data/id/results/0", "data/id/results/1"]
        for key in keys:
            blobs.create(key, b"", durable=False)
        synced.clear()
        blobs.sync(keys)
        assert {identity(blobs.root / name) for name in [*keys, "data/id/results", "data/id"]} <= synced

    def test_replace_syncs_the_file_and_its_folder(self, blobs: LocalBlobs, synced: set[tuple[int, int]]) -> None:
        blobs.replace("jobs/a", b"content")
        assert {identity(blobs.root / "jobs/a"), identity(blobs.root / "jobs")} <= synced

    def test_delete_syncs_the_folder(self, blobs: LocalBlobs, synced: set[tuple[int, int]]) -> None:
        blobs.create("jobs/a", b"")
        synced.clear()
        blobs.delete("jobs/a")
        assert synced == {identity(blobs.root / "jobs")}

    def test_a_sync_that_fails_fails_the_create(self, blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
        def failing(_: int) -> None:
            raise OSError(5, "Input/output error")

        blobs.create("jobs/first", b"")
        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(StoreError, match="Input/output error"):
            blobs.create("jobs/second", b"")

    def test_objects_that_are_created_together_are_synced_with_their_folders(
        self, blobs: LocalBlobs, synced: set[tuple[int, int]]
    ) -> None:
        blobs.create("jobs/a", b"somebody else's")
        synced.clear()
        blobs.create_all({"jobs/a": b"ours", "jobs/b": b"2", "ends/c": b"3"})
        assert blobs.get("jobs/a") == b"somebody else's"
        assert {identity(blobs.root / name) for name in ("jobs/a", "jobs/b", "ends/c", "jobs", "ends")} <= synced

    def test_of_objects_that_are_created_together_none_stays_where_one_fails(self, blobs: LocalBlobs) -> None:
        blobs.create("file", b"")
        with pytest.raises(StoreError):
            blobs.create_all({"jobs/a": b"1", "jobs/b": b"2", "file/below": b"3"})
        assert not blobs.exists("jobs/a")
        assert not blobs.exists("jobs/b")

    def test_of_objects_that_are_created_together_none_stays_where_the_sync_fails(
        self, blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blobs.create("jobs/a", b"somebody else's")

        def refused(descriptor: int) -> None:
            raise OSError(5, "refused")

        monkeypatch.setattr(os, "fsync", refused)
        with pytest.raises(StoreError, match="refused"):
            blobs.create_all({"jobs/a": b"1", "jobs/b": b"2"})
        assert blobs.get("jobs/a") == b"somebody else's"
        assert not blobs.exists("jobs/b")

    def test_syncing_what_is_not_there_fails(self, blobs: LocalBlobs) -> None:
        with pytest.raises(StoreError, match="deleted before it was durable"):
            blobs.sync(["jobs/a"])


class TestReplace:
    def test_whoever_reads_meanwhile_reads_one_or_the_other(self, blobs: LocalBlobs) -> None:
        old, new = b"o" * 100_000, b"n" * 100_000
        blobs.create("a", old)
        with blobs.open("a") as reading:
            blobs.replace("a", new)
            assert reading.read() == old
        assert blobs.get("a") == new

    def test_the_new_content_is_durable_before_it_takes_the_place(
        self, blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blobs.create("a", b"old")
        seen: list[bytes | None] = []
        fsync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda descriptor: (seen.append(blobs.get("a")), fsync(descriptor)))
        blobs.replace("a", b"new")
        assert seen[0] == b"old"
        assert blobs.get("a") == b"new"


class TestReading:
    def test_modified_is_when_the_object_was_written(self, blobs: LocalBlobs) -> None:
        blobs.create("a/b", b"")
        assert abs(blobs.modified("a/b") - time.time()) < 60
        os.utime(blobs.root / "a/b", (1000, 1000))
        assert blobs.modified("a/b") == 1000

    def test_free_bytes_shrink_with_what_is_written(self, small_disk: Path) -> None:
        blobs = LocalBlobs(small_disk / "store")
        before = blobs.free_bytes()
        blobs.create("a", bytes(32 * 1024))
        assert blobs.free_bytes() == before - 32 * 1024


class TestListing:
    def test_an_object_is_no_folder(self, blobs: LocalBlobs) -> None:
        blobs.create("object", b"")
        with pytest.raises(StoreError):
            list(blobs.list("object"))

    def test_objects_that_vanish_while_they_are_listed_are_no_error(self, blobs: LocalBlobs) -> None:
        for key in ("data/a/input", "data/b/input"):
            blobs.create(key, b"", durable=False)
        listing = blobs.list("data")
        assert next(listing) == "data/a/input"
        blobs.delete_folder("data/b")
        assert list(listing) == []


class TestDeletion:
    def test_a_folder_that_the_disk_does_not_give_up_is_not_said_to_be_gone(
        self, blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        blobs.create("data/a/input", b"scan")
        monkeypatch.setattr("os.unlink", refuse)
        with pytest.raises(StoreError, match="data/a"):
            blobs.delete_folder("data/a")

    def test_who_writes_to_a_folder_meanwhile_does_not_hold_up_its_deletion(
        self, blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def write_before(path: str, *arguments: object, **more: object) -> None:
            if path == "input":
                blobs.create("data/a/result", b"rows", durable=False)
            unlink(path, *arguments, **more)

        unlink = os.unlink
        blobs.create("data/a/input", b"scan")
        with monkeypatch.context() as patch:
            patch.setattr("os.unlink", write_before)
            blobs.delete_folder("data/a")
        assert list(blobs.list("data")) == ["data/a/result"]


class TestKeys:
    @given(key=st.text(max_size=20))
    def test_no_text_leads_out_of_the_store(self, lasting: LocalBlobs, key: str) -> None:
        try:
            path = lasting._path(key)
        except StoreError:
            return
        assert lasting.root.resolve() in path.resolve().parents
        assert ".staging" not in path.parts

    def test_a_name_that_the_disk_does_not_take_is_a_store_error(self, blobs: LocalBlobs) -> None:
        with pytest.raises(StoreError):
            blobs.create("a" * 300, b"")
        with pytest.raises(StoreError):
            blobs.get("a" * 300)


class TestStaging:
    def test_what_interrupted_writers_left_is_discarded_by_age(self, blobs: LocalBlobs) -> None:
        for name, age in (("old", 2 * 3600), ("young", 60)):
            leftover = blobs.root / ".staging" / name
            leftover.write_bytes(b"half")
            os.utime(leftover, (time.time() - age,) * 2)
        blobs.discard_staged(time.time() - 3600)
        assert staged(blobs) == ["young"]

    def test_what_is_staged_is_no_object(self, blobs: LocalBlobs) -> None:
        with blobs.writer("a") as writer:
            writer.write(b"half")
            assert len(staged(blobs)) == 1
            assert list(blobs.list("jobs")) == []


class TestRoot:
    def test_only_the_owner_may_enter_the_store(self, tmp_path: Path) -> None:
        blobs = LocalBlobs(tmp_path / "deep" / "store")
        assert stat.S_IMODE(blobs.root.stat().st_mode) == 0o700

    def test_a_store_that_was_open_to_others_is_closed_to_them(self, tmp_path: Path) -> None:
        root = tmp_path / "store"
        root.mkdir(mode=0o755)
        LocalBlobs(root)
        assert stat.S_IMODE(root.stat().st_mode) == 0o700

    def test_a_root_that_is_a_file_is_a_store_error(self, tmp_path: Path) -> None:
        (tmp_path / "store").write_bytes(b"")
        with pytest.raises(StoreError):
            LocalBlobs(tmp_path / "store")


class TestFullDisk:
    def test_create_says_so_and_leaves_nothing(self, small_disk: Path) -> None:
        blobs = LocalBlobs(small_disk / "store")
        with pytest.raises(StoreFull, match="The store is full"):
            blobs.create("a", bytes(100_000))
        assert blobs.get("a") is None
        assert staged(blobs) == []
        assert blobs.create("a", b"small enough")

    def test_replace_says_so_and_the_old_object_stands(self, small_disk: Path) -> None:
        blobs = LocalBlobs(small_disk / "store")
        blobs.create("a", b"old")
        with pytest.raises(StoreFull, match="The store is full"):
            blobs.replace("a", bytes(100_000))
        assert blobs.get("a") == b"old"
        assert staged(blobs) == []

    def test_a_writer_says_so_at_the_piece_that_does_not_fit(self, small_disk: Path) -> None:
        blobs = LocalBlobs(small_disk / "store")
        with blobs.writer("a") as writer:
            writer.write(bytes(32 * 1024))
            with pytest.raises(StoreFull):
                writer.write(bytes(64 * 1024))
        assert staged(blobs) == []

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
    def test_the_systems_own_full_device_is_a_full_store(self, blobs: LocalBlobs) -> None:
        with blobs.writer("a") as writer, Path("/dev/full").open("wb", buffering=0) as full:
            writer._file.close()
            writer._file = full
            with pytest.raises(StoreFull, match="The store is full"):
                writer.write(b"content")
