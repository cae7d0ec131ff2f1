"""What came of a job, for `Client` and `AsyncClient`: rows as records, as Arrow, in a file. Knows the API's routes;
does no I/O of its own but on the file it is given (see `steps`).

Connections break, and what comes through a proxy may end early as if it were whole. Rows that go on one after the other
are asked for from the first that is missing; what cannot be parted, as Parquet, is begun anew as long as more of it
comes than before.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict, Unpack, cast

import httpx

from glyphq.client.exchange import Patience, Service, answered, job_path, unreachable
from glyphq.client.steps import Flow, Give, Operation, Send, block, pause, read_piece
from glyphq.client.whole_rows import WholeRows
from glyphq.errors import InvalidOption, ServiceError, ServiceUnreachable, SetupError
from glyphq.jobs import RowStatus, Sort
from glyphq.records import Format, JobStatus, Row
from glyphq.whole_file import whole_file

if TYPE_CHECKING:
    import pyarrow as pa

FOLLOW_SECONDS = 60.0  # without a new row, after which it is asked again: the connection may be dead
_IN_ORDER = "corrected", "partial", "bom"  # what may be asked of rows that yet come one after the other


class Wanted(TypedDict, total=False):
    """Which rows, in which order, and with what; by default all, in the order of the archive."""

    sort: Sort | str  # row; confidence: the most doubtful first; filename
    label: str | Sequence[str]  # with one of these, or with the one that a person gave instead
    status: RowStatus | str | Sequence[RowStatus | str]  # classified, blank, rejected, cancelled
    min_confidence: float
    max_confidence: float
    filename: str  # with this in their file name, in any case of letters
    reviewed: bool  # that a person has given a label, or has not
    offset: int  # leave out so many of them
    limit: int  # at most so many
    corrected: bool  # with what people corrected: the final label, by whom and when
    partial: bool  # of a job that still runs, the rows there are
    bom: bool  # CSV with a byte order mark, by which Excel knows it is UTF-8


def rows(service: Service, job: JobStatus | str, **wanted: Unpack[Wanted]) -> Flow[Row]:
    """The rows of a job, one after the other; the keywords of glyphq.Wanted say which.

    Where the connection breaks, it goes on with the first row that is missing. ServiceUnreachable is raised when no row
    has come since the last time, or where corrections may have changed which rows there are (`reviewed`, `label`).
    Raises JobNotFinished for a job that still runs, unless `partial`.
    """
    reading = _Reading(job, wanted)
    while True:
        response = yield from answered(service, reading.request(Format.NDJSON))
        complete = _is_complete(service, response)
        lines = _Lines()
        try:
            while (piece := (yield from read_piece())) is not None:
                if found := lines.rows_in(piece):
                    reading.taken += len(found)
                    yield Give(found)
            if lines.rest or reading.lacks_some(response):
                raise _cut_short()
            return
        except httpx.RequestError as error:
            if reading.has_all:
                return
            if not (complete and reading.is_stable and reading.goes_on()):
                raise _broke_off(service, error) from error


def follow(service: Service, job: JobStatus | str, first_row: int = 0, *, corrected: bool = False) -> Flow[Row]:
    """Each row from `first_row` on when it is there, in order, until the job has ended: none twice, none left out,
    whatever becomes of the connection.

    Where the job is cancelled meanwhile, the rows given last may be cancelled ones in the end. Raises JobNotFound where
    it is deleted, and ServiceUnreachable.
    """
    patience = Patience(service)
    while True:
        params = {"format": "ndjson", "follow": "true", "first_row": str(first_row), **_texts({"corrected": corrected})}
        path = job_path(_id(job), "results")
        yield from answered(service, Send("GET", path, params, stream=True, read_seconds=FOLLOW_SECONDS))
        lines = _Lines()
        try:
            while (piece := (yield from read_piece())) is not None:
                if found := lines.rows_in(piece):
                    patience, first_row = Patience(service), found[-1].row + 1
                    yield Give(found)
            if lines.rest:
                raise _cut_short()
            return
        except httpx.ReadTimeout:  # as well from a connection that the network gave up
            patience = Patience(service)
            continue
        except httpx.RequestError as error:
            pause_seconds = patience.pause_seconds()
            if pause_seconds is None:
                raise unreachable(service, error) from error
        yield from pause(pause_seconds)


def download(
    service: Service,
    job: JobStatus | str,
    target: str | os.PathLike[str] | BinaryIO,
    format: Format | str | None = None,
    **wanted: Unpack[Wanted],
) -> Operation[bool]:
    """Write the results to a file, and return whether they are complete, as those of an ended job are.

    `target` is a path, where the file appears, or is replaced, only when it is whole, or a file open for writing bytes.
    `format` is csv, json, ndjson, parquet or zip (the scans, in a folder for each label); by default what the suffix of
    the path says, else csv. The keywords of glyphq.Wanted say which rows. Where the connection breaks, it goes on with
    the first row that is missing, or, where that cannot be and `target` is a path, begins anew; ServiceUnreachable is
    raised when no more has come than the last time. Raises JobNotFinished for a job that still runs, unless `partial`,
    and OSError.
    """
    if isinstance(target, str | os.PathLike):
        path = Path(target)
        with whole_file(path) as file:
            form = _format(format or Format.of_path(path))
            return (yield from _written(service, job, file, form, wanted, may_begin_anew=True))
    return (yield from _written(service, job, target, _format(format or Format.CSV), wanted))


def results(
    service: Service, job: JobStatus | str, format: Format | str = Format.CSV, **wanted: Unpack[Wanted]
) -> Operation[bytes]:
    """The bytes of `download`, in memory."""
    file = BytesIO()
    yield from _written(service, job, file, _format(format), wanted, may_begin_anew=True)
    return file.getvalue()


def arrow(service: Service, job: JobStatus | str, **wanted: Unpack[Wanted]) -> "Operation[pa.Table]":
    """The rows as a pyarrow.Table with the columns of the CSV; the keywords of glyphq.Wanted say which.

    Raises SetupError without pyarrow, and as `download`.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise SetupError("Arrow tables need the package pyarrow: pip install pyarrow") from None
    content = yield from results(service, job, Format.PARQUET, **wanted)
    table = yield from block(lambda: pq.read_table(BytesIO(content)))
    return table


