"""From an answer that is a problem (RFC 9457) to the error it stands for: the very class that the service raised."""

import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

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
    ProblemReported,
    QuotaExceeded,
    RowNotFound,
    SetupError,
    StoreError,
    StoreFull,
    UnsupportedInput,
    UploadInterrupted,
    UploadTooSlow,
)

_PLAIN: dict[str, type[GlyphqError]] = {
    error.code: error
    for error in (
        CrossSiteRefused, EmptyInput, HostRefused, IdempotencyMismatch, InvalidArchive, InvalidRequest, JobAlreadyEnded,
        JobFailed, JobNotFound, KeyRefused, ModelError, Overloaded, RowNotFound, SetupError, StoreError, StoreFull,
        UnsupportedInput, UploadInterrupted, UploadTooSlow,
    )
}  # fmt: skip


def problem_in(response: httpx.Response) -> GlyphqError:
    """What the service's errors are raised as here; ProblemReported for what it has no name for, such as the words of
    a proxy.
    """
    try:
        found = response.json()
    except ValueError:
        found = None
    fields: dict[str, Any] = found if isinstance(found, dict) else {}
    detail = str(fields.get("detail") or fields.get("title") or _summary(response))
    code = str(fields.get("code", f"http-{response.status_code}"))
    text = str(next((fields[name] for name in ("limit", "option", "reason") if name in fields), ""))
    number = fields["value"] if isinstance(fields.get("value"), int) else 0
    error: GlyphqError
    match code:
        case LimitExceeded.code:
            error = LimitExceeded(text, number, detail)
        case QuotaExceeded.code:
            error = QuotaExceeded(text, number, int(retry_after_seconds(response) or 1), detail)
        case InvalidOption.code:
            error = InvalidOption(text, detail)
        case NoPicture.code:
            error = NoPicture(text, detail)
        case JobNotFinished.code:
            error = JobNotFinished(detail, fields.get("job") or {})
        case DamagedObject.code:
            key, _, damage = detail.partition(": ")
            error = DamagedObject(key, damage)
        case _ if code in _PLAIN:
            error = _PLAIN[code](detail)
        case _:
            error = ProblemReported(response.status_code, code, detail, fields)
    if "request_id" in fields:
        error.request_id = str(fields["request_id"])
    return error


def retry_after_seconds(response: httpx.Response) -> float | None:
    """As the header has it: a number, or a date (RFC 9110, sec. 10.2.3)."""
    value = response.headers.get("Retry-After", "")
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _summary(response: httpx.Response) -> str:
    said = f"{response.url.copy_with(query=None)} answered {response.status_code} {response.reason_phrase}."
    if response.has_redirect_location:
        said += f" It leads to {response.headers['Location']}, which is not followed: name the service's own address."
    return said
