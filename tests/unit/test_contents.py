"""Inputs that are stored as they are: their rows, and their content read back in as few ranges as may be."""

from glyphq.contents import contents
from glyphq.index import INDEX_SCHEMA, RAW, raw_batch
from glyphq.jobs import Reason, Rejection


def test_raw_inputs_are_rows_that_give_back_their_span() -> None:
    batch = raw_batch(["a.png", "b.png"], [0, 3], [3, 4], first_row=5)
    content = b"onefour"
    assert batch.schema == INDEX_SCHEMA
    assert batch.column("row").to_pylist() == [5, 6]
    assert batch.column("method").to_pylist() == [RAW, RAW]
    read = contents(batch, lambda start, length: content[start : start + length])
    assert [bytes(each) for each in read if not isinstance(each, Rejection)] == [b"one", b"four"]


def test_raw_inputs_of_no_bytes_are_rejected() -> None:
    reasons = raw_batch(["a.png", "b.png"], [0, 0], [0, 4]).column("reason").to_pylist()
    assert reasons == [Reason.EMPTY_FILE, None]


def test_raw_inputs_are_read_in_one_go_unless_far_apart() -> None:
    ranges = []

    def read(start: int, length: int) -> bytes:
        ranges.append((start, length))
        return bytes(range(256))[start : start + length]

    batch = raw_batch(["a", "b", "c", "d"], [0, 5, 9, 200_000], [5, 0, 3, 4])
    first, second, third, cut = contents(batch, read)
    assert (bytes(first), bytes(third)) == (b"\0\1\2\3\4", b"\x09\x0a\x0b")
    assert (second, cut) == (Rejection.of(Reason.EMPTY_FILE), Rejection.of(Reason.STORED_INPUT_DAMAGED))
    assert ranges == [(0, 12), (200_000, 4)]


def test_raw_inputs_may_be_none_at_all() -> None:
    assert raw_batch([], [], []).num_rows == 0
