"""What a row looks like in each form."""

import csv
import io
import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyphq.jobs import Counts, Model, Reason, Rejection, RowStatus, Sign
from glyphq.results import (
    build,
    cancelled,
    counts,
    csv_header,
    deserialize,
    model_of,
    result_schema,
    serialize,
    to_csv,
    to_ndjson,
    to_row_dicts,
)

MODEL = Model("sha256:abc", "torch 2.13.0")


def four_rows() -> pa.RecordBatch:
    """One of each kind that a worker makes, and a second classified one."""
    return build(
        np.array([7, 8, 9, 10], np.uint32),
        ["a.png", "blank.png", "notes.txt", "b.png"],
        [RowStatus.CLASSIFIED, RowStatus.BLANK, RowStatus.REJECTED, RowStatus.CLASSIFIED],
        np.array([[10, 36], [0, 0], [0, 0], [46, 1]], np.uint8),
        np.array([[0.98766, 0.01], [0, 0], [0, 0], [1.0, 0.00004]], np.float32),
        {2: Rejection.of(Reason.NOT_AN_IMAGE)},
    )


def mixed_rows() -> pa.RecordBatch:
    """Rows of a charset of three, of one, and a blank."""
    nan = float("nan")
    return build(
        np.arange(3, dtype=np.uint32),
        ["a.png", "1.png", "blank.png"],
        [RowStatus.CLASSIFIED, RowStatus.CLASSIFIED, RowStatus.BLANK],
        np.array([[10, 11, 12], [0, 0, 0], [0, 0, 0]], np.uint8),
        np.array([[0.9, 0.06, 0.04], [1, nan, nan], [nan, nan, nan]], np.float32),
        {},
    )


def named(filename: str) -> pa.RecordBatch:
    return cancelled(np.zeros(1, np.uint32), [filename], 1)


def csv_text_of(filename: str) -> str:
    """The filename column as it stands in the CSV, quotes and all."""
    line = to_csv(named(filename), 1).decode()
    return line.removeprefix("0,").removesuffix(f",,,cancelled,,{RowStatus.CANCELLED.sentence}\n")


def read_csv(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))


