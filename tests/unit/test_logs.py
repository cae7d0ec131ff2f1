"""How records look, and what goes with them."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest

from glyphq import logs


@contextmanager
def written(form: Literal["text", "json"]) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger, and what its records become."""
    stream, log = io.StringIO(), logging.Logger("some.module")  # noqa: LOG001  # one that nobody else has
    log.addHandler(logs.handler_of(form, stream))
    yield log, stream


def test_text_is_a_line_that_ends_with_what_is_bound() -> None:
    with written("text") as (log, stream):
        log.warning("nothing is bound")
        with logs.bound("job-1", "request-1"):
            log.warning("%d rows", 20)
    first, second = stream.getvalue().splitlines()
    assert first.endswith(" WARNING some.module: nothing is bound")
    assert second.endswith(" WARNING some.module: 20 rows [job_id=job-1 request_id=request-1]")


def test_json_is_an_object_a_line_whatever_the_message_holds() -> None:
    with written("json") as (log, stream), logs.bound("job-1", "request-1"):
        log.warning('two\nlines "quoted" \x1b[31m', extra={"seconds": 0.25})
    [line] = stream.getvalue().splitlines()
    record = json.loads(line)
    assert record.pop("time")
    assert record.pop("process") > 0
    assert record == {
        "level": "WARNING",
        "logger": "some.module",
        "message": 'two\nlines "quoted" \x1b[31m',
        "seconds": 0.25,
        "job_id": "job-1",
        "request_id": "request-1",
    }


def test_an_error_keeps_what_was_bound_where_it_arose() -> None:
    with written("json") as (log, stream):
        try:
            with logs.bound("job-1", "request-1"):
                int("no number")
        except ValueError:
            log.exception("a batch failed")
    record = json.loads(stream.getvalue())
    assert "job_id" not in record
    assert "ValueError: invalid literal" in record["exc_info"]
    assert "[job_id=job-1 request_id=request-1]" in record["exc_info"]


@pytest.mark.parametrize(("form", "says"), [("text", "[repeated=2]"), ("json", '"repeated": 2')])
def test_a_warning_that_repeats_is_written_once_a_minute_with_how_often(
    form: Literal["text", "json"], says: str
) -> None:
    def say(level: int, message: str, seconds: float = 0) -> None:
        fields = {"name": "some.module", "levelno": level, "msg": message, "created": 1.8e9 + seconds}
        log.handle(logging.makeLogRecord(fields))

    with written(form) as (log, stream):
        for second in range(3):
            say(logging.WARNING, "no Redis", second)
        assert len(stream.getvalue().splitlines()) == 1
        say(logging.WARNING, "no Redis", 61)
        say(logging.WARNING, "no store", 61)
        for _ in range(2):
            say(logging.INFO, "a line each")
    first, again, *others = stream.getvalue().splitlines()
    assert "repeated" not in first
    assert says in again
    assert len(others) == 3


def test_the_same_of_another_job_is_no_repetition() -> None:
    with written("text") as (log, stream):
        for job in ("job-1", "job-2"):
            with logs.bound(job):
                log.warning("damaged")
    assert len(stream.getvalue().splitlines()) == 2


def test_what_is_bound_within_ends_with_it() -> None:
    with written("json") as (log, stream), logs.bound("outer", "request-1"):
        with logs.bound(None):
            log.warning("of no job")
        log.warning("of the outer one")
    of_none, outer = map(json.loads, stream.getvalue().splitlines())
    assert "job_id" not in of_none
    assert "request_id" not in of_none
    assert (outer["job_id"], outer["request_id"]) == ("outer", "request-1")
