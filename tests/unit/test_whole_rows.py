"""What may be written of a download that breaks off anywhere, and what is missing then."""

import csv
import io
import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from glyphq.client.whole_rows import WholeRows

NAMES = st.lists(st.text(st.sampled_from('a"\n\r,\\'), max_size=4), min_size=1, max_size=6)
CUTS = st.lists(st.integers(0, 300), max_size=5)


def as_csv(names: list[str], first: int = 0) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([["row", "name"], *enumerate(names)][first and first + 1 :])
    return text.getvalue().encode()


def as_ndjson(names: list[str], first: int = 0) -> bytes:
    return b"".join(json.dumps(name).encode() + b"\n" for name in names[first:])


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(at)]


@given(NAMES, CUTS)
def test_csv_comes_out_as_it_came_in_however_it_is_cut(names: list[str], cuts: list[int]) -> None:
    rows = WholeRows(csv=True)
    written = b"".join(map(rows.taken, pieces(as_csv(names), cuts)))
    assert written == as_csv(names)
    assert (rows.number, rows.rest) == (len(names), b"")


@given(NAMES, st.lists(st.tuples(st.integers(0, 100), CUTS), max_size=4))
def test_csv_that_breaks_off_goes_on_with_the_first_row_that_is_missing(
    names: list[str], breaks: list[tuple[int, list[int]]]
) -> None:
    rows, written = WholeRows(csv=True), b""
    for length, cuts in breaks:
        written += b"".join(map(rows.taken, pieces(as_csv(names, rows.number)[:length], cuts)))
        assert written == b"" or written == as_csv(names)[: len(written)]
        rows.resume()
    if rows.number < len(names):
        written += rows.taken(as_csv(names, rows.number))
    assert written == as_csv(names)


@given(NAMES, CUTS, st.integers(0, 100))
def test_ndjson_that_breaks_off_goes_on_with_the_first_row_that_is_missing(
    names: list[str], cuts: list[int], length: int
) -> None:
    rows = WholeRows(csv=False)
    written = b"".join(map(rows.taken, pieces(as_ndjson(names)[:length], cuts)))
    rows.resume()
    assert written + rows.taken(as_ndjson(names, rows.number)) == as_ndjson(names)


def test_it_is_resumed_for_as_long_as_rows_come() -> None:
    rows = WholeRows(csv=False)
    assert rows.resume()
    assert not rows.resume()
    rows.taken(b"{}\n{")
    assert rows.resume()
    assert not rows.resume()