class TestCsv:
    def test_has_a_header_and_a_line_for_each_row(self) -> None:
        assert (csv_header(2) + to_csv(four_rows(), 2)).decode() == (
            "row,filename,label,confidence,label_2,confidence_2,status,reason,detail\n"
            "7,a.png,A,0.9877,a,0.0100,classified,,\n"
            "8,blank.png,,,,,blank,,\n"
            '9,notes.txt,,,,,rejected,not_an_image,"The bytes are not a PNG, JPEG, WebP, TIFF or BMP image."\n'
            "10,b.png,t,1.0000,1,0.0000,classified,,\n"
        )

    def test_of_no_rows_is_nothing(self) -> None:
        assert to_csv(four_rows().slice(0, 0), 1) == b""

    def test_leaves_label_columns_empty_that_a_charset_does_not_fill(self) -> None:
        lines = read_csv(csv_header(3) + to_csv(four_rows(), 3))
        assert lines[0][6:8] == ["label_3", "confidence_3"]
        assert lines[1][4:8] == ["a", "0.0100", "", ""]

    def test_leaves_label_columns_empty_that_a_rows_own_charset_does_not_fill(self) -> None:
        assert to_csv(mixed_rows(), 3).decode() == (
            "0,a.png,A,0.9000,B,0.0600,C,0.0400,classified,,\n"
            "1,1.png,0,1.0000,,,,,classified,,\n"
            "2,blank.png,,,,,,,blank,,\n"
        )

    def test_of_a_slice_has_the_rows_of_the_slice(self) -> None:
        lines = to_csv(four_rows(), 2).splitlines(keepends=True)
        assert to_csv(four_rows().slice(2, 2), 2) == b"".join(lines[2:])

    @pytest.mark.parametrize("filename", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "=ж", " =1", "\u200b=1", "\uff1d1"])
    def test_makes_formulas_harmless(self, filename: str) -> None:
        assert csv_text_of(filename) == "'" + filename

    def test_makes_formulas_harmless_where_another_spreadsheet_sees_a_field_begin(self) -> None:
        assert csv_text_of("a;=1;b\t-1") == "a;'=1;b\t'-1"
        assert csv_text_of("a\n @x") == '"a\n\' @x"'

    def test_makes_a_formula_after_a_carriage_return_harmless(self) -> None:
        assert csv_text_of("\r=1") == "\"'\r'=1\""

    @pytest.mark.parametrize("filename", ["a=b.png", "a-b+c@d.png", "буква 1.png", "'a", "a;b", "a =1"])
    def test_leaves_other_text_as_it_is(self, filename: str) -> None:
        assert csv_text_of(filename) == filename

    @pytest.mark.parametrize(
        ("filename", "written"),
        [("a,b", '"a,b"'), ('a"b', '"a""b"'), ("a\r\nb", '"a\r\nb"'), ('=f("x",1)', '"\'=f(""x"",1)"')],
    )
    def test_quotes_only_where_needed(self, filename: str, written: str) -> None:
        assert csv_text_of(filename) == written

    @pytest.mark.parametrize("control", ["\0", "\x08", "\x1b", "\x7f", "\x9b"])
    def test_replaces_characters_that_command_a_terminal_or_end_a_string(self, control: str) -> None:
        assert csv_text_of(f"a{control}b") == "a\ufffdb"

    def test_makes_details_harmless_too(self) -> None:
        row, classes, confidences = np.zeros(1, np.uint32), np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.float32)
        rejections = {0: Rejection(Reason.DAMAGED_IMAGE, "=x")}
        batch = build(row, ["a"], [RowStatus.REJECTED], classes, confidences, rejections)
        assert to_csv(batch, 1) == b"0,a,,,rejected,damaged_image,'=x\n"

    @given(filename=st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\r\n\t")))
    def test_reads_back_as_it_was_but_for_the_apostrophe(self, filename: str) -> None:
        ((_, read, *others),) = read_csv(to_csv(named(filename), 1))
        assert read.replace("'", "") == filename.replace("'", "")
        assert read == filename or re.search(
            r"(^|[;\t\r\n])[^a-z0-9]*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]", filename
        )
        assert others == ["", "", "cancelled", "", RowStatus.CANCELLED.sentence]


class TestJson:
    def test_rows_have_the_shape_of_the_api(self) -> None:
        rejected: dict[str, Any] = {"label": None, "confidence": None, "top": []}
        assert to_row_dicts(four_rows()) == [
            {
                "row": 7,
                "filename": "a.png",
                "status": "classified",
                "label": "A",
                "confidence": 0.9877,
                "top": [{"label": "A", "confidence": 0.9877}, {"label": "a", "confidence": 0.01}],
                "reason": None,
                "detail": None,
            },
            {"row": 8, "filename": "blank.png", "status": "blank", "reason": None, "detail": None, **rejected},
            {
                "row": 9,
                "filename": "notes.txt",
                "status": "rejected",
                "reason": "not_an_image",
                "detail": Reason.NOT_AN_IMAGE.sentence,
                **rejected,
            },
            {
                "row": 10,
                "filename": "b.png",
                "status": "classified",
                "label": "t",
                "confidence": 1.0,
                "top": [{"label": "t", "confidence": 1.0}, {"label": "1", "confidence": 0.0}],
                "reason": None,
                "detail": None,
            },
        ]

    def test_lines_are_the_same_rows(self) -> None:
        lines = to_ndjson(four_rows()).decode().split("\n")
        assert lines.pop() == ""
        assert [json.loads(line) for line in lines] == to_row_dicts(four_rows())

    def test_rows_have_as_many_answers_as_their_own_charset_has(self) -> None:
        lines = [json.loads(line) for line in to_ndjson(mixed_rows()).splitlines()]
        assert [[answer["label"] for answer in line["top"]] for line in lines] == [["A", "B", "C"], ["0"], []]
        assert [line["label"] for line in lines] == ["A", "0", None]
        assert to_row_dicts(mixed_rows().slice(1)) == lines[1:]

    def test_a_line_break_in_a_name_does_not_break_the_line(self) -> None:
        line = to_ndjson(named("a\n=b\0ж")).decode()
        assert line.count("\n") == 1
        assert json.loads(line)["filename"] == "a\n=b\0ж"

    def test_of_no_rows_is_nothing(self) -> None:
        assert to_row_dicts(four_rows().slice(0, 0)) == []
        assert to_ndjson(four_rows().slice(0, 0)) == b""

    def test_confidences_are_those_of_the_csv(self) -> None:
        confidences = np.random.default_rng(1).random((500, 1), np.float32)
        confidences[:3, 0] = [0.00005, 0.99995, 0.12345]
        classes = np.zeros((500, 1), np.uint8)
        batch = build(
            np.arange(500, dtype=np.uint32), ["x"] * 500, [RowStatus.CLASSIFIED] * 500, classes, confidences, {}
        )
        in_csv = [line[3] for line in read_csv(to_csv(batch, 1))]
        assert [f"{row['confidence']:.4f}" for row in to_row_dicts(batch)] == in_csv


class TestArrow:
    def test_survives_being_written_and_read_with_its_model(self) -> None:
        batch, model = deserialize(serialize(four_rows(), MODEL))
        assert batch.equals(four_rows())
        assert model == model_of(batch.schema) == MODEL

    def test_answers_that_a_row_does_not_have_are_null(self) -> None:
        batch, _ = deserialize(serialize(mixed_rows(), MODEL))
        assert batch.column("labels").to_pylist() == [[10, 11, 12], [0, None, None], None]
        assert batch.equals(mixed_rows())
        assert batch.schema.remove_metadata() == result_schema(3)

    def test_is_written_as_short_as_its_slice(self) -> None:
        batch, _ = deserialize(serialize(four_rows().slice(2, 1), MODEL))
        assert to_row_dicts(batch) == to_row_dicts(four_rows())[2:3]

    def test_of_other_bytes_is_refused(self) -> None:
        with pytest.raises(pa.ArrowInvalid):
            deserialize(b"not an Arrow stream")

    def test_without_a_model_has_none_to_tell(self) -> None:
        with pytest.raises(KeyError):
            model_of(result_schema(3))

    def test_rows_that_are_not_classified_have_null_lists(self) -> None:
        assert four_rows().column("labels").to_pylist() == [[10, 36], None, None, [46, 1]]
        assert four_rows().schema == result_schema(2)

    @pytest.mark.parametrize("rejections", [{}, {0: Rejection.of(Reason.ENCRYPTED), 1: Rejection.of(Reason.ENCRYPTED)}])
    def test_is_not_built_where_rejections_and_statuses_disagree(self, rejections: dict[int, Rejection]) -> None:
        classes, confidences = np.zeros((2, 1), np.uint8), np.zeros((2, 1), np.float32)
        with pytest.raises(ValueError, match="rejection"):
            build(
                np.zeros(2, np.uint32),
                ["a", "b"],
                [RowStatus.BLANK, RowStatus.REJECTED],
                classes,
                confidences,
                rejections,
            )


def test_signs_and_doubts_are_counted_of_classified_rows_alone() -> None:
    batch = build(
        np.arange(6, dtype=np.uint32),
        list("abcdef"),
        [RowStatus.CLASSIFIED] * 4 + [RowStatus.BLANK] * 2,
        np.zeros((6, 1), np.uint8),
        np.array([[0.9], [0.49], [0.5], [0.3], [0.1], [0.1]], np.float32),
        {},
        np.array([Sign.NONE, Sign.INVERTED, Sign.SEVERAL, Sign.SEVERAL, Sign.INVERTED, Sign.SEVERAL], np.uint8),
    )
    kept, _ = deserialize(serialize(batch, MODEL))
    assert counts(kept) == Counts(total=6, classified=4, blank=2, doubtful=2, inverted=1, several=2)


def test_counts_add_up() -> None:
    assert counts(four_rows()) == Counts(total=4, classified=2, blank=1, rejected=1)
    assert counts(four_rows()).pending == 0
    assert counts(four_rows().slice(0, 0)) == Counts(total=0)


def test_rows_that_were_never_reached_are_cancelled_rows() -> None:
    batch = cancelled(np.array([3, 4], np.uint32), pa.array(["a", "b"]), 3)
    assert counts(batch) == Counts(total=2, cancelled=2)
    assert batch.schema == result_schema(3)
    assert to_csv(batch, 3).decode() == (
        f"3,a,,,,,,,cancelled,,{RowStatus.CANCELLED.sentence}\n4,b,,,,,,,cancelled,,{RowStatus.CANCELLED.sentence}\n"
    )
