"""Where errors become HTTP answers, and nowhere else: RFC 9457 problems, and how OpenAPI shows them."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.schemas import Problem
from glyphq.errors import (
    CrossSiteRefused,
    DamagedObject,
    EmptyInput,
    GlyphqError,
    HostRefused,
    IdempotencyMismatch,
    InvalidArchive,
    InvalidOption,
    InvalidRequest,
    JobAlreadyEnded,
    JobFailed,
    JobNotFinished,
    JobNotFound,
    KeyRefused,
    LimitExceeded,
    ModelError,
    NoPicture,
    Overloaded,
    QuotaExceeded,
    RowNotFound,
    SetupError,
    StoreError,
    StoreFull,
    UnsupportedInput,
    UploadInterrupted,
    UploadTooSlow,
)
from glyphq.logs import bound_request_id

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5
_ENDS_THE_CONNECTION = (408, 413, 429, 503, 507)  # the rest of the upload is not waited for

# status, title, and a detail that shows OpenAPI's readers what to expect
_PROBLEMS: dict[type[GlyphqError], tuple[int, str, str]] = {
    InvalidRequest: (400, "The request cannot be accepted", "The JSON body has no list of images."),
    InvalidOption: (422, "An option is not valid", "top_k is a whole number from 1 to 10; 11 is not."),
    UnsupportedInput: (415, "Not a zip, an image or pixel rows", "The body is neither a zip nor an image."),
    EmptyInput: (422, "There is nothing to classify", "The archive holds no files."),
    InvalidArchive: (422, "The archive cannot be trusted", "The zip is truncated: its end record is missing."),
    LimitExceeded: (413, "The input is over a limit", "The upload is larger than 4294967296 bytes."),
    UploadInterrupted: (400, "The upload was interrupted", "The form ended before its last boundary."),
    UploadTooSlow: (408, "The upload was too slow", "Nothing arrived for 30 seconds. Submit again."),
    IdempotencyMismatch: (422, "The Idempotency-Key was used for another request", "Use a new Idempotency-Key."),
    CrossSiteRefused: (403, "Pages of other sites may not use this service", "The request came from another site."),
    HostRefused: (421, "The service does not go by this name", "This service does not go by 'example.org'."),
    KeyRefused: (401, "A key is needed", "Send a key as: Authorization: Bearer KEY"),
    QuotaExceeded: (429, "The key has reached a limit", "You may have 100 open jobs. Wait for one to end."),
    Overloaded: (503, "The service is busy", "32 uploads are under way, the most that are accepted at once."),
    JobNotFound: (404, "There is no such job", "There is no job '0199'."),
    JobNotFinished: (409, "The job has not ended", "The job still runs; wait, or ask with partial=true."),
    JobAlreadyEnded: (409, "The job has already ended", "There is nothing to cancel."),
    JobFailed: (409, "The job has failed", "Its record cannot be read. Delete it and submit again."),
    RowNotFound: (404, "There is no such row", "The job has 20 rows, from 0 to 19; there is no row 20."),
    NoPicture: (404, "There is nothing to show of this row", "The archive entry is encrypted."),
    SetupError: (503, "Part of the service is not installed", "The isolated decoder does not start."),
    StoreFull: (507, "The store is full", "Free space on the store, then submit again."),
    DamagedObject: (503, "A stored object is damaged", "It is being made again; ask again in a few seconds."),
    ModelError: (503, "The model cannot be read", "There is no model card. Reinstall glyphq."),
    StoreError: (503, "The store does not answer", "Ask again in a few seconds."),
}


_UNFORESEEN = (
    "internal-error",
    "Something went wrong",
    "Try again; if it persists, the service's log says more.",
)


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the tree, of FastAPI's validation and of its routing as a problem.

    Its code is left in the scope for the access log.
    """

    @app.exception_handler(GlyphqError)
    def glyphq_error(request: Request, error: GlyphqError) -> JSONResponse:
        status, title, _example = _PROBLEMS[type(error)]
        request.scope["problem"] = error.code
        if status >= 500:
            log.warning("%s: %s", error.code, error.detail)
        answer = problem(status, error.code, title, error.detail, _fields(error))
        if isinstance(error, QuotaExceeded):
            answer.headers["Retry-After"] = str(error.retry_after_seconds)
        return answer

    @app.exception_handler(RequestValidationError)
    def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        request.scope["problem"] = InvalidOption.code
        first = error.errors()[0]
        option = str((first["loc"][1:2] or first["loc"])[0])  # after where it stands, before the place in a list
        status, title, _example = _PROBLEMS[InvalidOption]
        return problem(status, InvalidOption.code, title, f"{option}: {first['msg']}.", {"option": option})

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> JSONResponse:
        request.scope["problem"] = _code(HTTPStatus(error.status_code))
        answer = http_problem(error.status_code, f"{error.detail}. The API is described at /docs.")
        answer.headers.update(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:  # Starlette names those of one route of the path
            path = getattr(request.scope.get("route"), "path", None)
            methods = app.openapi()["paths"].get(path, {})
            answer.headers["Allow"] = ", ".join(sorted(map(str.upper, methods))) or answer.headers["Allow"]
        return answer

    @app.exception_handler(Exception)
    def unforeseen_error(request: Request, _: Exception) -> JSONResponse:
        request.scope["problem"] = _UNFORESEEN[0]
        # Starlette raises it again after the answer, so the log has its traceback.
        return problem(500, *_UNFORESEEN, {})


def document(app: FastAPI, *, keys_required: bool) -> None:
    """Have OpenAPI say whether a key is needed, and show problems alone: FastAPI adds a validation error of its own
    shape, which is never answered.
    """
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = describe()
            described["components"]["schemas"]["Problem"] = Problem.model_json_schema()
            for own in ("HTTPValidationError", "ValidationError"):
                described["components"]["schemas"].pop(own, None)
            for path in described["paths"].values():
                for operation in path.values():
                    if "HTTPValidationError" in str(operation["responses"].get("422")):
                        del operation["responses"]["422"]
                    refuses = keys_required and "401" in operation["responses"]
                    if "security" in operation and not refuses:
                        operation["security"].append({})
        return app.openapi_schema or describe()

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's own documentation does


def problem(status: int, code: str, title: str, detail: str, fields: Mapping[str, Any]) -> JSONResponse:
    """One RFC 9457 answer. 503 and 507 say when to come again; what may cut an upload short ends the connection."""
    body = {"type": f"/problems/{code}", "title": title, "status": status, "detail": detail, "code": code, **fields}
    request_id = bound_request_id()
    if request_id is not None:
        body["request_id"] = request_id
    headers = {}
    if status in (503, 507):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if status in _ENDS_THE_CONNECTION:
        headers["Connection"] = "close"
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)


