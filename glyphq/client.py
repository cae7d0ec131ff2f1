"""The HTTP client of a glyphq service. Knows its routes and its problems; nothing of Redis, stores or networks.

    with Client("http://127.0.0.1:8000") as client:
        job = client.submit(Path("scans.zip"), top_k=1)
        client.wait(job.id)
        table = client.results(job.id)

Uploads and results are streamed. A call that is safe to repeat is repeated, with growing pauses, when the connection
fails or the service says 429 or 503; a submission is safe because it carries an idempotency key. The client speaks to
the service directly: proxies named in the environment are not used.
"""

import os
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import httpx

from glyphq import __version__
from glyphq.errors import (
    EmptyInput,
    InvalidOption,
    JobNotFinished,
    ProblemReported,
    ServiceError,
    ServiceUnreachable,
    UnsupportedInput,
)
from glyphq.jobs import Counts, JobState, Kind, Options, View
from glyphq.whole_rows import WholeRows

DEFAULT_URL = "http://127.0.0.1:8000"

ATTEMPTS = 4
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
HELD_SECONDS, DEFAULT_POLL_SECONDS = 10, 2.0
SUBMIT_TIMEOUT_SECONDS = 600.0  # the answer comes only once the whole archive is indexed and durable
UPLOAD_PIECE_BYTES = 1 << 18
ZIP_MAGIC = b"PK\x03\x04", b"PK\x05\x06"

Scans = Path | bytes | Sequence[Path]
"""One zip or image (a path, or its bytes), one folder, or several images and folders."""


class Format(StrEnum):
    """The forms in which results can be had."""

    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"