def rows_in_memory(service: Service, job_id: str) -> Operation[list[Row]]:
    """All rows of an ended job."""
    content = yield from results(service, job_id, Format.NDJSON)
    return _Lines().rows_in(content)


def _written(
    service: Service,
    job: JobStatus | str,
    file: BinaryIO,
    form: Format,
    wanted: Wanted,
    *,
    may_begin_anew: bool = False,
) -> Operation[bool]:
    """`may_begin_anew`: the file is ours from its first byte, so that it may be emptied."""
    reading, furthest = _Reading(job, wanted), -1
    whole, in_rows = WholeRows(csv=form is Format.CSV), form in (Format.CSV, Format.NDJSON)
    while True:
        response = yield from answered(service, reading.request(form))
        complete, came = _is_complete(service, response), 0
        try:
            while (piece := (yield from read_piece())) is not None:
                came += len(piece)
                rows = whole.taken(piece) if in_rows else piece
                yield from block(partial(file.write, rows))
            reading.taken = whole.number
            if in_rows and (whole.is_cut or reading.lacks_some(response)):
                raise _cut_short()
            yield from block(partial(file.write, whole.rest))
            return complete
        except httpx.RequestError as error:
            if in_rows and complete and reading.in_order:
                goes_on = whole.resume()
                reading.taken = whole.number
            elif goes_on := may_begin_anew and came > furthest:
                furthest, whole, reading.taken = came, WholeRows(csv=form is Format.CSV), 0
                file.seek(0)
                file.truncate()
            if not goes_on:
                raise _broke_off(service, error) from error


