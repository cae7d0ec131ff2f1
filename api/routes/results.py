"""What came of a job: its rows in every form, their pictures, what people correct. Each route validates, calls one
function, shapes the answer.
"""

import codecs
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import Annotated, Any, Literal
from urllib.parse import quote

import pyarrow as pa
from fastapi import Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from api.edge.bodies import read_body
from api.problems import responses
from api.reading.sorted_zip import sorted_zip
from api.routes.dependencies import By, JobId, Served, StreamPlace, guarded_router
from api.schemas import CorrectionGiven, CorrectionView, SummaryView
from glyphq import results, selection
from glyphq.errors import (
    DamagedObject,
    InvalidOption,
    InvalidRequest,
    JobFailed,
    JobNotFinished,
    JobNotFound,
    LimitExceeded,
    NoPicture,
    Overloaded,
    RowNotFound,
    SetupError,
    StoreError,
    StoreFull,
    UploadInterrupted,
    UploadTooSlow,
)
from glyphq.jobs import MAX_LABEL_CHARACTERS, Correction, Job, RowStatus, Sort, View
from glyphq.selection import Selection

router = guarded_router()

Format = Literal["csv", "json", "ndjson", "parquet", "zip"]
_MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "zip": "application/zip",
}
_FILE_EXAMPLE = {"schema": {"type": "string", "format": "binary"}, "example": "(the file)"}
_MAX_CORRECTION_BYTES = 1024
_MOST_ROWS = 2**53  # beyond any job; the largest number that every reader of JSON keeps
_PIECE_ROWS = 1024
Row = Annotated[int, Path(description="The row's number, from 0.", examples=[0])]

_ROW_EXAMPLE = {
    "row": 0,
    "filename": "a/1.png",
    "status": "classified",
    "label": "7",
    "confidence": 0.9987,
    "top": [{"label": "7", "confidence": 0.9987}, {"label": "1", "confidence": 0.0009}],
    "reason": None,
    "detail": None,
}
_RESULTS_EXAMPLES: dict[str, Any] = {
    "text/csv": {
        "schema": {"type": "string"},
        "example": "row,filename,label,confidence,label_2,confidence_2,status,reason,detail\n"
        "0,a/1.png,7,0.9987,1,0.0009,classified,,\n",
    },
    "application/json": {
        "schema": {"type": "object"},
        "example": {"job": "019ae2f0-6c1f-7d52-b9a5-3a7a1c0d9a11", "complete": True, "results": [_ROW_EXAMPLE]},
    },
    "application/x-ndjson": {"schema": {"type": "string"}, "example": json.dumps(_ROW_EXAMPLE) + "\n"},
    **{_MEDIA_TYPES[form]: _FILE_EXAMPLE for form in ("parquet", "zip")},
}


class ResultsQuery(BaseModel):
    """Which rows, in which order and form."""

    model_config = ConfigDict(extra="forbid")

    format: Format | None = Field(
        None, description="Else the Accept header decides; else CSV. `zip`: the scans, in a folder for each label."
    )
    corrected: bool = Field(
        False, description="With what people corrected: the final label, by whom and when. A zip goes by it always."
    )
    partial: bool = Field(False, description="Of a running job, the rows there are.")
    follow: bool = Field(
        False,
        description="Of a running job, each row when it is there, until the end: CSV or NDJSON. Where the job is "
        "cancelled meanwhile, rows that came last may be cancelled ones in the end; corrections are the beginning's.",
    )
    first_row: int = Field(
        0,
        ge=0,
        le=_MOST_ROWS,
        description="Rows from this one on; CSV has its line of names only from 0. To resume with.",
    )
    bom: bool = Field(False, description="CSV with a byte order mark, by which Excel knows it is UTF-8.")
    sort: Sort = Field(Sort.ROW, description="By row, by confidence with the most doubtful first, or by file name.")
    label: list[Annotated[str, Field(max_length=MAX_LABEL_CHARACTERS)]] = Field(
        [], description="Rows with this label, or the one a person gave instead; may be repeated."
    )
    status: list[RowStatus] = Field([], description="Rows with this status; may be repeated.")
    min_confidence: float | None = Field(None, ge=0, le=1, description="Rows with this confidence or more.")
    max_confidence: float | None = Field(None, ge=0, le=1, description="Rows with this confidence or less.")
    filename: str | None = Field(
        None, description="Rows with this in their file name, in any case.", min_length=1, max_length=200
    )
    reviewed: bool | None = Field(None, description="Rows that a person has given a label, or has not.")
    offset: int = Field(0, ge=0, le=_MOST_ROWS, description="Leave out so many of them.")
    limit: int | None = Field(None, ge=1, le=_MOST_ROWS, description="At most so many.")

    def check(self, form: Format) -> None:
        """Raises InvalidOption for what does not go together."""
        some = self.selection != Selection()
        if self.follow and (some or form not in ("csv", "ndjson")):
            raise InvalidOption("follow", "follow=true gives all rows in order, as csv or ndjson.")
        if self.first_row and (some or form in ("parquet", "zip")):
            raise InvalidOption(
                "first_row", "first_row is to resume csv, json or ndjson with; else use offset and limit."
            )

    @property
    def selection(self) -> Selection:
        """Those in `rows` that are asked for."""
        return Selection(
            sort=self.sort,
            labels=tuple(self.label),
            statuses=tuple(self.status),
            min_confidence=self.min_confidence,
            max_confidence=self.max_confidence,
            filename=self.filename,
            reviewed=self.reviewed,
            offset=self.offset,
            limit=self.limit,
        )