@dataclass(frozen=True)
class JobStatus:
    """A job as the service described it at one moment. `raw` is its whole answer."""

    id: str
    name: str | None
    kind: Kind | None  # None, as `created_at`, for a failed job
    state: JobState
    counts: Counts
    ignored: int
    progress: float  # 0 to 1
    rate: float | None  # images a second
    eta_seconds: float | None
    created_at: datetime | None
    ended_at: datetime | None
    warnings: tuple[str, ...]
    raw: dict[str, Any] = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """Raises ServiceError when it is not a job."""
        try:
            counts = {name: int(value) for name, value in raw["counts"].items() if name in Counts.__dataclass_fields__}
            return cls(
                id=raw["id"],
                name=raw["name"],
                kind=Kind(raw["kind"]) if raw["kind"] else None,
                state=JobState(str(raw["state"])),
                counts=Counts(**counts),
                ignored=raw["ignored"],
                progress=raw["progress"],
                rate=raw["rate"],
                eta_seconds=raw["eta_seconds"],
                created_at=datetime.fromisoformat(raw["created_at"]) if raw["created_at"] else None,
                ended_at=datetime.fromisoformat(raw["ended_at"]) if raw["ended_at"] else None,
                warnings=tuple(raw["warnings"]),
                raw=raw,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ServiceError(f"The service described a job in a way this client cannot read ({error!r}).") from error


class Client:
    """A connection to one service, to be closed or used as a context manager.

    `key` is sent as a bearer token. `timeout_seconds` is for each connect, read and write. `transport` and `sleep` are
    what talks to the network and what pauses. Raises InvalidOption for an address or key that cannot be used.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        key: str | None = None,
        timeout_seconds: float = 30.0,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = base_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=_checked_url(self._url),
            headers={"User-Agent": f"glyphq/{__version__}", **_authorization(key)},
            timeout=timeout_seconds,
            transport=transport or httpx.HTTPTransport(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(
        self,
        scans: Scans,
        *,
        name: str | None = None,
        top_k: int | None = None,
        charset: str | None = None,
        invert: str | None = None,
        filename_encoding: str | None = None,
        charset_rules: Sequence[str] = (),
        callback_url: str | None = None,
        idempotency_key: str | None = None,
        on_upload: Callable[[int, int], None] | None = None,
    ) -> JobStatus:
        """Hand in scans and return the accepted job; options left out are the service's defaults.

        One file is sent as it is. A folder or several inputs are packed, unchanged and sorted by name, into one
        temporary zip. `on_upload(bytes sent, bytes in all)` is called as the upload goes on, from 0 again if it is
        repeated. `charset_rules` are GLOB=CHARSET on the file name, the first that matches counts; see
        glyphq.charset_rules. `callback_url` is told when the job has ended. Raises InvalidOption and UnsupportedInput
        before anything is sent.
        """
        chosen = {
            "name": name,
            "top_k": top_k,
            "charset": charset,
            "invert": invert,
            "filename_encoding": filename_encoding,
            "callback_url": callback_url,
        }
        options = {option: str(value) for option, value in chosen.items() if value is not None}
        Options.from_strings(charset_rules=charset_rules, **options)
        address = _submission_address({**options, "charset_rules": charset_rules})
        key = idempotency_key or str(uuid.uuid4())
        with _opened(scans) as body:
            total = body.seek(0, os.SEEK_END)

            def request() -> httpx.Request:
                return self._http.build_request(
                    "POST",
                    address,
                    headers={
                        "Idempotency-Key": key,
                        "Content-Length": str(total),
                        "Content-Type": "application/octet-stream",
                    },
                    content=_pieces(body, total, on_upload),
                    timeout=httpx.Timeout(
                        self._timeout_seconds, read=max(self._timeout_seconds, SUBMIT_TIMEOUT_SECONDS)
                    ),
                )

            return JobStatus.from_json(_json(self._send(request)))

    def status(self, job_id: str) -> JobStatus:
        return JobStatus.from_json(_json(self._get(_path(job_id))))

    def wait(
        self,
        job_id: str,
        on_progress: Callable[[JobStatus], None] | None = None,
        timeout_seconds: float | None = None,
    ) -> JobStatus:
        """Return the job once it has ended, whichever way; `on_progress` gets each status seen before and the last.

        The service holds each request until the job has ended, for a second where `on_progress` wants to hear.
        Raises JobNotFinished when `timeout_seconds` have passed.
        """
        deadline = time.monotonic() + timeout_seconds if timeout_seconds is not None else float("inf")
        held_seconds, left = HELD_SECONDS if on_progress is None else 1, deadline - time.monotonic()
        while True:
            response = self._get(_path(job_id), headers={"Prefer": f"wait={int(min(held_seconds, max(0, left)))}"})
            job = JobStatus.from_json(_json(response))
            if on_progress:
                on_progress(job)
            if job.state.ended:
                return job
            left = deadline - time.monotonic()
            if left <= 0:
                so_far = f"{job.counts.done:,} of {job.counts.total:,} rows"
                raise JobNotFinished(f"Job {job_id} has not finished: {so_far}.", job.raw)
            if "Preference-Applied" not in response.headers:  # not held, as with less than a second left
                self._sleep(min(_retry_after_seconds(response) or DEFAULT_POLL_SECONDS, left))

    def results(self, job_id: str, format: Format = Format.CSV, *, partial: bool = False) -> bytes:
        """The results in memory; see `write_results`."""
        file = BytesIO()
        self.write_results(job_id, file, format, partial=partial)
        return file.getvalue()

    def write_results(
        self,
        job_id: str,
        file: BinaryIO,
        format: Format = Format.CSV,
        *,
        partial: bool = False,
    ) -> bool:
        """Stream the results into `file` and return whether they are complete.

        Where the connection breaks within CSV or NDJSON of an ended job, it goes on with the first row that is missing;
        ServiceUnreachable is raised when no row has come since the last time. Raises ProblemReported with code
        `job-not-finished` for a job that still runs, unless `partial`.
        """
        params = {"format": str(format), **({"partial": "true"} if partial else {})}
        rows = WholeRows(csv=format == Format.CSV)
        while True:
            first_row = {"first_row": str(rows.number)} if rows.number else {}
            with closing(self._get(f"{_path(job_id)}/results", {**params, **first_row}, stream=True)) as response:
                complete = bool(response.headers.get("Glyphq-Complete", "true") == "true")
                resumable = complete and format != Format.JSON
                try:
                    if not resumable:
                        file.writelines(response.iter_bytes())
                    else:
                        file.writelines(map(rows.taken, response.iter_bytes()))
                        file.write(rows.rest)
                except httpx.RequestError as error:
                    if not (resumable and rows.resume()):
                        raise ServiceUnreachable(
                            f"The connection to {self._url} broke within the results: {error}."
                        ) from error
                else:
                    return complete

    def image(self, job_id: str, row: int, view: View = View.ORIGINAL) -> bytes:
        """One input: the file as it was handed in, or the 28x28 picture that the network was given, as PNG.

        Raises ProblemReported with code `no-picture` where there is none, as of a blank or an unreadable input.
        """
        return self._get(f"{_path(job_id)}/items/{row}/image", {"view": view.value}).content

    def cancel(self, job_id: str) -> JobStatus:
        """Stop a job and keep the rows it has. Not repeated: a second cancel would be a problem of its own."""
        request = self._http.build_request("POST", f"{_path(job_id)}/cancel")
        return JobStatus.from_json(_json(self._send(lambda: request, attempts=1)))

    def delete(self, job_id: str) -> None:
        """Erase a job with its input and results."""
        self._send(lambda: self._http.build_request("DELETE", _path(job_id)))

    def jobs(self, state: JobState | None = None, page_size: int = 100) -> Iterator[JobStatus]:
        """The caller's jobs, newest first, fetched page by page."""
        params = {"limit": str(page_size), **({"state": str(state)} if state else {})}
        while True:
            page = _json(self._get("/v1/jobs", params))
            yield from map(JobStatus.from_json, page["jobs"])
            if page["next"] is None:
                return
            params["cursor"] = page["next"]

    def model(self) -> dict[str, Any]:
        """The card of the model that answers: classes, architecture, digest, measured accuracy."""
        card: dict[str, Any] = _json(self._get("/v1/model"))
        return card

    def ready(self) -> bool:
        """Whether the service has all it needs to work. Raises ServiceUnreachable where nobody answers."""
        return bool(self._readiness()["ready"])

    def checks(self) -> dict[str, str]:
        """What the service needs to work, each `ok` or a sentence that says what to do. Raises as `ready`."""
        checks: dict[str, str] = self._readiness()["checks"]
        return checks

    def _readiness(self) -> dict[str, Any]:
        try:
            response = self._send(lambda: self._http.build_request("GET", "/readyz"), attempts=1)
        except ProblemReported as problem:
            if "checks" not in problem.problem:
                raise
            return problem.problem
        readiness: dict[str, Any] = _json(response)
        return readiness

    def _get(
        self,
        path: str,
        params: dict[str, str] | None = None,
        *,
        headers: dict[str, str] | None = None,
        stream: bool = False,
    ) -> httpx.Response:
        return self._send(lambda: self._http.build_request("GET", path, params=params, headers=headers), stream=stream)

    def _send(
        self, request: Callable[[], httpx.Request], *, attempts: int = ATTEMPTS, stream: bool = False
    ) -> httpx.Response:
        """A successful response, read to its end unless `stream`."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            attempts -= 1
            try:
                response = self._http.send(request(), stream=True)
                if not (stream and response.is_success):
                    response.read()
                    response.close()
            except httpx.RequestError as error:
                if not attempts:
                    reason = str(error).rstrip(".") or type(error).__name__
                    raise ServiceUnreachable(f"Nobody answers at {self._url}: {reason}.") from error
                asked = None
            else:
                if response.is_success:
                    return response
                asked = _retry_after_seconds(response)
                in_vain = asked is not None and asked > LONGEST_PAUSE_SECONDS
                if not attempts or in_vain or response.status_code not in (429, 503):
                    raise _problem(response)
            self._sleep(pause if asked is None else asked)
            pause *= 2


def _checked_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidOption("server", f"{url!r} is not the address of a service, such as {DEFAULT_URL}.")
    return parsed


def _submission_address(options: dict[str, str | Sequence[str]]) -> httpx.URL:
    try:
        return httpx.URL("/v1/jobs", params=options)
    except httpx.InvalidURL as error:
        raise InvalidOption(
            "charset_rules", "The rules are too long for one address. Give fewer of them, or shorter globs."
        ) from error


def _authorization(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    if not (key and key.isascii() and key.isprintable()):
        raise InvalidOption("key", "The key is empty or has characters that no key has.")
    return {"Authorization": f"Bearer {key}"}


def _path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise ServiceError(f"{response.url} does not answer as a glyphq service does (no JSON).") from error


def _problem(response: httpx.Response) -> ProblemReported:
    """From problem+json (RFC 9457), or from whatever stands between, such as a proxy."""
    summary = f"{response.url.copy_with(query=None)} answered {response.status_code} {response.reason_phrase}."
    try:
        found = response.json()
    except ValueError:
        found = None
    fields = found if isinstance(found, dict) else {}
    code = str(fields.get("code", f"http-{response.status_code}"))
    detail = str(fields.get("detail") or fields.get("title") or summary)
    return ProblemReported(response.status_code, code, detail, fields)


def _retry_after_seconds(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None


def _pieces(file: BinaryIO, total: int, on_upload: Callable[[int, int], None] | None) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(UPLOAD_PIECE_BYTES):
        yield piece
        if on_upload:
            on_upload(file.tell(), total)


@contextmanager
def _opened(scans: Scans) -> Iterator[BinaryIO]:
    """What is to be sent, as one seekable file."""
    if isinstance(scans, bytes):
        yield BytesIO(scans)
        return
    inputs = [scans] if isinstance(scans, Path) else list(scans)
    if len(inputs) == 1 and not inputs[0].is_dir():
        with inputs[0].open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile(prefix="glyphq-") as file:
        _pack(inputs, file)
        yield file


def _pack(inputs: Iterable[Path], target: BinaryIO) -> None:
    """Store the files, and the files of the folders, in a zip: sorted, and named from the folder they share."""
    given = [path.absolute() for path in inputs]
    if not given:
        raise EmptyInput("There is nothing to submit.")
    for path in given:
        if path.is_file() and _is_zip(path):
            raise UnsupportedInput(f"{path.name} is an archive: submit it on its own, as one job.")
    root = given[0] if len(given) == 1 else Path(os.path.commonpath([path.parent for path in given]))
    files = {file for path in given for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()}
    if not files:
        raise EmptyInput(f"There are no files in {', '.join(path.name for path in given)}.")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for name, file in sorted((file.relative_to(root).as_posix(), file) for file in files):
            archive.write(file, os.fsencode(name).decode("utf-8", "replace"))  # a name may be other bytes than UTF-8


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in ZIP_MAGIC