@dataclass
class _Reading:
    """What is read of a job's results, and how many rows of it have been taken."""

    job: JobStatus | str
    wanted: Wanted
    taken: int = 0
    _resumed_at: int = field(default=-1, init=False)

    def __post_init__(self) -> None:
        self.wanted = cast("Wanted", {name: value for name, value in self.wanted.items() if value is not None})

    @property
    def in_order(self) -> bool:
        """Whether these are all rows in their order, of which the service gives those from a certain one on."""
        return all(name in _IN_ORDER for name in self.wanted)

    @property
    def is_stable(self) -> bool:
        """Whether corrections made meanwhile leave the same rows in the same order."""
        return "reviewed" not in self.wanted and "label" not in self.wanted

    @property
    def has_all(self) -> bool:
        """Whether no more are wanted."""
        return self.taken == self.wanted.get("limit")

    def lacks_some(self, response: httpx.Response) -> bool:
        """Whether fewer have been taken than there are, where the service says how many that is."""
        matching = response.headers.get("Glyphq-Matching", "")
        wanted = int(matching) - self.wanted.get("offset", 0) if matching.isdecimal() else 0
        return self.taken < min(wanted, self.wanted.get("limit", wanted))

    def goes_on(self) -> bool:
        """Whether rows have come since this was asked last."""
        came, self._resumed_at = self.taken > self._resumed_at, self.taken
        return came

    def request(self, form: Format) -> Send:
        """For the rows that have not been taken."""
        place: dict[str, Any] = {}
        if self.taken and self.in_order:
            place["first_row"] = self.taken
        elif self.taken:
            place["offset"] = self.wanted.get("offset", 0) + self.taken
            if "limit" in self.wanted:
                place["limit"] = self.wanted["limit"] - self.taken
        params = {"format": str(form), **_texts({**self.wanted, **place})}
        return Send("GET", job_path(_id(self.job), "results"), params, stream=True)


class _Lines:
    """NDJSON as it comes."""

    def __init__(self) -> None:
        self.rest = b""

    def rows_in(self, piece: bytes) -> list[Row]:
        """The rows that this piece completes."""
        *lines, self.rest = (self.rest + piece).split(b"\n")
        try:
            return [Row.from_json(json.loads(line)) for line in lines]
        except ValueError as error:
            raise ServiceError(f"The service answered with a row that is no JSON ({error}).") from error


def _format(format: Format | str) -> Format:
    try:
        return Format(str(format))
    except ValueError:
        raise InvalidOption("format", f"Results can be had as {', '.join(Format)}; not as {format!r}.") from None


def _texts(params: Any) -> dict[str, str | list[str]]:
    """As the address has them; what is None or False is left out, but for a choice between the two."""
    texts: dict[str, str | list[str]] = {}
    for name, value in params.items():
        if value is None or (value is False and name != "reviewed"):
            continue
        if isinstance(value, Sequence) and not isinstance(value, str):
            texts[name] = [str(each) for each in value]
        else:
            texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts


def _is_complete(service: Service, response: httpx.Response) -> bool:
    """Raises ServiceError for an answer that is not the service's, as that of a network that wants a login first."""
    complete = response.headers.get("Glyphq-Complete")
    if complete not in ("true", "false"):
        raise ServiceError(f"{service.url} does not answer as a glyphq service does (no results).")
    return bool(complete == "true")


def _cut_short() -> httpx.RemoteProtocolError:
    return httpx.RemoteProtocolError("the answer ended before the last row")


def _broke_off(service: Service, error: httpx.RequestError) -> ServiceUnreachable:
    return ServiceUnreachable(f"The connection to {service.url} broke within the results: {error}.")


def _id(job: JobStatus | str) -> str:
    return job.id if isinstance(job, JobStatus) else job
