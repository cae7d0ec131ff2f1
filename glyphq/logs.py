"""How log records look, and which job and request they are about. Knows nothing of either.

As text they are lines for people; as JSON they are an object a line, with the same words in `message`. What is bound
here goes with every record of the same task or thread, and with those of what it has run in threads by
`asyncio.to_thread` or Starlette's `run_in_threadpool`.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TextIO

from pythonjsonlogger.json import JsonFormatter

_JOB_ID: ContextVar[str | None] = ContextVar("job_id", default=None)
_REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
_REPEAT_SECONDS = 60.0
_REMEMBERED = 1000  # different records
_BOUND = {"job_id": _JOB_ID, "request_id": _REQUEST_ID}


def set_up_logging(form: Literal["text", "json"]) -> None:
    """Write records from INFO on to standard error. Whatever is forked later writes like this."""
    handler = handler_of(form, sys.stderr)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    pool = logging.getLogger("multiprocessing")  # Celery's: it says of what a process died, and hands nothing on
    pool.addHandler(handler)
    pool.propagate = False


def handler_of(form: Literal["text", "json"], stream: TextIO) -> logging.Handler:
    """Writes records to `stream`, with what is bound; a warning that repeats once a minute, see `_Repeats`."""
    handler = logging.StreamHandler(stream)
    if form == "json":
        fields, names = ("levelname", "name", "message", "process"), {"levelname": "level", "name": "logger"}
        formatter: logging.Formatter = JsonFormatter(fields, rename_fields=names, timestamp="time")
    else:
        formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s%(bound)s")
    handler.setFormatter(formatter)
    handler.addFilter(_Repeats())
    handler.addFilter(_add_bound if form == "json" else _add_bound_text)
    return handler


def bind_job(job_id: str | None) -> None:
    """From now on, in this task or thread, records are about this job."""
    _JOB_ID.set(job_id)


def bind_request(request_id: str | None) -> None:
    """From now on, in this task or thread, records are about what this request handed in; None where it is unknown."""
    _REQUEST_ID.set(request_id)


@contextmanager
def bound(job_id: str | None, request_id: str | None = None) -> Iterator[None]:
    """Within, records are about this job, or about none. An error that leaves takes a note of it along."""
    tokens = _JOB_ID.set(job_id), _REQUEST_ID.set(request_id)
    try:
        yield
    except Exception as error:
        if job_id is not None:
            error.add_note(f"while at work on{_text(_known())}")
        raise
    finally:
        _JOB_ID.reset(tokens[0])
        _REQUEST_ID.reset(tokens[1])


def bound_request_id() -> str | None:
    return _REQUEST_ID.get()


class _Repeats(logging.Filter):
    """Of warnings and errors that are the same to the letter, lets through the first, and then one a minute, which says
    in `repeated` how many were like it since the one before.

    While Redis is down, every process would say so every few seconds in each of the places that ask it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[object, ...], tuple[float, int]] = {}  # when the last one was let through; those since

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        error = record.exc_info[1] if record.exc_info else None
        key = record.name, record.levelno, str(record.msg), repr(record.args), repr(error), *_known().values()
        written, repeated = self._last.get(key, (float("-inf"), 0))
        if abs(record.created - written) < _REPEAT_SECONDS:  # the clock may be set back
            self._last[key] = written, repeated + 1
            return False
        if len(self._last) >= _REMEMBERED:
            self._last.clear()
        self._last[key] = record.created, 0
        if repeated:
            record.__dict__["repeated"] = repeated
        return True


def _known() -> dict[str, str]:
    return {name: value for name, variable in _BOUND.items() if (value := variable.get()) is not None}


def _text(known: dict[str, str]) -> str:
    return f" [{' '.join(f'{name}={value}' for name, value in known.items())}]" if known else ""


def _add_bound(record: logging.LogRecord) -> bool:
    record.__dict__.update(_known())
    return True


def _add_bound_text(record: logging.LogRecord) -> bool:
    repeated = record.__dict__.get("repeated")
    record.__dict__["bound"] = _text(_known() | ({"repeated": str(repeated)} if repeated else {}))
    return True
