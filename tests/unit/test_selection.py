"""Some of a job's rows in some order, and what they come to."""

import numpy as np
import pyarrow as pa
import pytest

from glyphq import results, selection
from glyphq.jobs import Correction, Reason, Rejection, RowStatus, Sort
from glyphq.labels import LABELS
from glyphq.selection import Selection

# name, label, confidence; no label is blank, no name rejected
ROWS = [
    ("b/One.png", "1", 0.999), ("a/seven.png", "7", 0.40), ("a/blank.png", None, 0), ("c/O.png", "O", 0.55),
    ("c/zero.png", "0", 0.55), ("x.png", None, -1), ("a/last.png", "A", 1.0),
]  # fmt: skip
ADA = "ada"


def batch(rows: list[tuple[str, str | None, float]], first: int) -> pa.RecordBatch:
    statuses = [
        RowStatus.CLASSIFIED if label else RowStatus.REJECTED if confidence < 0 else RowStatus.BLANK
        for _, label, confidence in rows
    ]
    classes = np.array([[LABELS.index(label or "0"), 3] for _, label, _ in rows], np.uint8)
    confidences = np.array([[confidence, (1 - confidence) / 2] for *_, confidence in rows], np.float32)
    rejected = {i: Rejection.of(Reason.NOT_AN_IMAGE) for i, each in enumerate(statuses) if each is RowStatus.REJECTED}
    numbers = np.arange(first, first + len(rows), dtype=np.uint32)
    return results.build(numbers, [name for name, *_ in rows], statuses, classes, confidences, rejected)


@pytest.fixture
def table() -> pa.Table:
    """Two chunks."""
    return selection.table([batch(ROWS[:3], 0), batch(ROWS[3:], 3)], 2)


def corrected(table: pa.Table, **labels: str) -> pa.Table:
    """With the labels of rows `r1`, `r2`, ..."""
    given = {int(row[1:]): Correction(label, ADA, 1e9) for row, label in labels.items()}
    return selection.corrected(table, dict(sorted(given.items())))


def rows_of(table: pa.Table, **asked) -> list[int]:
    return Selection(**asked).of(table)[0]["row"].to_pylist()


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6]),
        ({"sort": Sort.CONFIDENCE}, [1, 3, 4, 0, 6, 2, 5]),
        ({"sort": Sort.FILENAME}, [2, 6, 1, 0, 3, 4, 5]),
        ({"labels": ("0", "O")}, [3, 4]),
        ({"statuses": (RowStatus.BLANK, RowStatus.REJECTED)}, [2, 5]),
        ({"min_confidence": 0.55}, [0, 3, 4, 6]),
        ({"max_confidence": 0.55}, [1, 3, 4]),
        ({"min_confidence": 0.5, "max_confidence": 0.9}, [3, 4]),
        ({"filename": "ONE"}, [0]),
        ({"filename": "a/", "statuses": (RowStatus.CLASSIFIED,)}, [1, 6]),
        ({"filename": ".*"}, []),
        ({"reviewed": False}, [0, 1, 2, 3, 4, 5, 6]),
        ({"reviewed": True}, []),
        ({"offset": 2, "limit": 3}, [2, 3, 4]),
        ({"sort": Sort.CONFIDENCE, "offset": 5}, [2, 5]),
        ({"offset": 100}, []),
    ],
)
def test_what_is_asked_for_is_what_comes(table: pa.Table, asked, rows) -> None:
    assert rows_of(corrected(table), **asked) == rows


def test_it_says_how_many_there_are_without_offset_and_limit(table: pa.Table) -> None:
    assert Selection(statuses=(RowStatus.CLASSIFIED,), offset=1, limit=2).of(corrected(table))[1] == 5


def test_a_persons_label_counts_where_there_is_one(table: pa.Table) -> None:
    looked_at = corrected(table, r3="0", r2="7", r1="7")
    assert rows_of(looked_at, labels=("0",)) == [3, 4]
    assert rows_of(looked_at, labels=("O",)) == []
    assert rows_of(looked_at, labels=("7",)) == [1, 2]
    assert rows_of(looked_at, reviewed=True) == [1, 2, 3]
    assert rows_of(looked_at, reviewed=False) == [0, 4, 5, 6]


def test_what_is_selected_still_has_every_form(table: pa.Table) -> None:
    chosen, _ = Selection(sort=Sort.CONFIDENCE, limit=3).of(corrected(table, r3="0"))
    text = b"".join(results.to_csv(each, 2) for each in chosen.to_batches()).decode()
    assert text.splitlines() == [
        "1,a/seven.png,7,0.4000,3,0.3000,classified,,,7,,",
        "3,c/O.png,O,0.5500,3,0.2250,classified,,,0,ada,2001-09-09T01:46:40Z",
        "4,c/zero.png,0,0.5500,3,0.2250,classified,,,0,,",
    ]


def test_a_job_without_rows_as_yet_can_be_asked_too() -> None:
    empty = corrected(selection.table([], 2))
    assert rows_of(empty, sort=Sort.CONFIDENCE, labels=("0",)) == []
    assert selection.summary(empty) == {"step": 0.005, "histogram": [], "labels": [], "reviewed": 0, "changed": 0}


def test_where_a_charset_has_fewer_characters_than_answers_are_asked_for_the_last_ones_are_missing() -> None:
    rows = corrected(selection.table([batch(ROWS[:3], 0), batch(ROWS[3:], 3)], 10))
    chosen, _ = Selection(sort=Sort.CONFIDENCE, limit=1).of(rows)
    (row,) = [row for each in chosen.to_batches() for row in results.to_row_dicts(each)]
    assert [each["label"] for each in row["top"]] == ["7", "3"]
    assert (
        selection.summary(rows)["histogram"]
        == selection.summary(corrected(selection.table([batch(ROWS, 0)], 2)))["histogram"]
    )


class TestSummary:
    def test_every_classified_row_is_in_one_step(self, table: pa.Table) -> None:
        histogram = selection.summary(corrected(table))["histogram"]
        assert [(each["confidence"], each["rows"]) for each in histogram] == [(0.4, 1), (0.55, 2), (0.995, 2)]

    def test_errors_are_expected_among_those_that_nobody_has_reviewed(self, table: pa.Table) -> None:
        before = selection.summary(corrected(table))
        after = selection.summary(corrected(table, r1="7", r3="0", r0="1"))
        assert [each["expected_errors"] for each in before["histogram"]] == [0.6, 0.9, 0.001]
        assert [each["expected_errors"] for each in after["histogram"]] == [0, 0.45, 0]
        assert [each["reviewed"] for each in after["histogram"]] == [1, 1, 1]

    def test_a_label_that_is_not_the_networks_is_a_change(self, table: pa.Table) -> None:
        found = selection.summary(corrected(table, r1="7", r3="0", r2="I"))
        assert (found["reviewed"], found["changed"]) == (3, 2)

    def test_labels_are_counted_as_they_are_in_the_end(self, table: pa.Table) -> None:
        found = selection.summary(corrected(table, r3="0", r5="ß"))["labels"]
        assert {each["label"]: each["rows"] for each in found} == {"0": 2, "1": 1, "7": 1, "A": 1, "ß": 1}
