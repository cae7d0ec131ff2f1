"""What can be asked of a service about jobs, each question once, for `Client` and `AsyncClient`. Knows the API's
routes; does no I/O of its own (see `steps`).

Every operation raises the problem that the service answers with, as the class of glyphq.errors that the service itself
raised; ServiceUnreachable where nobody answers; ServiceError where it is no glyphq service.
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict, Unpack

import httpx

from glyphq.client.bars import Bars, drawn
from glyphq.client.downloads import rows_in_memory
from glyphq.client.exchange import Service, answered, asked, job_path, json_of
from glyphq.client.methods import is_sendable
from glyphq.client.packing import Scans, body_of
from glyphq.client.problems import problem_in, retry_after_seconds
from glyphq.client.steps import Body, Flow, Give, OnUpload, Operation, Send, block, pause
from glyphq.errors import InvalidOption, JobAlreadyEnded, JobFailed, JobNotFinished, ServiceError
from glyphq.jobs import JobState, Options, View
from glyphq.records import Correction, JobStatus, Rows

HELD_SECONDS, ANSWER_SECONDS, DEFAULT_POLL_SECONDS = 10, 10.0, 2.0
MAX_IDEMPOTENCY_KEY_CHARACTERS = 200
SUBMIT_SECONDS = 600.0  # the answer comes only once the whole archive is indexed and durable

OnProgress = Callable[[JobStatus], None]
Job = JobStatus | str
"""A job, or its id."""


class SubmitOptions(TypedDict, total=False):
    """How a job is to be read; what is left out is as the service has it by default."""

    name: str | None
    top_k: int | None  # answers a row, 1 to 10
    charset: str | None  # all, digits, letters, or the classes to choose from
    charset_rules: Sequence[str]  # GLOB=CHARSET on file names, the first that matches counts: glyphq.charset_rules
    invert: str | None  # auto, yes, no: light ink on a dark ground
    filename_encoding: str | None  # of names in a zip that are not UTF-8
    callback_url: str | None  # is told when the job has ended
    idempotency_key: str | None  # by default one of its own for each call


def submit(
    service: Service, scans: Scans, *, on_upload: OnUpload | None = None, **options: Unpack[SubmitOptions]
) -> Operation[JobStatus]:
    """Hand in scans and return the accepted job.

    `scans` is a path of a zip, an image or a folder; several paths; bytes; or an array of uint8: glyphq.Scans says
    what becomes of each. The options are those of glyphq.SubmitOptions. `on_upload(bytes sent, bytes in all or None)`
    is called as the upload goes on, from 0 again if it is repeated; one submission never makes two jobs. Raises
    InvalidOption, UnsupportedInput and EmptyInput before anything is sent, and UploadInterrupted for a file that
    changes while it is.
    """
    given: dict[str, Any] = {option: value for option, value in options.items() if value is not None}
    key, rules = given.pop("idempotency_key", None) or str(uuid.uuid4()), list(given.pop("charset_rules", ()))
    if not (is_sendable(key) and len(key) <= MAX_IDEMPOTENCY_KEY_CHARACTERS):
        raise InvalidOption("idempotency_key", "An idempotency key is a short ASCII text, such as a UUID.")
    chosen = {option: str(value) for option, value in given.items()}
    Options.from_strings(charset_rules=rules, **chosen)
    params = {**chosen, "charset_rules": rules}
    _require_address(params)
    body = replace((yield from block(lambda: body_of(scans))), on_upload=on_upload)
    headers = {"Idempotency-Key": key}
    request = Send("POST", "/v1/jobs", params, headers, body, read_seconds=SUBMIT_SECONDS)
    return JobStatus.from_json((yield from asked(service, request)))


def status(service: Service, job: Job) -> Operation[JobStatus]:
    """The job as it is now."""
    return JobStatus.from_json((yield from asked(service, Send("GET", job_path(_id(job))))))


def wait(
    service: Service,
    job: Job,
    on_progress: OnProgress | None = None,
    timeout_seconds: float | None = None,
    *,
    progress: bool = False,
) -> Operation[JobStatus]:
    """Return the job once it has ended, whichever way; `on_progress` gets each status seen before and the last,
    `progress` draws a bar.

    The service holds each request until the job has ended, for a second where somebody wants to hear. Raises
    JobNotFinished when `timeout_seconds` have passed, and ServiceUnreachable when nobody has answered by then.
    """
    with drawn(progress) as bars:
        return (yield from _wait(service, _id(job), _told(on_progress, bars), timeout_seconds))


def classify(
    service: Service,
    scans: Scans,
    on_progress: OnProgress | None = None,
    timeout_seconds: float | None = None,
    *,
    progress: bool = False,
    **options: Unpack[SubmitOptions],
) -> Operation[Rows]:
    """Hand in scans, wait, and return their rows: `submit`, `wait` and `rows` in one.

    All rows are kept in memory; `download` and `arrow` take less for millions. `timeout_seconds` is for the waiting.
    Raises JobFailed where the service cannot read its own record, and as `submit` and `wait`.
    """
    with drawn(progress) as bars:
        job = yield from submit(service, scans, on_upload=bars.uploading if bars else None, **options)
        job = yield from _wait(service, job.id, _told(on_progress, bars), timeout_seconds)
    if job.state is JobState.FAILED:
        raise JobFailed(f"Job {job.id} failed. {job.state.sentence}")
    return Rows(job, (yield from rows_in_memory(service, job.id)))


def jobs(service: Service, state: JobState | str | None = None, page_size: int = 100) -> Flow[JobStatus]:
    """The caller's jobs, newest first, fetched page by page."""
    params = {"limit": str(page_size), **({"state": str(state)} if state else {})}
    while True:
        page = yield from asked(service, Send("GET", "/v1/jobs", dict(params)))
        if not isinstance(page.get("jobs"), list):
            raise ServiceError(f"{service.url} does not answer as a glyphq service does (no jobs).")
        yield Give([JobStatus.from_json(each) for each in page["jobs"]])
        if page.get("next") is None:
            return
        params["cursor"] = str(page["next"])


