"""What every store promises; each store's own tests run it."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glyphq.blobs import Blobs
from glyphq.errors import StoreError

NAMES = st.text("abz019_", min_size=1, max_size=3)
KEYS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
BAD_KEYS = [
    "",
    ".",
    "..",
    "/",
    "/etc/passwd",
    "a/",
    "a//b",
    "a/../b",
    "a/..",
    "../a",
    ".staging/a",
    "a/.hidden",
    "a b",
    "a\\b",
    "a\0b",
    "a\n",
    "ключ",
    "~/a",
]


def race(blobs: Blobs, key: str) -> None:
    """Of some who create the object at once exactly one wins, and what it wrote stands."""
    racers = 8
    together = threading.Barrier(racers)

    def create(content: bytes) -> bool:
        together.wait()
        return blobs.create(key, content, durable=False)

    contents = [b"%d" % racer * 10_000 for racer in range(racers)]
    with ThreadPoolExecutor(racers) as pool:
        won = list(pool.map(create, contents))
    assert won.count(True) == 1
    assert blobs.get(key) == contents[won.index(True)]


class BlobsContract:
    """Takes the fixtures `blobs`, a store of its own, and `lasting`, one for all examples of a test."""

    def test_each_of_many_is_read_in_the_order_of_the_keys(self, blobs: Blobs) -> None:
        names = [f"a/{number:02}" for number in range(30)]
        for name in names[::2]:
            blobs.create(name, name.encode())
        expected = [name.encode() if name in names[::2] else None for name in names]
        assert list(blobs.get_each(names)) == expected
        assert next(iter(blobs.get_each(names))) == b"a/00"
        assert list(blobs.get_each([])) == []

    def test_what_was_created_is_read_back(self, blobs: Blobs) -> None:
        assert blobs.create("a/b", b"content")
        assert blobs.get("a/b") == b"content"
        assert blobs.exists("a/b")

    def test_the_first_creator_wins_and_the_second_is_told(self, blobs: Blobs) -> None:
        assert blobs.create("a/b", b"first")
        assert not blobs.create("a/b", b"second")
        assert blobs.get("a/b") == b"first"

    def test_pieces_become_one_object(self, blobs: Blobs) -> None:
        with blobs.writer("a") as writer:
            for piece in (b"one ", memoryview(b"two "), b"", b"three"):
                writer.write(piece)
            assert not blobs.exists("a")
            assert writer.commit()
        assert blobs.get("a") == b"one two three"

    def test_leaving_it_without_commit_leaves_nothing(self, blobs: Blobs) -> None:
        with blobs.writer("a") as writer:
            writer.write(b"half of i")
        assert not blobs.exists("a")

    def test_an_error_while_writing_leaves_nothing(self, blobs: Blobs) -> None:
        def interrupted() -> None:
            with blobs.writer("a") as writer:
                writer.write(b"half of i")
                raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            interrupted()
        assert not blobs.exists("a")

    def test_puts_the_new_bytes_in_the_place_of_the_old(self, blobs: Blobs) -> None:
        blobs.create("a", b"a long old one")
        blobs.replace("a", b"new")
        assert blobs.get("a") == b"new"

    def test_makes_what_was_not_there(self, blobs: Blobs) -> None:
        blobs.replace("a/b", b"new")
        assert blobs.get("a/b") == b"new"

    def test_there_is_nothing_under_a_key_that_was_never_created(self, blobs: Blobs) -> None:
        assert blobs.get("a") is None
        assert blobs.get_range("a", 0, 10) == b""
        assert not blobs.exists("a")
        assert blobs.modified("a") == float("inf")
        with pytest.raises(StoreError, match="a is not in the store"):
            blobs.open("a")

    @settings(max_examples=40, suppress_health_check=[HealthCheck.differing_executors])
    @given(content=st.binary(min_size=1, max_size=50), start=st.integers(0, 60), length=st.integers(0, 60))
    def test_a_range_is_a_slice(self, lasting: Blobs, content: bytes, start: int, length: int) -> None:
        lasting.replace("a", content)
        assert lasting.get_range("a", start, length) == content[start : start + length]

    def test_an_open_object_is_seekable(self, blobs: Blobs) -> None:
        blobs.create("a", b"0123456789")
        with blobs.open("a") as file:
            file.seek(-3, os.SEEK_END)
            assert file.read() == b"789"

    def test_keys_come_in_order_with_their_folders(self, blobs: Blobs) -> None:
        for key in ("jobs/b/2", "jobs/a/9", "jobs/b/10", "jobs/b/1", "other/x"):
            blobs.create(key, b"content", durable=False)
        assert list(blobs.list("jobs")) == ["jobs/a/9", "jobs/b/1", "jobs/b/10", "jobs/b/2"]
        assert list(blobs.list("jobs/a")) == ["jobs/a/9"]

    def test_a_folder_that_is_not_there_is_empty(self, blobs: Blobs) -> None:
        assert list(blobs.list("jobs")) == []
        assert list(blobs.folders("jobs")) == []

    def test_a_folder_is_not_its_namesakes_beginning(self, blobs: Blobs) -> None:
        blobs.create("jobs/a", b"content")
        blobs.create("jobs2/a", b"content")
        assert list(blobs.list("jobs")) == ["jobs/a"]

    def test_folders_are_those_right_below_in_order(self, blobs: Blobs) -> None:
        for key in ("data/b/input", "data/a/results/0", "data/object"):
            blobs.create(key, b"content", durable=False)
        assert list(blobs.folders("data")) == ["a", "b"]

    @settings(max_examples=40, suppress_health_check=[HealthCheck.differing_executors])
    @given(keys=st.sets(KEYS, max_size=6))
    def test_it_answers_exactly_the_keys_that_were_created(self, lasting: Blobs, keys: set[str]) -> None:
        lasting.delete_folder("root")
        for key in keys:
            lasting.create(f"root/{key}/object.json", b"content", durable=False)
        assert list(lasting.list("root")) == sorted(f"root/{key}/object.json" for key in keys)

    def test_a_listing_says_how_large_each_object_is_and_when_it_changed(self, blobs: Blobs) -> None:
        blobs.create("a/1", b"content")
        blobs.create("a/2", b"more content")
        entries = list(blobs.entries("a"))
        assert [(entry.key, entry.size) for entry in entries] == [("a/1", 7), ("a/2", 12)]
        assert [entry.modified for entry in entries] == [blobs.modified("a/1"), blobs.modified("a/2")]

    def test_a_deleted_object_is_gone_and_its_key_free_again(self, blobs: Blobs) -> None:
        blobs.create("a", b"first")
        blobs.delete("a")
        assert blobs.get("a") is None
        assert blobs.create("a", b"second")

    def test_deleting_what_is_not_there_is_no_error(self, blobs: Blobs) -> None:
        blobs.delete("a")
        blobs.delete("a/b")
        blobs.delete_folder("a")

    def test_a_deleted_folder_takes_everything_below_it_and_nothing_beside(self, blobs: Blobs) -> None:
        for key in ("data/a/input", "data/a/results/0", "data/ab/input"):
            blobs.create(key, b"content", durable=False)
        blobs.delete_folder("data/a")
        assert list(blobs.list("data")) == ["data/ab/input"]

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_a_bad_key_is_refused_by_every_method(self, blobs: Blobs, key: str) -> None:
        for method in (blobs.get, blobs.open, blobs.exists, blobs.modified, blobs.delete, blobs.delete_folder):
            with pytest.raises(StoreError, match="is not a key"):
                method(key)
        for listing in (blobs.list, blobs.entries, blobs.folders):
            with pytest.raises(StoreError, match="is not a key"):
                list(listing(key))
        for write in (blobs.create, blobs.replace):
            with pytest.raises(StoreError, match="is not a key"):
                write(key, b"content")
        with pytest.raises(StoreError, match="is not a key"):
            blobs.get_range(key, 0, 1)

    def test_of_racing_creators_exactly_one_wins_and_its_bytes_stand(self, blobs: Blobs) -> None:
        for number in range(5):
            race(blobs, f"race/{number}")

    def test_objects_that_are_created_together_are_all_there(self, blobs: Blobs) -> None:
        blobs.create("b/2", b"somebody else's")
        blobs.create_all({"a/1": b"one", "b/2": b"two", "b/3": b"three"})
        assert [blobs.get(key) for key in ("a/1", "b/2", "b/3")] == [b"one", b"somebody else's", b"three"]

    def test_of_objects_that_are_created_together_none_stays_where_one_cannot_be(self, blobs: Blobs) -> None:
        with pytest.raises(StoreError):
            blobs.create_all({"a/1": b"one", "a//2": b"two"})
        assert not blobs.exists("a/1")

    def test_a_large_object_is_written_and_read_in_pieces(self, blobs: Blobs) -> None:
        piece = os.urandom(1 << 20)
        with blobs.writer("data/large") as writer:
            for _ in range(20):
                writer.write(piece)
            assert not blobs.exists("data/large")
            assert writer.commit()
        assert blobs.size("data/large") == 20 << 20
        assert blobs.sizes(["data/absent", "data/large"]) == (0, 20 << 20)
        assert blobs.get_range("data/large", (19 << 20) + 5, 1 << 20) == piece[5:]