def http_problem(status: int, detail: str) -> JSONResponse:
    """What is wrong in terms of HTTP alone: the status' own phrase is code and title."""
    known = HTTPStatus(status)
    return problem(status, _code(known), known.phrase, detail, {})


def _code(status: HTTPStatus) -> str:
    return status.phrase.lower().replace(" ", "-")


def responses(*errors: type[GlyphqError]) -> dict[int | str, dict[str, Any]]:
    """What a route can answer with, for OpenAPI: one example an error, grouped by status."""
    answers: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        status, title, detail = _PROBLEMS[error]
        answer = answers.setdefault(status, {"description": "", "content": {MEDIA_TYPE: {"examples": {}}}})
        answer["description"] = f"{answer['description']}; {title}".lstrip("; ")
        if status in (429, 503, 507):
            answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
        answer["content"][MEDIA_TYPE]["schema"] = {"$ref": "#/components/schemas/Problem"}
        answer["content"][MEDIA_TYPE]["examples"][error.code] = {
            "value": {
                "type": f"/problems/{error.code}",
                "title": title,
                "status": status,
                "detail": detail,
                "code": error.code,
            }
        }
    return answers


def _fields(error: GlyphqError) -> dict[str, Any]:
    match error:
        case LimitExceeded() | QuotaExceeded():
            return {"limit": error.limit, "value": error.value}
        case InvalidOption():
            return {"option": error.option}
        case NoPicture():
            return {"reason": error.reason}
        case JobNotFinished():
            return {"job": error.job}
        case _:
            return {}