@router.get(
    "/v1/jobs/{job_id}/results",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The rows. The header `Glyphq-Complete` says whether the job has ended, so that no row is "
            "missing; `Glyphq-Matching` how many rows there are, without offset and limit where some are asked for.",
            "content": _RESULTS_EXAMPLES,
            "headers": {
                "Glyphq-Complete": {"schema": {"type": "string", "enum": ["true", "false"]}},
                "Glyphq-Matching": {"schema": {"type": "integer"}},
            },
        },
        **responses(
            LimitExceeded, JobNotFound, JobNotFinished, JobFailed, InvalidOption, DamagedObject, Overloaded, StoreError
        ),
    },
)
async def get_results(
    service: Served,
    caller: By,
    job_id: JobId,
    query: Annotated[ResultsQuery, Query()],
    _: StreamPlace,
    accept: Annotated[str, Header(description=", ".join(media.split(";")[0] for media in _MEDIA_TYPES.values()))] = "",
) -> StreamingResponse:
    """A job's rows, all or some, as CSV, JSON, NDJSON or Parquet, or its scans as a zip."""
    accepted: list[Format] = [name for name, media in _MEDIA_TYPES.items() if media.split(";")[0] in accept]
    chosen: Format = query.format or (accepted[0] if accepted else "csv")
    query.check(chosen)
    job = await run_in_threadpool(service.job, caller.owner, job_id)
    top_k = job.options.top_k
    headers = {"Content-Disposition": f'attachment; filename="{job.id}.{chosen}"'}
    head = b""
    if query.first_row == 0:
        head = (codecs.BOM_UTF8 if query.bom else b"") + results.csv_header(top_k, corrected=query.corrected)
    given = await run_in_threadpool(service.corrections.of, job) if query.corrected else None
    body: Iterator[bytes] | AsyncIterator[bytes]
    if query.follow:
        await run_in_threadpool(service.rows, job, partial=True, first_row=query.first_row)  # what is wrong is said now
        body = _followed(service.follow(job, query.first_row), chosen, top_k, head, given)
        return _Followed(body, media_type=_MEDIA_TYPES[chosen], headers=headers)
    rows: Iterable[pa.RecordBatch]
    if chosen == "zip" or query.selection != Selection():
        end, table, matching = await service.table(job, partial=query.partial, wanted=query.selection)
        headers["Glyphq-Matching"] = str(matching)
        rows = table.drop_columns([] if query.corrected else list(results.CORRECTED)).to_batches(_PIECE_ROWS)
    else:
        end, rows = await run_in_threadpool(service.rows, job, partial=query.partial, first_row=query.first_row)
        rows = rows if given is None else (results.with_corrections(batch, given) for batch in rows)
        if end is not None:
            headers["Glyphq-Matching"] = str(job.total)
    headers["Glyphq-Complete"] = str(end is not None).lower()
    if chosen == "csv":
        body = chain([head], (results.to_csv(batch, top_k) for batch in rows))
    elif chosen == "ndjson":
        body = map(results.to_ndjson, rows)
    elif chosen == "parquet":
        body = results.to_parquet(rows, top_k, corrected=query.corrected)
    elif chosen == "zip":
        body = sorted_zip(service.ledger, job, table, service.settings.max_zip_rows)
    else:
        body = _json_body(job, rows, complete=end is not None)
    return StreamingResponse(body, media_type=_MEDIA_TYPES[chosen], headers=headers)


