"""Jobs: hand in, list, follow, cancel, erase; and the secret that signs their callbacks."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.intake.receiving import receive
from api.intake.uploads import Upload
from api.problems import responses
from api.routes.dependencies import By, JobId, Prefer, Served, StreamPlace, guarded_router
from api.schemas import JOB_EXAMPLE, CallbackSecret, JobPage, JobView, RowView
from glyphq import results
from glyphq.charset_rules import MAX_MATCHED_CHARACTERS, MAX_RULE_CHARACTERS, MAX_RULES
from glyphq.errors import (
    EmptyInput,
    IdempotencyMismatch,
    InvalidArchive,
    InvalidOption,
    InvalidRequest,
    JobAlreadyEnded,
    JobFailed,
    JobNotFound,
    LimitExceeded,
    Overloaded,
    StoreError,
    StoreFull,
    UnsupportedInput,
    UploadInterrupted,
    UploadTooSlow,
)
from glyphq.jobs import FILENAME_ENCODINGS, MAX_TOP_K, Invert, JobState, Options
from glyphq.labels import NAMED_CHARSETS

router = guarded_router()
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_SUBMISSION = {
    "requestBody": {
        "required": True,
        "description": "A zip or one image as it is, a form with one or more files, or EMNIST pixel rows.",
        "content": {
            "application/zip": _BINARY,
            "image/*": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        **{option: {"type": "string"} for option in Options.__dataclass_fields__},
                        "charset_rules": {"type": "array", "items": {"type": "string"}},
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "additionalProperties": False,
                    "properties": {
                        "images": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "array",
                                "minItems": 784,
                                "maxItems": 784,
                                "items": {"type": "number", "minimum": 0, "maximum": 255},
                            },
                        }
                    },
                },
                "example": {"images": [[0] * 784]},
            },
        },
    }
}


async def _query_options(
    name: Annotated[str | None, Query(description="A name to find the job by.", min_length=1)] = None,
    top_k: Annotated[str | None, Query(description=f"Answers a row, 1 to {MAX_TOP_K}.", examples=["3"])] = None,
    charset: Annotated[
        str | None,
        Query(
            description=f"What can occur: {', '.join(NAMED_CHARSETS)}, or any string of classes.", examples=["digits"]
        ),
    ] = None,
    invert: Annotated[
        str | None, Query(description=f"Light ink on a dark ground: {', '.join(Invert)}.", examples=["auto"])
    ] = None,
    filename_encoding: Annotated[
        str | None,
        Query(
            description=f"Of names in a zip that are not marked as UTF-8: {', '.join(FILENAME_ENCODINGS)}.",
            examples=["cp866"],
        ),
    ] = None,
    callback_url: Annotated[
        str | None,
        Query(
            description="Where to POST that the job has ended, signed with the secret of `/v1/callback-secret` as "
            "https://www.standardwebhooks.com says; tried again for days.",
            examples=["https://example.org/glyphq"],
        ),
    ] = None,
) -> dict[str, str]:
    given = {
        "name": name,
        "top_k": top_k,
        "charset": charset,
        "invert": invert,
        "filename_encoding": filename_encoding,
        "callback_url": callback_url,
    }
    return {option: value for option, value in given.items() if value is not None}


@router.post(
    "/v1/jobs",
    status_code=202,
    response_model=JobView,
    response_model_exclude_unset=True,
    openapi_extra=_SUBMISSION,
    responses={
        202: {"description": "Accepted and durable; `Location` is the job.", "headers": {"Location": {"schema":
        {"type": "string"}}}},
        200: {"model": JobView, "description": "Waited for (`Prefer: wait=N`) and ended."},
        **responses(
            InvalidRequest, UploadInterrupted, UploadTooSlow, LimitExceeded, Overloaded, UnsupportedInput, EmptyInput,
            InvalidArchive, InvalidOption, IdempotencyMismatch, StoreError, StoreFull,
        ),
    },
)  # fmt: skip
async def submit(
    request: Request,
    service: Served,
    caller: By,
    query: Annotated[dict[str, str], Depends(_query_options)],
    charset_rules: Annotated[
        list[str],
        Query(
            description="`GLOB=CHARSET`, may be repeated: what can occur on scans whose file name matches the glob. "
            "The first rule that matches counts; `charset` is for the rest. Globs are those of a shell, case-sensitive "
            "and on the whole name as it stands in the results; `*` crosses `/` too. "
            f"At most {MAX_RULES} rules of {MAX_RULE_CHARACTERS} characters; none matches a name of more than "
            f"{MAX_MATCHED_CHARACTERS:,}.",
            examples=[["dates/*=digits", "*=letters"]],
        ),
    ] = [],  # noqa: B006  # FastAPI makes a new one for each request
    idempotency_key: Annotated[
        str | None, Header(description="Repeats with the same key, body and options answer the same job.")
    ] = None,
    prefer: Prefer = None,
) -> Response:
    """Hand in scans: a zip, an image, several images in a form, or EMNIST pixel rows."""
    key = _checked_idempotency_key(idempotency_key)
    wait_seconds = min(_wait_seconds(prefer), service.settings.max_wait_seconds)
    _known_options(request)
    Options.from_strings(charset_rules=charset_rules, **query)
    with await service.quotas.share(caller) as share, Upload(service.ledger, service.settings, share) as upload:
        await receive(request, upload)
        options = Options.from_strings(
            charset_rules=upload.charset_rules or charset_rules, **{**query, **upload.options}
        )
        job, end = await service.submit(caller.owner, upload, options, key, wait_seconds)
    if end is None:
        view = await run_in_threadpool(service.view, job.owner, job.id)
    elif job.options.callback_url:  # how far that is, the store knows
        view = await run_in_threadpool(service.view_of, job, end)
    else:
        view = service.view_of(job, end)
    headers = {"Location": view.links["self"], **({"Preference-Applied": "wait"} if wait_seconds else {})}
    if end is None:
        return _job_response(view, 202, headers if view.state.ended else {**headers, "Retry-After": "1"})
    if end.inline_results is not None:
        rows, _ = results.deserialize(end.inline_results)
        view.results = [RowView(**row) for row in results.to_row_dicts(rows)]
    return _job_response(view, 200, headers)


def _job_response(view: JobView, status: int, headers: dict[str, str]) -> Response:
    without = {"results"} if view.results is None else None
    return Response(view.model_dump_json(exclude=without), status, headers, "application/json")


def _checked_idempotency_key(key: str | None) -> str | None:
    if key is not None and not (0 < len(key) <= 200 and key.isascii() and key.isprintable()):
        raise InvalidOption(
            "Idempotency-Key", "An Idempotency-Key has 1 to 200 printable ASCII characters, such as a UUID."
        )
    return key


def _wait_seconds(prefer: str | None) -> float:
    """RFC 7240: preferences that are not understood are ignored."""
    found = re.search(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?:$|[,;])", prefer or "", re.IGNORECASE)
    return float(found[1]) if found else 0.0


def _known_options(request: Request) -> None:
    """Refuse options that would be ignored: FastAPI takes no notice of unknown or repeated ones."""
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in Options.__dataclass_fields__:
            known = ", ".join(Options.__dataclass_fields__)
            raise InvalidOption(name[:64], f"There is no option {name[:64]!r}; there are {known}.")
        if names.count(name) > 1 and name != "charset_rules":
            raise InvalidOption(name, f"The option {name} is given {names.count(name)} times.")


@router.get(
    "/v1/jobs",
    response_model_exclude={"jobs": {"__all__": {"results"}}},
    responses=responses(InvalidOption, StoreError),
)
def list_jobs(
    service: Served,
    caller: By,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs on a page.")] = 20,
    cursor: Annotated[str | None, Query(description="`next` of the page before.", max_length=64)] = None,
    state: Annotated[JobState | None, Query(description="Only jobs in this state.")] = None,
) -> JobPage:
    """Your jobs, newest first."""
    return service.page(caller.owner, limit, cursor, state)


@router.get(
    "/v1/jobs/{job_id}",
    response_model_exclude={"results"},
    responses=responses(JobNotFound, StoreError),
)
async def get_job(service: Served, caller: By, job_id: JobId, response: Response, prefer: Prefer = None) -> JobView:
    """How far a job is: state, counts that add up, rate, time left."""
    wait_seconds = min(_wait_seconds(prefer), service.settings.max_wait_seconds)
    if wait_seconds:
        with suppress(JobFailed):  # it is told as a state
            await service.wait(await run_in_threadpool(service.job, caller.owner, job_id), wait_seconds)
        response.headers["Preference-Applied"] = "wait"
    view = await run_in_threadpool(service.view, caller.owner, job_id)
    if not view.state.ended:
        response.headers["Retry-After"] = "1"
    return view


async def _existing(service: Served, caller: By, job_id: JobId) -> None:
    """What is wrong is said before the answer begins."""
    await run_in_threadpool(service.view, caller.owner, job_id)


@router.get(
    "/v1/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Server-sent events `job`, each with the whole job as it then is; the last one when it has "
            "ended, or `deleted` when it is gone.",
            "content": {"text/event-stream": {"example": f"event: job\ndata: {json.dumps(JOB_EXAMPLE)}\n\n"}},
        },
        **responses(JobNotFound, Overloaded, StoreError),
    },
)  # fmt: skip
async def get_events(
    service: Served, caller: By, job_id: JobId, _: Annotated[None, Depends(_existing)], __: StreamPlace
) -> AsyncIterator[ServerSentEvent]:
    """Follow a job: a snapshot at once, and whenever it has moved, at most four a second."""
    try:
        async for view in service.snapshots(caller.owner, job_id):
            yield ServerSentEvent(event="job", raw_data=view.model_dump_json(exclude={"results"}))
    except JobNotFound:
        yield ServerSentEvent(event="deleted", raw_data="{}")


@router.post(
    "/v1/jobs/{job_id}/cancel",
    response_model_exclude={"results"},
    responses=responses(JobNotFound, JobAlreadyEnded, JobFailed, StoreError),
)
def cancel_job(service: Served, caller: By, job_id: JobId) -> JobView:
    """Stop a job and keep what is done; the rest become cancelled rows."""
    return service.cancel(service.job(caller.owner, job_id))


@router.delete("/v1/jobs/{job_id}", status_code=204, responses=responses(JobNotFound, StoreError))
def delete_job(service: Served, caller: By, job_id: JobId) -> Response:
    """Erase a job: input, results and record."""
    service.delete(caller.owner, job_id)
    return Response(status_code=204)


@router.get("/v1/callback-secret", responses=responses(StoreError))
def get_callback_secret(service: Served, caller: By) -> CallbackSecret:
    """The secret that signs what is sent to your `callback_url`s."""
    return CallbackSecret(secret=service.deliveries.secret(caller.owner))


@router.post("/v1/callback-secret", responses=responses(StoreError))
def renew_callback_secret(service: Served, caller: By) -> CallbackSecret:
    """Make a new secret; the one before signs nothing from now on."""
    return CallbackSecret(secret=service.deliveries.renew_secret(caller.owner))