def cancel(service: Service, job: Job) -> Operation[JobStatus]:
    """Stop a job and keep the rows it has; one that was cancelled already is returned as it is.

    Raises JobAlreadyEnded for one that has ended otherwise.
    """
    try:
        return JobStatus.from_json((yield from asked(service, Send("POST", job_path(_id(job), "cancel")))))
    except JobAlreadyEnded:  # perhaps by this very call, the answer to which was lost
        now = yield from status(service, job)
        if now.state is not JobState.CANCELLED:
            raise
        return now


def delete(service: Service, job: Job) -> Operation[None]:
    """Erase a job with its input, results and corrections, running or not."""
    yield from _erased(service, job_path(_id(job)))


def correct(service: Service, job: Job, row: int, label: str) -> Operation[Correction]:
    """Say what is on a scan. It is kept beside what the network said, and may be the same; the last word stands.

    Raises InvalidOption for a label that is not 1 to 8 printable characters, and RowNotFound.
    """
    path = job_path(_id(job), "items", row, "correction")
    return Correction.from_json((yield from asked(service, Send("PUT", path, body=_json({"label": label})))))


def uncorrect(service: Service, job: Job, row: int) -> Operation[None]:
    """Take a correction back, if there is one: the network's word stands again. Raises RowNotFound."""
    yield from _erased(service, job_path(_id(job), "items", row, "correction"))


def summary(service: Service, job: Job) -> Operation[dict[str, Any]]:
    """How sure the network was of the rows there are, and how far people have looked at them: a histogram of
    confidences with the errors to expect, labels, and counts of what was reviewed and changed.
    """
    return (yield from asked(service, Send("GET", job_path(_id(job), "summary"))))


def image(service: Service, job: Job, row: int, view: View | str = View.ORIGINAL) -> Operation[bytes]:
    """One input: the file as it was handed in, or (`model`) the 28x28 picture that the network was given, as PNG.

    Raises NoPicture where there is none, as of a blank or an unreadable input, and RowNotFound.
    """
    path = job_path(_id(job), "items", row, "image")
    response = yield from answered(service, Send("GET", path, {"view": str(view)}))
    return response.content


def model(service: Service) -> Operation[dict[str, Any]]:
    """The card of the model that answers: classes, architecture, digest, measured accuracy."""
    return (yield from asked(service, Send("GET", "/v1/model")))


def ready(service: Service) -> Operation[bool]:
    """Whether the service has all it needs to work. Asks once."""
    return bool((yield from _readiness(service))["ready"])


def checks(service: Service) -> Operation[dict[str, str]]:
    """What the service needs to work, each `ok` or a sentence that says what to do. Asks once."""
    found: dict[str, str] = (yield from _readiness(service))["checks"]
    return found


def _erased(service: Service, path: str) -> Operation[None]:
    response = yield from answered(service, Send("DELETE", path))
    if response.is_success and response.status_code != httpx.codes.NO_CONTENT:
        raise ServiceError(f"{service.url} does not answer as a glyphq service does: nothing has been erased.")


def _readiness(service: Service) -> Operation[dict[str, Any]]:
    once = Service(service.url, retry_seconds=0)
    response = yield from answered(once, Send("GET", "/readyz"), also=(503,))
    readiness = json_of(response)
    if not readiness.keys() >= {"ready", "checks"}:
        raise problem_in(response)
    return readiness


def _wait(
    service: Service, job_id: str, told: Sequence[OnProgress], timeout_seconds: float | None
) -> Operation[JobStatus]:
    deadline = time.monotonic() + timeout_seconds if timeout_seconds is not None else float("inf")
    held_seconds, left = 1 if told else HELD_SECONDS, deadline - time.monotonic()
    while True:
        preference = {"Prefer": f"wait={int(min(held_seconds, max(0, left)))}"}
        request = Send("GET", job_path(job_id), headers=preference, read_seconds=HELD_SECONDS + ANSWER_SECONDS)
        response = yield from answered(service, request, deadline=deadline)
        now = JobStatus.from_json(json_of(response))
        for tell in told:
            tell(now)
        if now.state.ended:
            return now
        left = deadline - time.monotonic()
        if left <= 0:
            so_far = f"{now.counts.done:,} of {now.counts.total:,} rows"
            raise JobNotFinished(f"Job {job_id} has not finished: {so_far}.", now.raw)
        if "Preference-Applied" not in response.headers:  # not held, as with less than a second left
            yield from pause(min(retry_after_seconds(response) or DEFAULT_POLL_SECONDS, left))


def _told(on_progress: OnProgress | None, bars: Bars | None) -> list[OnProgress]:
    return [*([on_progress] if on_progress else []), *([bars.classifying] if bars else [])]


def _require_address(params: Mapping[str, str | Sequence[str]]) -> None:
    try:
        httpx.URL("/v1/jobs", params=params)
    except httpx.InvalidURL as error:
        raise InvalidOption(
            "charset_rules", "The rules are too long for one address. Give fewer of them, or shorter globs."
        ) from error


def _json(value: object) -> Body:
    content = json.dumps(value).encode()
    return Body(lambda: iter([content]), "application/json", len(content))


def _id(job: Job) -> str:
    return job.id if isinstance(job, JobStatus) else job