class _Followed(StreamingResponse):
    """Where the service stops it has no proper end, so that nobody takes what has come for all there is."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(Overloaded):
            await super().__call__(scope, receive, send)


async def _followed(
    batches: AsyncIterator[pa.RecordBatch],
    chosen: Format,
    top_k: int,
    head: bytes,
    given: Mapping[int, Correction] | None,
) -> AsyncIterator[bytes]:
    if chosen == "csv":
        yield head
    async for batch in batches:
        rows = batch if given is None else results.with_corrections(batch, given)
        yield results.to_csv(rows, top_k) if chosen == "csv" else results.to_ndjson(rows)


def _json_body(job: Job, rows: Iterable[pa.RecordBatch], *, complete: bool) -> Iterator[bytes]:
    yield f'{{"job": "{job.id}", "complete": {str(complete).lower()}, "results": ['.encode()
    separator = b""
    for batch in filter(len, rows):
        lines = results.to_ndjson(batch).removesuffix(b"\n")
        yield separator + lines.replace(b"\n", b",\n")
        separator = b",\n"
    yield b"]}\n"


@router.get(
    "/v1/jobs/{job_id}/summary",
    responses=responses(JobNotFound, JobFailed, DamagedObject, StoreError),
)
async def get_summary(service: Served, caller: By, job_id: JobId) -> SummaryView:
    """How sure the network was of the rows there are, and how far people have looked at them."""
    job = await run_in_threadpool(service.job, caller.owner, job_id)
    end, rows, _ = await service.table(job, partial=True)
    found = await run_in_threadpool(selection.summary, rows)
    return SummaryView(job=job.id, complete=end is not None, **found)


_PICTURE_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, max-age=3600",
    "Vary": "Authorization",  # or a browser would show it to the next who shows another key
}


@router.get(
    "/v1/jobs/{job_id}/items/{row}/image",
    response_class=Response,
    responses={
        200: {
            "description": "A PNG for `view=model`; else the file as it is, its type told by its bytes.",
            "content": {
                **{f"image/{form}": _FILE_EXAMPLE for form in ("png", "jpeg", "webp", "tiff", "bmp")},
                "application/octet-stream": _FILE_EXAMPLE,
            },
        },
        **responses(JobNotFound, RowNotFound, NoPicture, JobFailed, InvalidOption, DamagedObject, StoreError,
                    SetupError),
    },
)  # fmt: skip
async def get_image(
    service: Served,
    caller: By,
    job_id: JobId,
    row: Row,
    view: Annotated[
        View, Query(description=" ".join(f"{view.value}: {view.sentence}" for view in View))
    ] = View.ORIGINAL,
) -> Response:
    """One input of a job, as it was handed in or as the network saw it, whatever the job's state."""
    job = await run_in_threadpool(service.job, caller.owner, job_id)
    image = await (service.images.model(job, row) if view is View.MODEL else service.images.original(job, row))
    media_type = f"image/{image.format}" if image.format else "application/octet-stream"
    disposition = _disposition("inline" if image.format else "attachment", image.name)
    return Response(image.content, 200, {**_PICTURE_HEADERS, "Content-Disposition": disposition}, media_type)


_CORRECTION_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": CorrectionGiven.model_json_schema(), "example": {"label": "7"}},
        },
    }
}


@router.put(
    "/v1/jobs/{job_id}/items/{row}/correction",
    openapi_extra=_CORRECTION_BODY,
    responses=responses(
        InvalidRequest, InvalidOption, UploadInterrupted, UploadTooSlow, LimitExceeded, JobNotFound, RowNotFound,
        JobFailed, StoreError, StoreFull,
    ),
)  # fmt: skip
async def put_correction(request: Request, service: Served, caller: By, job_id: JobId, row: Row) -> CorrectionView:
    """Say what is on a scan. It is kept beside what the network said, and may be the same; the last word stands."""
    job = await run_in_threadpool(service.job, caller.owner, job_id)
    body = await read_body(request, service.settings, "correction_bytes", _MAX_CORRECTION_BYTES)
    try:
        label = CorrectionGiven.model_validate_json(body).label
    except ValidationError:
        raise InvalidRequest('The body has to be an object with a label: {"label": "7"}.') from None
    correction = await run_in_threadpool(service.correct, job, row, label, caller.name)
    return CorrectionView.of(row, correction)


@router.delete(
    "/v1/jobs/{job_id}/items/{row}/correction",
    status_code=204,
    responses=responses(InvalidOption, JobNotFound, RowNotFound, JobFailed, StoreError),
)
def delete_correction(service: Served, caller: By, job_id: JobId, row: Row) -> Response:
    """Take it back: the network's word stands again."""
    job = service.job(caller.owner, job_id)
    job.require_row(row)
    service.corrections.delete(job, row)
    return Response(status_code=204)


def _disposition(kind: str, name: str) -> str:
    """RFC 6266: the name in plain ASCII, and encoded where that is not all of it."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    encoded = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'{kind}; filename="{plain}"{encoded}'
