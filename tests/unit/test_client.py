"""Both clients against a transport that answers as the service does: what they send, repeat and raise.

Each test is run with `Client` and with `AsyncClient`, which have to do the same.
"""

import inspect
import io
import json
import os
import pickle
import socket
import ssl
import threading
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
import trustme

import glyphq
from api.problems import _PROBLEMS, add_problem_handlers
from glyphq.client import AsyncClient, Client, Format
from glyphq.client.exchange import LATE_SECONDS
from glyphq.errors import (
    DamagedObject,
    EmptyInput,
    GlyphqError,
    InvalidOption,
    JobAlreadyEnded,
    JobFailed,
    JobNotFinished,
    JobNotFound,
    LimitExceeded,
    NoPicture,
    ProblemReported,
    QuotaExceeded,
    ServiceError,
    ServiceUnreachable,
    SetupError,
    UnsupportedInput,
    UploadInterrupted,
)
from glyphq.jobs import JobState, Kind, RowStatus, View
from glyphq.records import Row, Rows

JOB_ID = "0199f0a0-0000-7000-8000-000000000001"


def job_json(state: str = "completed", classified: int = 4, **changes: Any) -> dict[str, Any]:
    return {
        "id": JOB_ID,
        "name": "scans.zip",
        "kind": "zip",
        "state": state,
        "created_at": "2026-01-02T03:04:05.678Z",
        "ended_at": "2026-01-02T03:04:07Z" if state in ("completed", "cancelled", "failed") else None,
        "counts": {
            "total": 4,
            "pending": 4 - classified,
            "classified": classified,
            "blank": 0,
            "rejected": 0,
            "cancelled": 0,
        },
        "ignored": 1,
        "progress": classified / 4,
        "rate": None,
        "eta_seconds": None,
        "options": {"name": None, "top_k": 3, "charset": "all", "invert": "auto", "filename_encoding": "cp437"},
        "models": [{"digest": "ab12", "engine": "torch"}],
        "warnings": [],
        "links": {
            "self": f"/v1/jobs/{JOB_ID}",
            "results": f"/v1/jobs/{JOB_ID}/results",
            "cancel": f"/v1/jobs/{JOB_ID}/cancel",
        },
        **changes,
    }


def problem(
    status: int, code: str, detail: str, headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    body = {"type": f"/problems/{code}", "title": "A title", "status": status, "detail": detail, "code": code, **fields}
    return httpx.Response(
        status, headers={"Content-Type": "application/problem+json", **(headers or {})}, content=json.dumps(body)
    )


Answer = httpx.Response | Exception


class Service:
    """Answers each request with the next of `answers` (the last one again and again) and remembers what was asked."""

    flavour: type = Client

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        headers = {"glyphq-complete": "true", **answer.headers}
        return httpx.Response(answer.status_code, headers=headers, stream=answer.stream)  # can be read again

    def client(self, key: str | None = None) -> Any:
        if Service.flavour is Client:
            return Client("http://service", key, transport=httpx.MockTransport(self), sleep=self.pauses.append)
        return Blocking(AsyncClient("http://service", key, transport=httpx.MockTransport(self), sleep=self._pause))

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


class Blocking:
    """An AsyncClient as a Client: each call is run to its end."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            async def run() -> Any:
                begun = getattr(self._client, name)(*arguments, **options)
                return [each async for each in begun] if inspect.isasyncgen(begun) else await begun

            return anyio.run(run)

        return call


@pytest.fixture(params=[Client, AsyncClient], autouse=True)
def flavour(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLYPHQ_SERVER", "GLYPHQ_KEY"):
        monkeypatch.delenv(name, raising=False)
    Service.flavour = request.param


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Content that breaks off."""

    def __init__(self, content: bytes, error: Exception | None = None) -> None:
        self._content, self._error = content, error or httpx.ReadError("Connection reset")

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def accepted() -> httpx.Response:
    return httpx.Response(202, json=job_json("queued", classified=0), headers={"Location": f"/v1/jobs/{JOB_ID}"})


def entries(body: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(body)) as archive:
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scans" / "page 2").mkdir(parents=True)
    for name in ("b.png", "a.png", "page 2/a.png", "inner.zip"):
        (tmp_path / "scans" / name).write_bytes(f"content of {name}".encode())
    return tmp_path / "scans"


class TestSubmit:
    def test_one_file_is_sent_as_it_is_with_its_length(self, tmp_path: Path) -> None:
        (tmp_path / "scans.zip").write_bytes(b"PK\x03\x04 whatever")
        service = Service(accepted())
        job = service.client().submit(tmp_path / "scans.zip")
        request = service.requests[0]
        assert (request.method, request.url.path, request.content) == ("POST", "/v1/jobs", b"PK\x03\x04 whatever")
        assert request.headers["Content-Length"] == "13"
        assert "Transfer-Encoding" not in request.headers
        assert (job.id, job.state, job.kind, job.counts.pending) == (JOB_ID, JobState.QUEUED, Kind.ZIP, 4)

    def test_bytes_are_sent_as_they_are(self) -> None:
        service = Service(accepted())
        service.client().submit(b"an image")
        assert service.requests[0].content == b"an image"

    def test_only_chosen_options_are_sent(self) -> None:
        service = Service(accepted())
        service.client().submit(b"an image", top_k=1, charset="digits", name="Ünit 7")
        assert dict(service.requests[0].url.params) == {"top_k": "1", "charset": "digits", "name": "Ünit 7"}

    def test_rules_are_sent_one_by_one_in_order(self) -> None:
        service = Service(accepted())
        service.client().submit(b"an image", charset_rules=["dates/*=digits", "*=letters"])
        assert service.requests[0].url.params.multi_items() == [
            ("charset_rules", "dates/*=digits"),
            ("charset_rules", "*=letters"),
        ]

    def test_rules_that_no_address_can_hold_are_told_before_anything_is_sent(self) -> None:
        service = Service(accepted())
        with pytest.raises(InvalidOption, match="too long for one address"):
            service.client().submit(b"an image", charset_rules=["ж" * 490 + "=digits"] * 100)
        assert service.requests == []

    def test_a_wrong_option_is_told_before_anything_is_sent(self) -> None:
        service = Service(accepted())
        with pytest.raises(InvalidOption, match="top_k"):
            service.client().submit(b"an image", top_k=99)
        with pytest.raises(InvalidOption, match="'digits' has no ="):
            service.client().submit(b"an image", charset_rules=["digits"])
        assert service.requests == []

    def test_a_folder_becomes_a_zip_sorted_by_name_with_what_is_in_it_unchanged(self, folder: Path) -> None:
        service = Service(accepted())
        service.client().submit(folder)
        sent = entries(service.requests[0].content)
        assert list(sent) == ["a.png", "b.png", "inner.zip", "page 2/a.png"]
        assert sent["inner.zip"] == b"content of inner.zip"

    def test_several_inputs_become_a_zip_named_from_the_folder_they_share(self, folder: Path) -> None:
        service = Service(accepted())
        service.client().submit([folder / "page 2", folder / "b.png", folder / "a.png", folder / "a.png"])
        assert list(entries(service.requests[0].content)) == ["a.png", "b.png", "page 2/a.png"]

    def test_files_older_than_zip_itself_are_packed(self, folder: Path) -> None:
        os.utime(folder / "a.png", (0, 0))
        service = Service(accepted())
        service.client().submit(folder)
        assert "a.png" in entries(service.requests[0].content)

    def test_an_archive_among_several_inputs_is_refused(self, folder: Path) -> None:
        (folder / "more.zip").write_bytes(b"PK\x03\x04")
        with pytest.raises(UnsupportedInput, match=r"more\.zip is an archive"):
            Service(accepted()).client().submit([folder / "a.png", folder / "more.zip"])

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(EmptyInput):
            Service(accepted()).client().submit(tmp_path)

    def test_no_inputs_are_refused(self) -> None:
        with pytest.raises(EmptyInput):
            Service(accepted()).client().submit([])

    def test_progress_counts_the_bytes_sent(self) -> None:
        seen: list[tuple[int, int]] = []
        Service(accepted()).client().submit(bytes(600_000), on_upload=lambda sent, total: seen.append((sent, total)))
        assert seen == [(262_144, 600_000), (524_288, 600_000), (600_000, 600_000)]

    def test_a_lost_connection_is_tried_again_with_the_same_key_and_body(self) -> None:
        service = Service(httpx.ReadError("Connection reset"), accepted())
        service.client().submit(b"an image")
        first, second = service.requests
        assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
        assert first.content == second.content == b"an image"

    def test_each_submission_has_a_key_of_its_own_unless_one_is_given(self) -> None:
        service = Service(accepted())
        client = service.client()
        client.submit(b"an image")
        client.submit(b"an image")
        client.submit(b"an image", idempotency_key="mine")
        keys = [request.headers["Idempotency-Key"] for request in service.requests]
        assert keys[0] != keys[1]
        assert keys[2] == "mine"

    @pytest.mark.parametrize("key", ["ключ", "line\nbreak", " mine", "x" * 201])
    def test_a_key_that_no_header_can_carry_is_told_before_anything_is_sent(self, key: str) -> None:
        service = Service(accepted())
        with pytest.raises(InvalidOption, match="idempotency key"):
            service.client().submit(b"an image", idempotency_key=key)
        assert service.requests == []

    def test_a_limit_is_reported_with_its_fields_and_not_tried_again(self) -> None:
        service = Service(problem(413, "limit-exceeded", "The upload is too large.", limit="max_upload_bytes", value=9))
        with pytest.raises(LimitExceeded, match=r"The upload is too large\.") as caught:
            service.client().submit(b"an image")
        assert (caught.value.limit, caught.value.value) == ("max_upload_bytes", 9)
        assert len(service.requests) == 1

    def test_a_path_may_be_text(self, folder: Path) -> None:
        service = Service(accepted())
        service.client().submit(str(folder / "a.png"))
        assert service.requests[0].content == b"content of a.png"

    def test_a_folder_is_packed_anew_for_each_attempt_into_the_same_zip_of_the_size_that_was_told(
        self, folder: Path
    ) -> None:
        seen: list[tuple[int, int]] = []
        service = Service(httpx.ReadError("Connection reset"), accepted())
        service.client().submit(folder, on_upload=lambda sent, total: seen.append((sent, total)))
        first, second = (request.content for request in service.requests)
        assert first == second
        assert seen == [(len(first), len(first))] * 2


class Table:
    """As a DataFrame: it has a shape, and columns by their names."""

    shape = 2, 784

    def __getitem__(self, name: str) -> None:
        raise KeyError(name)


class TestArrays:
    def test_pictures_become_a_zip_of_pngs_that_show_them(self) -> None:
        pictures = np.random.default_rng(1).integers(0, 256, (12, 5, 7), np.uint8)
        service = Service(accepted())
        service.client().submit(pictures)
        sent = entries(service.requests[0].content)
        assert list(sent) == [f"{number:02}.png" for number in range(12)]
        assert all((shown(sent[f"{number:02}.png"]) == pictures[number]).all() for number in range(12))

    def test_one_picture_is_one_png_however_it_lies_in_memory(self) -> None:
        picture = np.random.default_rng(1).integers(0, 256, (28, 56), np.uint8)[:, ::2].T
        service = Service(accepted())
        service.client().submit(picture)
        assert (shown(service.requests[0].content) == picture).all()

    def test_rows_of_784_are_sent_as_the_pixel_rows_that_they_are(self) -> None:
        rows = np.random.default_rng(1).integers(0, 256, (3, 784), np.uint8)
        service = Service(accepted())
        service.client().submit(rows)
        assert json.loads(service.requests[0].content) == {"images": rows.tolist()}
        assert service.requests[0].headers["Content-Type"] == "application/json"

    @pytest.mark.parametrize(
        ("array", "error", "said"),
        [
            (np.zeros((2, 28, 28)), UnsupportedInput, r"\(array \* 255\)\.astype"),
            (np.zeros((64, 48, 3), np.uint8), UnsupportedInput, "one picture in colour"),
            (np.zeros(784, np.uint8), UnsupportedInput, "of shape \\(784,\\) holds no scans"),
            (np.zeros((0, 28, 28), np.uint8), EmptyInput, "holds no scans"),
            ([np.zeros((28, 28), np.uint8)], UnsupportedInput, r"numpy\.stack"),
            (Table(), UnsupportedInput, r"table\.to_numpy"),
            (np.zeros((2, 28, 28), "M8[s]"), UnsupportedInput, "Give a numpy array"),
            (None, UnsupportedInput, "a path, several paths, bytes"),
            (bytearray(b"PK"), UnsupportedInput, "a path, several paths, bytes"),
        ],
    )
    def test_what_is_no_array_of_scans_is_told_before_anything_is_sent(
        self, array: Any, error: type[GlyphqError], said: str
    ) -> None:
        service = Service(accepted())
        with pytest.raises(error, match=said):
            service.client().submit(array)
        assert service.requests == []


def shown(png: bytes) -> np.ndarray:
    """What a PNG shows, by a reader that is not ours."""
    from PIL import Image

    return np.asarray(Image.open(BytesIO(png)))


@contextmanager
def tls_server() -> Iterator[str]:
    """The address of a server with a certificate that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def shake_hands() -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError), context.wrap_socket(connection, server_side=True):
            pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=shake_hands)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


class TestRepeating:
    def test_a_busy_service_is_asked_again_after_the_time_it_names_or_a_little_more(self) -> None:
        busy = problem(503, "overloaded", "Busy.", {"Retry-After": "7"})
        service = Service(busy, busy, httpx.Response(200, json=job_json()))
        assert service.client().status(JOB_ID).state is JobState.COMPLETED
        assert len(service.pauses) == 2
        assert all(7 <= pause <= 8.75 for pause in service.pauses)

    def test_where_nobody_has_ever_answered_it_gives_up_soon(self) -> None:
        service = Service(httpx.ConnectError("Connection refused"))
        with pytest.raises(ServiceUnreachable, match=r"Nobody answers at http://service: Connection refused\."):
            service.client().status(JOB_ID)
        assert service.pauses == sorted(service.pauses)
        assert 1 < sum(service.pauses) <= 3

    def test_a_service_that_has_answered_is_waited_for_longer(self) -> None:
        gone = httpx.ConnectError("Connection refused")
        service = Service(httpx.Response(200, json=job_json()), gone)
        client = service.client()
        client.status(JOB_ID)
        with pytest.raises(ServiceUnreachable):
            client.status(JOB_ID)
        assert 20 < sum(service.pauses) <= 30

    def test_a_service_that_stays_busy_is_reported_as_it_said(self) -> None:
        service = Service(problem(503, "overloaded", "No room.", {"Retry-After": "0"}))
        with pytest.raises(glyphq.Overloaded, match="No room"):
            service.client().status(JOB_ID)
        assert sum(service.pauses) > 20

    def test_a_wait_that_would_be_too_long_is_not_begun(self) -> None:
        service = Service(
            problem(429, "quota-exceeded", "No more.", {"Retry-After": "3600"}, limit="open_jobs", value=9)
        )
        with pytest.raises(QuotaExceeded) as caught:
            service.client().status(JOB_ID)
        assert (caught.value.limit, caught.value.value, caught.value.retry_after_seconds) == ("open_jobs", 9, 3600)
        assert service.pauses == []

    @pytest.mark.parametrize("code", ["setup-error", "model-error"])
    def test_what_somebody_must_mend_first_is_not_asked_again(self, code: str) -> None:
        service = Service(problem(503, code, "Broken.", {"Retry-After": "5"}))
        with pytest.raises(GlyphqError, match="Broken"):
            service.client().image(JOB_ID, 0)
        assert service.pauses == []

    @pytest.mark.parametrize("error", [httpx.UnsupportedProtocol("gopher"), httpx.LocalProtocolError("header")])
    def test_what_would_fail_again_is_not_tried_again(self, error: Exception) -> None:
        service = Service(error)
        with pytest.raises(ServiceUnreachable):
            service.client().status(JOB_ID)
        assert service.pauses == []

    def test_a_date_to_come_back_at_is_kept_to(self) -> None:
        at = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
        service = Service(
            problem(503, "overloaded", "Busy.", {"Retry-After": at}), httpx.Response(200, json=job_json())
        )
        service.client().status(JOB_ID)
        assert 10 < service.pauses[0] <= 25

    @pytest.mark.parametrize("at", ["soon", "Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 99 Dec 1999 23:59:59 GMT"])
    def test_a_date_that_is_past_or_none_asks_for_no_time(self, at: str) -> None:
        service = Service(
            problem(503, "overloaded", "Busy.", {"Retry-After": at}), httpx.Response(200, json=job_json())
        )
        service.client().status(JOB_ID)
        assert service.pauses[0] < 1

    def test_a_server_error_that_is_not_the_services_own_is_passing(self) -> None:
        service = Service(httpx.Response(500, text="<html>"), httpx.Response(200, json=job_json()))
        assert service.client().status(JOB_ID).state is JobState.COMPLETED
        service = Service(problem(500, "internal-error", "Something went wrong."))
        with pytest.raises(ProblemReported):
            service.client().status(JOB_ID)
        assert service.pauses == []

    def test_a_certificate_that_is_not_trusted_is_told_at_once(self) -> None:
        pauses: list[float] = []

        async def pause(seconds: float) -> None:
            pauses.append(seconds)

        with tls_server() as url:
            client: Any = (
                Client(url, sleep=pauses.append)
                if Service.flavour is Client
                else Blocking(AsyncClient(url, sleep=pause))
            )
            with pytest.raises(ServiceError, match=r"certificate of https://.* SSL_CERT_FILE") as caught:
                client.status(JOB_ID)
        assert not isinstance(caught.value, ServiceUnreachable)
        assert pauses == []

    def test_a_cancel_whose_answer_was_lost_finds_the_job_cancelled(self) -> None:
        service = Service(
            httpx.ReadError("Connection reset"),
            problem(409, "job-already-ended", "It has ended."),
            httpx.Response(200, json=job_json("cancelled")),
        )
        assert service.client().cancel(JOB_ID).state is JobState.CANCELLED

    def test_a_cancel_too_late_is_told(self) -> None:
        ended = problem(409, "job-already-ended", "It has ended.")
        with pytest.raises(JobAlreadyEnded):
            Service(ended, httpx.Response(200, json=job_json("completed"))).client().cancel(JOB_ID)

    def test_a_delete_whose_answer_was_lost_finds_the_job_gone(self) -> None:
        gone = problem(404, "job-not-found", "There is no such job.")
        Service(httpx.ReadError("Connection reset"), gone).client().delete(JOB_ID)
        with pytest.raises(JobNotFound):
            Service(gone).client().delete(JOB_ID)


class TestWait:
    def test_it_returns_the_ended_job_and_tells_each_status_on_the_way(self) -> None:
        running = httpx.Response(200, json=job_json("running", classified=2), headers={"Retry-After": "1"})
        service = Service(running, running, httpx.Response(200, json=job_json()))
        seen: list[int] = []
        job = service.client().wait(JOB_ID, lambda status: seen.append(status.counts.done))
        assert job.state is JobState.COMPLETED
        assert seen == [2, 2, 4]

    def test_it_lets_the_service_hold_the_request_shorter_where_someone_watches(self) -> None:
        held = httpx.Response(200, json=job_json("running", classified=2), headers={"Preference-Applied": "wait"})
        service = Service(held, held, httpx.Response(200, json=job_json()))
        service.client().wait(JOB_ID)
        assert [request.headers["Prefer"] for request in service.requests] == ["wait=10"] * 3
        assert service.pauses == []
        watched = Service(httpx.Response(200, json=job_json()))
        watched.client().wait(JOB_ID, lambda _: None)
        assert watched.requests[0].headers["Prefer"] == "wait=1"

    def test_it_is_held_no_longer_than_its_timeout(self) -> None:
        service = Service(httpx.Response(200, json=job_json()))
        service.client().wait(JOB_ID, timeout_seconds=5.5)
        assert service.requests[0].headers["Prefer"] == "wait=5"

    def test_where_requests_are_not_held_it_asks_as_seldom_as_the_service_says(self) -> None:
        running = httpx.Response(200, json=job_json("running", classified=2), headers={"Retry-After": "3"})
        service = Service(running, running, httpx.Response(200, json=job_json()))
        service.client().wait(JOB_ID)
        assert service.pauses == [3, 3]

    def test_a_service_that_hangs_makes_it_little_longer_than_its_timeout(self) -> None:
        service = Service(httpx.Response(200, json=job_json()), httpx.ReadTimeout("hangs"))
        client = service.client()
        client.status(JOB_ID)
        with pytest.raises(ServiceUnreachable, match="hangs"):
            client.wait(JOB_ID, timeout_seconds=2)
        longest = [max(request.extensions["timeout"].values()) for request in service.requests[1:]]
        assert len(longest) > 1
        assert all(2 < seconds <= 2 + LATE_SECONDS for seconds in longest)
        assert sum(service.pauses) <= 2

    def test_past_its_timeout_it_raises_and_says_how_far_the_job_is(self) -> None:
        service = Service(httpx.Response(200, json=job_json("running", classified=2)))
        with pytest.raises(JobNotFinished, match="2 of 4 rows"):
            service.client().wait(JOB_ID, timeout_seconds=0)


class TestResults:
    def test_they_are_written_to_an_open_file(self) -> None:
        service = Service(httpx.Response(200, content=b"row,filename\n", headers={"Glyphq-Complete": "true"}))
        file = BytesIO()
        assert service.client().download(JOB_ID, file)
        assert file.getvalue() == b"row,filename\n"
        assert dict(service.requests[0].url.params) == {"format": "csv"}

    def test_a_path_says_by_its_suffix_in_which_form(self, tmp_path: Path) -> None:
        service = Service(httpx.Response(200, content=b"PAR1"))
        assert service.client().download(JOB_ID, tmp_path / "rows.parquet")
        assert (tmp_path / "rows.parquet").read_bytes() == b"PAR1"
        assert dict(service.requests[0].url.params) == {"format": "parquet"}

    def test_a_file_appears_only_when_it_is_whole(self, tmp_path: Path) -> None:
        (tmp_path / "rows.csv").write_text("what was there before")
        with pytest.raises(ServiceUnreachable):
            Service(httpx.Response(200, stream=Broken(b"row,"))).client().download(JOB_ID, tmp_path / "rows.csv")
        assert [path.read_text() for path in tmp_path.iterdir()] == ["what was there before"]

    def test_some_of_the_rows_are_asked_for(self) -> None:
        service = Service(httpx.Response(200, content=b""))
        service.client().results(
            JOB_ID,
            sort="confidence",
            max_confidence=0.5,
            label=["7", "1"],
            reviewed=False,
            corrected=True,
            partial=False,
        )
        assert service.requests[0].url.params.multi_items() == [
            ("format", "csv"), ("sort", "confidence"), ("max_confidence", "0.5"), ("label", "7"), ("label", "1"),
            ("reviewed", "false"), ("corrected", "true"),
        ]  # fmt: skip

    def test_a_form_that_there_is_not_is_told_before_anything_is_sent(self) -> None:
        service = Service(httpx.Response(200))
        with pytest.raises(InvalidOption, match="parquet"):
            service.client().results(JOB_ID, "xlsx")
        assert service.requests == []

    def test_partial_results_are_told_from_complete_ones(self) -> None:
        service = Service(httpx.Response(200, content=b"{}\n", headers={"Glyphq-Complete": "false"}))
        assert not service.client().download(JOB_ID, BytesIO(), Format.NDJSON, partial=True)
        assert dict(service.requests[0].url.params) == {"format": "ndjson", "partial": "true"}

    def test_those_of_a_running_job_are_a_problem(self) -> None:
        still = problem(409, "job-not-finished", "2 of 4 rows are done.", {"Retry-After": "1"}, job={"id": JOB_ID})
        service = Service(still)
        with pytest.raises(JobNotFinished) as caught:
            service.client().results(JOB_ID)
        assert caught.value.job == {"id": JOB_ID}
        assert service.pauses == []

    def test_a_connection_that_breaks_within_them_goes_on_with_the_first_row_that_is_missing(self) -> None:
        service = Service(
            httpx.Response(200, stream=Broken(b"row,filename\n0,a\n1,")),
            httpx.Response(200, stream=Broken(b"1,b\n2,c\n3,")),
            httpx.Response(200, content=b"3,d\n"),
        )
        assert service.client().results(JOB_ID) == b"row,filename\n0,a\n1,b\n2,c\n3,d\n"
        assert [request.url.params.get("first_row") for request in service.requests] == [None, "1", "3"]

    @pytest.mark.parametrize("format", Format)
    def test_a_connection_that_breaks_again_at_the_same_place_is_told(self, format: Format) -> None:
        service = Service(*(httpx.Response(200, stream=Broken(b"row,")) for _ in range(3)))
        with pytest.raises(ServiceUnreachable, match="broke within the results"):
            service.client().results(JOB_ID, format)
        assert len(service.requests) == 2

    def test_what_a_proxy_cut_short_goes_on_as_well(self) -> None:
        service = Service(
            httpx.Response(200, content=b"row,filename\n0,a\n1,"),
            httpx.Response(200, content=b'1,b\n2,"c\n'),
            httpx.Response(200, content=b'2,"c\n"\n', headers={"Glyphq-Matching": "4"}),
            httpx.Response(200, content=b"3,d\n", headers={"Glyphq-Matching": "4"}),
        )
        assert service.client().results(JOB_ID) == b'row,filename\n0,a\n1,b\n2,"c\n"\n3,d\n'
        assert [request.url.params.get("first_row") for request in service.requests] == [None, "1", "2", "3"]

    def test_what_is_cut_short_again_at_the_same_place_is_told(self) -> None:
        cut = httpx.Response(200, content=b"row,filename\n0,a\n1,"), httpx.Response(200, content=b"1,")
        with pytest.raises(ServiceUnreachable, match="ended before the last row"):
            Service(*cut).client().results(JOB_ID)

    def test_some_of_them_that_were_cut_short_are_begun_anew(self, tmp_path: Path) -> None:
        three = {"Glyphq-Matching": "9"}
        service = Service(
            httpx.Response(200, content=b"row,filename\n7,a\n4,b\n", headers=three),
            httpx.Response(200, content=b"row,filename\n7,a\n4,b\n2,c\n", headers=three),
        )
        service.client().download(JOB_ID, tmp_path / "rows.csv", sort="confidence", offset=1, limit=3)
        assert (tmp_path / "rows.csv").read_bytes() == b"row,filename\n7,a\n4,b\n2,c\n"
        assert len(service.requests) == 2

    @pytest.mark.parametrize("format", Format)
    def test_an_answer_that_is_not_the_services_is_no_results(self, format: Format) -> None:
        portal = httpx.Response(200, json={"login": "first"}, headers={"Glyphq-Complete": ""})
        with pytest.raises(ServiceError, match="does not answer as a glyphq service does"):
            Service(portal).client().results(JOB_ID, format)

    def test_what_cannot_be_parted_is_begun_anew(self, tmp_path: Path) -> None:
        service = Service(
            httpx.Response(200, stream=Broken(b"PAR1 and more")), httpx.Response(200, content=b"PAR1 all")
        )
        service.client().download(JOB_ID, tmp_path / "rows.parquet")
        assert (tmp_path / "rows.parquet").read_bytes() == b"PAR1 all"

    def test_a_file_of_somebody_else_is_not_begun_anew(self) -> None:
        service = Service(httpx.Response(200, stream=Broken(b'{"results": [\n')))
        with pytest.raises(ServiceUnreachable):
            service.client().download(JOB_ID, BytesIO(), Format.JSON)
        assert len(service.requests) == 1


def line(row: int, label: str | None = "7", **more: Any) -> bytes:
    fields = {"row": row, "filename": f"{row}.png", "status": "classified" if label else "rejected", "label": label,
              "confidence": 0.9 if label else None, "top": [{"label": label, "confidence": 0.9}] if label else [],
              "reason": None if label else "not_an_image", "detail": None, **more}  # fmt: skip
    return json.dumps(fields).encode() + b"\n"


class TestRows:
    def test_they_are_records(self) -> None:
        later = {"final_label": "1", "corrected_by": "ada", "corrected_at": "2026-01-02T03:04:05Z"}
        service = Service(httpx.Response(200, content=line(0, **later) + line(1, None)))
        read, unread = service.client().rows(JOB_ID, corrected=True)
        assert (read.row, read.filename, read.status, read.label, read.confidence) == (
            0, "0.png", RowStatus.CLASSIFIED, "7", 0.9,
        )  # fmt: skip
        assert (read.top[0].label, read.final_label, read.corrected_by) == ("7", "1", "ada")
        assert (unread.label, unread.reason, unread.final_label) == (None, "not_an_image", None)
        assert [row.as_json() for row in (read, unread)] == [
            json.loads(text) for text in (line(0, **later), line(1, None))
        ]

    def test_a_connection_that_breaks_leaves_none_out_and_gives_none_twice(self) -> None:
        service = Service(
            httpx.Response(200, stream=Broken(line(0) + line(1) + b'{"row": 2')), httpx.Response(200, content=line(2))
        )
        assert [row.row for row in service.client().rows(JOB_ID)] == [0, 1, 2]
        assert [request.url.params.get("first_row") for request in service.requests] == [None, "2"]

    def test_an_answer_that_was_cut_short_goes_on_as_well(self) -> None:
        service = Service(
            httpx.Response(200, content=line(0) + line(1)[:9]),
            httpx.Response(200, content=line(1), headers={"Glyphq-Matching": "3"}),
            httpx.Response(200, content=line(2), headers={"Glyphq-Matching": "3"}),
        )
        assert [row.row for row in service.client().rows(JOB_ID)] == [0, 1, 2]
        service = Service(httpx.Response(200, content=line(0) + line(1)[:9]), httpx.Response(200, content=line(1)))
        assert [row.row for row in service.client().follow(JOB_ID)] == [0, 1]

    def test_left_early_and_closed_nothing_of_them_stays_open(self) -> None:
        class Unread(httpx.AsyncByteStream):
            is_ended = False

            async def __aiter__(self) -> AsyncIterator[bytes]:
                for number in range(3):
                    yield line(number)
                self.is_ended = True

        unread = Unread()
        answer = httpx.Response(200, headers={"Glyphq-Complete": "true"}, stream=unread)

        async def leave_early() -> None:
            async with AsyncClient("http://service", transport=httpx.MockTransport(lambda _: answer)) as client:
                async with aclosing(client.rows(JOB_ID)) as rows:
                    assert (await anext(rows)).row == 0
                assert unread.is_ended

        anyio.run(leave_early)

    def test_some_of_them_go_on_as_well(self) -> None:
        service = Service(httpx.Response(200, stream=Broken(line(9) + line(4))), httpx.Response(200, content=line(7)))
        found = service.client().rows(JOB_ID, sort="confidence", offset=5, limit=3)
        assert [row.row for row in found] == [9, 4, 7]
        params = service.requests[1].url.params
        assert (params["offset"], params["limit"], "first_row" in params) == ("7", "1", False)

    def test_what_is_none_is_as_if_it_were_not_given(self) -> None:
        service = Service(httpx.Response(200, stream=Broken(line(9))), httpx.Response(200, content=line(7)))
        found = service.client().rows(JOB_ID, sort="confidence", offset=None, limit=None)
        assert [row.row for row in found] == [9, 7]
        assert dict(service.requests[1].url.params) == {"format": "ndjson", "sort": "confidence", "offset": "1"}

    @pytest.mark.parametrize("wanted", [{"reviewed": False}, {"label": "7"}])
    def test_where_corrections_may_have_changed_which_they_are_a_break_is_an_error(self, wanted) -> None:
        service = Service(httpx.Response(200, stream=Broken(line(0) + line(1))), httpx.Response(200, content=line(3)))
        with pytest.raises(ServiceUnreachable, match="broke within the results"):
            list(service.client().rows(JOB_ID, **wanted))

    def test_a_connection_that_breaks_after_the_last_of_them_takes_none_away(self) -> None:
        service = Service(httpx.Response(200, stream=Broken(line(9) + line(4))))
        assert [row.row for row in service.client().rows(JOB_ID, sort="confidence", limit=2)] == [9, 4]
        assert len(service.requests) == 1

    def test_a_row_that_is_none_is_an_error_and_no_crash(self) -> None:
        for content in (b"<html>\n", b"{}\n"):
            with pytest.raises(ServiceError):
                list(Service(httpx.Response(200, content=content)).client().rows(JOB_ID))

    def test_followed_they_come_once_each_whatever_the_connection_does(self) -> None:
        service = Service(
            httpx.Response(200, stream=Broken(line(0) + b'{"ro')),
            httpx.Response(200, stream=Broken(b"", httpx.ReadTimeout("nothing new"))),
            httpx.ConnectError("Connection refused"),
            httpx.Response(200, stream=Broken(line(1))),
            httpx.Response(200, content=line(2)),
        )
        assert [row.row for row in service.client().follow(JOB_ID)] == [0, 1, 2]
        asked = [(request.url.params["first_row"], request.url.params["follow"]) for request in service.requests]
        assert asked == [("0", "true"), ("1", "true"), ("1", "true"), ("1", "true"), ("2", "true")]

    def test_followed_in_vain_it_gives_up(self) -> None:
        service = Service(httpx.Response(200, stream=Broken(b"")))
        with pytest.raises(ServiceUnreachable):
            list(service.client().follow(JOB_ID))
        assert 20 < sum(service.pauses) <= 30

    def test_followed_they_end_with_the_job(self) -> None:
        service = Service(problem(404, "job-not-found", "It was deleted."))
        with pytest.raises(JobNotFound):
            list(service.client().follow(JOB_ID))

    def test_classify_hands_in_waits_and_answers_with_all_of_them(self) -> None:
        service = Service(
            accepted(), httpx.Response(200, json=job_json()), httpx.Response(200, content=line(0) + line(1, None))
        )
        seen: list[JobState] = []
        rows = service.client().classify(b"an image", lambda job: seen.append(job.state), top_k=1)
        assert isinstance(rows, Rows)
        assert (len(rows), rows[1].reason, rows[:1], rows.job.state) == (2, "not_an_image", (rows[0],), "completed")
        assert seen == [JobState.COMPLETED]
        assert service.requests[0].url.params["top_k"] == "1"

    def test_classify_of_a_job_that_fails_is_told(self) -> None:
        with pytest.raises(JobFailed, match="cannot be read"):
            Service(accepted(), httpx.Response(200, json=job_json("failed"))).client().classify(b"an image")

    def test_shown_they_are_a_short_table(self) -> None:
        service = Service(
            accepted(),
            httpx.Response(200, json=job_json(warnings=["<b>They look inverted.</b>"])),
            httpx.Response(200, content=b"".join(map(line, range(11))) + line(11, None)),
        )
        rows = service.client().classify(b"an image")
        assert repr(rows).splitlines() == [
            "4 rows: 4 classified, 0 blank, 0 rejected", *(f"{n}  {n}.png  7  0.9000" for n in range(10)),
            "and 2 more", "warning: <b>They look inverted.</b>",
        ]  # fmt: skip
        html = rows._repr_html_()
        assert "<td>0</td><td>0.png</td><td>7</td><td>0.9000</td>" in html
        assert "<b>" not in html
        assert repr(rows[11]) == "<row 11 '11.png': rejected, not_an_image>"

    def test_shown_they_do_nothing_to_a_terminal(self) -> None:
        service = Service(
            accepted(),
            httpx.Response(200, json=job_json(warnings=["\x1b[2J"])),
            httpx.Response(200, content=line(0, filename="\x1b]0;a\nb\x85é.png")),
        )
        assert repr(service.client().classify(b"an image")).splitlines()[1:] == [
            r"0  \x1b]0;a\nb\x85é.png  7  0.9000",
            r"warning: \x1b[2J",
        ]

    def test_arrow_without_pyarrow_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
        with pytest.raises(SetupError, match="pip install pyarrow"):
            Service(httpx.Response(200)).client().arrow(JOB_ID)


class TestOtherCalls:
    def test_a_key_is_sent_as_a_bearer_token(self) -> None:
        service = Service(httpx.Response(200, json=job_json()))
        service.client(key="secret").status(JOB_ID)
        assert service.requests[0].headers["Authorization"] == "Bearer secret"
        assert "secret" not in str(service.requests[0].url)

    def test_jobs_are_fetched_page_by_page(self) -> None:
        service = Service(
            httpx.Response(200, json={"jobs": [job_json(id="c"), job_json(id="b")], "next": "b"}),
            httpx.Response(200, json={"jobs": [job_json(id="a")], "next": None}),
        )
        assert [job.id for job in service.client().jobs(JobState.COMPLETED, page_size=2)] == ["c", "b", "a"]
        assert [dict(request.url.params) for request in service.requests] == [
            {"limit": "2", "state": "completed"},
            {"limit": "2", "state": "completed", "cursor": "b"},
        ]

    def test_cancel_and_delete_use_their_routes(self) -> None:
        service = Service(httpx.Response(200, json=job_json("cancelled", classified=2)), httpx.Response(204))
        client = service.client()
        assert client.cancel(JOB_ID).state is JobState.CANCELLED
        client.delete(JOB_ID)
        assert [(request.method, request.url.path) for request in service.requests] == [
            ("POST", f"/v1/jobs/{JOB_ID}/cancel"),
            ("DELETE", f"/v1/jobs/{JOB_ID}"),
        ]

    def test_an_id_cannot_reach_another_route(self) -> None:
        service = Service(httpx.Response(204))
        service.client().delete("a/b?c")
        assert service.requests[0].url.raw_path == b"/v1/jobs/a%2Fb%3Fc"

    @pytest.mark.parametrize("job_id", ["", ".", ".."])
    @pytest.mark.parametrize("ask", ["status", "cancel", "delete", "wait", "results", "rows", "follow"])
    def test_an_id_that_is_none_is_told_before_anything_is_sent(self, ask: str, job_id: str) -> None:
        service = Service(httpx.Response(204))
        with pytest.raises(JobNotFound):
            list(getattr(service.client(), ask)(job_id))
        assert service.requests == []

    def test_a_job_may_be_named_by_what_was_answered_of_it(self) -> None:
        service = Service(httpx.Response(200, json=job_json()))
        job = service.client().status(JOB_ID)
        service.client().status(job)
        assert service.requests[0].url == service.requests[1].url

    def test_a_correction_is_put_and_taken_back(self) -> None:
        given = {"row": 3, "label": "7", "corrected_by": "ada", "corrected_at": "2026-01-02T03:04:05Z"}
        service = Service(httpx.Response(200, json=given), httpx.Response(204))
        client = service.client()
        kept = client.correct(JOB_ID, 3, "7")
        client.uncorrect(JOB_ID, 3)
        assert (kept.row, kept.label, kept.corrected_by, kept.corrected_at.year) == (3, "7", "ada", 2026)
        assert [(request.method, request.url.path, request.content) for request in service.requests] == [
            ("PUT", f"/v1/jobs/{JOB_ID}/items/3/correction", b'{"label": "7"}'),
            ("DELETE", f"/v1/jobs/{JOB_ID}/items/3/correction", b""),
        ]

    def test_an_image_is_asked_for_by_row_and_view(self) -> None:
        service = Service(httpx.Response(200, content=b"a picture"))
        assert service.client().image(JOB_ID, 12, View.MODEL) == b"a picture"
        assert str(service.requests[0].url) == f"http://service/v1/jobs/{JOB_ID}/items/12/image?view=model"

    def test_the_model_card_is_returned_as_it_is(self) -> None:
        assert Service(httpx.Response(200, json={"digest": "ab12"})).client().model() == {"digest": "ab12"}

    @pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False)])
    def test_readiness_is_asked_once(self, status: int, ready: bool) -> None:
        service = Service(httpx.Response(status, json={"ready": ready, "checks": {"redis": ready}}))
        assert service.client().ready() is ready
        assert service.client().checks() == {"redis": ready}
        assert len(service.requests) == 2

    def test_a_job_keeps_the_whole_answer(self) -> None:
        job = Service(httpx.Response(200, json=job_json(something_new=1))).client().status(JOB_ID)
        assert job.raw["something_new"] == 1
        assert job.ended_at is not None
        assert (job.ended_at - job.created_at).total_seconds() == pytest.approx(1.322)


class TestStrangers:
    @pytest.mark.parametrize("kind", [Client, AsyncClient])
    @pytest.mark.parametrize("address", ["localhost:8000", "ftp://host", "http://", "http://host:port", ""])
    def test_an_address_that_is_none_is_refused(self, address: str, kind: type) -> None:
        with pytest.raises(InvalidOption, match="not the address of a service"):
            kind(address)

    @pytest.mark.parametrize("kind", [Client, AsyncClient])
    @pytest.mark.parametrize("address", ["http://host/#key=secret", "https://me:secret@host", "me:secret@host"])
    def test_an_address_with_a_secret_in_it_is_refused_without_being_shown(self, address: str, kind: type) -> None:
        with pytest.raises(InvalidOption, match="a key is given apart") as caught:
            kind(address)
        assert "secret" not in str(caught.value)

    def test_a_key_is_taken_as_a_file_has_it(self) -> None:
        service = Service(httpx.Response(200, json=job_json()))
        service.client(key=" secret\r\n").status(JOB_ID)
        assert service.requests[0].headers["Authorization"] == "Bearer secret"

    @pytest.mark.parametrize("key", ["", " ", "line\nbreak", "ключ"])
    def test_a_key_that_no_header_can_carry_is_refused(self, key: str) -> None:
        with pytest.raises(InvalidOption, match="key"):
            Client(key=key)

    def test_address_and_key_may_come_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GLYPHQ_SERVER", "http://elsewhere:81/")
        monkeypatch.setenv("GLYPHQ_KEY", "secret")
        service = Service(httpx.Response(200, json=job_json()))
        client = Client(transport=httpx.MockTransport(service))
        client.status(JOB_ID)
        assert client.server == "http://elsewhere:81"
        assert service.requests[0].headers["Authorization"] == "Bearer secret"

    def test_a_key_follows_no_redirect(self) -> None:
        service = Service(httpx.Response(307, headers={"Location": "http://other.example/v1/jobs"}))
        with pytest.raises(ProblemReported, match=r"leads to http://other\.example/v1/jobs, which is not followed"):
            service.client(key="secret").status(JOB_ID)
        assert [request.url.host for request in service.requests] == ["service"]

    def test_an_error_page_of_something_between_is_a_problem_too(self) -> None:
        with pytest.raises(ProblemReported, match="answered 500 Internal Server Error") as caught:
            Service(httpx.Response(500, text="<html>")).client().status(JOB_ID)
        assert (caught.value.status, caught.value.code, caught.value.problem) == (500, "http-500", {})

    def test_what_went_wrong_inside_is_told_with_the_name_that_the_log_has_for_it(self) -> None:
        failed = problem(500, "internal-error", "Something went wrong.", request_id="1a2b")
        with pytest.raises(ProblemReported, match="Something went wrong") as caught:
            Service(failed).client().status(JOB_ID)
        assert (caught.value.code, caught.value.request_id) == ("internal-error", "1a2b")

    @pytest.mark.parametrize("body", ["<html>", "[]", '{"id": "x"}', json.dumps(job_json(state="dreaming"))])
    def test_an_answer_that_is_no_job_is_an_error_and_no_crash(self, body: str) -> None:
        with pytest.raises(ServiceError):
            Service(httpx.Response(200, text=body)).client().status(JOB_ID)

    @pytest.mark.parametrize("body", ["[]", "{}", '{"jobs": null, "next": null}', '{"jobs": [1], "next": null}'])
    def test_an_answer_that_is_no_list_of_jobs_is_an_error_and_no_crash(self, body: str) -> None:
        with pytest.raises(ServiceError):
            list(Service(httpx.Response(200, text=body)).client().jobs())

    def test_an_answer_that_is_not_the_services_has_erased_nothing(self) -> None:
        client = Service(httpx.Response(200, text="Log in first")).client()
        with pytest.raises(ServiceError, match="nothing has been erased"):
            client.delete(JOB_ID)
        with pytest.raises(ServiceError, match="nothing has been erased"):
            client.uncorrect(JOB_ID, 3)

    @pytest.mark.parametrize("ask", ["model", "checks", "ready"])
    def test_an_answer_that_is_no_object_is_an_error_and_no_crash(self, ask: str) -> None:
        with pytest.raises(ServiceError):
            getattr(Service(httpx.Response(200, text="[1]")).client(), ask)()


EXAMPLES = {
    DamagedObject: DamagedObject("data/1/results/00042.arrow", "it is damaged"),
    InvalidOption: InvalidOption("top_k", "Eleven is too many."),
    JobNotFinished: JobNotFinished("It still runs.", {"id": JOB_ID}),
    LimitExceeded: LimitExceeded("max_upload_bytes", 9, "Too large."),
    NoPicture: NoPicture("encrypted", "It is encrypted."),
    QuotaExceeded: QuotaExceeded("open_jobs", 9, 3600, "No more."),
}


@pytest.mark.parametrize("error", [EXAMPLES.get(kind) or kind("What went wrong.") for kind in _PROBLEMS], ids=repr)
def test_every_problem_of_the_service_is_raised_as_the_error_that_it_was(error: GlyphqError) -> None:
    from fastapi import FastAPI

    app = FastAPI()
    add_problem_handlers(app)

    @app.get("/v1/model")
    def fail() -> None:
        raise error

    async def ask() -> None:
        async with AsyncClient(transport=httpx.ASGITransport(app), retry_seconds=0) as client:
            await client.model()

    with pytest.raises(type(error)) as caught:
        anyio.run(ask)
    for raised in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert type(raised) is type(error)
        assert (vars(raised), str(raised)) == (vars(error), str(error))


class TestBothClients:
    def test_they_have_the_same_operations_with_the_same_words_and_parameters(self) -> None:
        def operations(kind: type) -> dict[str, Any]:
            return {name: made for name, made in vars(kind).items() if callable(made) and not name.startswith("_")}

        one, other = operations(Client), operations(AsyncClient)
        assert one.keys() == other.keys()
        for name in one.keys() - {"close"}:
            assert one[name].__doc__ == other[name].__doc__ is not None
            assert inspect.signature(one[name]).parameters == inspect.signature(other[name]).parameters

    def test_what_comes_out_stands_in_the_signature(self) -> None:
        assert inspect.signature(Client.status).return_annotation is glyphq.JobStatus
        assert inspect.signature(Client.rows).return_annotation == Generator[Row, None, None]
        assert inspect.signature(AsyncClient.rows).return_annotation == AsyncGenerator[Row, None]
        assert inspect.signature(Client.arrow).return_annotation == "pa.Table"

    def test_what_a_user_needs_is_there_to_import(self) -> None:
        assert {name: getattr(glyphq, name) for name in glyphq.__all__}
        assert glyphq.Correction is glyphq.client.Correction
        with pytest.raises(AttributeError, match="no attribute 'Klient'"):
            glyphq.Klient  # noqa: B018


def test_a_folder_is_packed_with_those_it_leads_to_each_once(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.png").write_bytes(b"b")
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"a")
    (folder / "more").symlink_to(tmp_path / "other")
    (folder / "round").symlink_to(folder)
    service = Service(accepted())
    service.client().submit(folder)
    with zipfile.ZipFile(io.BytesIO(service.requests[0].content)) as sent:
        assert sent.namelist() == ["a.png", "more/b.png"]


def test_a_link_to_a_folder_beside_it_packs_no_file_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "b" / "1.png").write_bytes(b"1")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b")
    for name in ("another", "one"):
        (tmp_path / name).symlink_to(tmp_path / "b")
    service = Service(accepted())
    service.client().submit(tmp_path)
    with zipfile.ZipFile(io.BytesIO(service.requests[0].content)) as sent:
        assert sent.namelist() == ["b/1.png"]


def test_a_file_given_twice_by_different_ways_is_packed_once_under_a_name_without_dots(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "page 2")
    service = Service(accepted())
    service.client().submit(["../a.png", folder / "a.png", "a.png", "../page 2/a.png"])
    assert list(entries(service.requests[0].content)) == ["a.png", "page 2/a.png"]


def test_names_that_are_no_utf8_stay_apart(tmp_path: Path) -> None:
    for name in (b"\xfe.png", b"\xff.png"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    service = Service(accepted())
    service.client().submit(tmp_path)
    assert entries(service.requests[0].content) == {r"\xfe.png": b"\xfe.png", r"\xff.png": b"\xff.png"}


def test_a_folder_that_cannot_be_read_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    (tmp_path / "a.png").write_bytes(b"a")
    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(PermissionError):
        Service(accepted()).client().submit(tmp_path)


@pytest.mark.parametrize("scans", ["", [""], ["a.png", ""]])
def test_an_empty_path_is_not_the_working_folder(scans: str | list[str]) -> None:
    service = Service(accepted())
    with pytest.raises(EmptyInput, match="the path is empty"):
        service.client().submit(scans)
    assert service.requests == []


@pytest.mark.parametrize("among", [[], ["a.png"]])
def test_a_pipe_is_refused_before_anything_is_sent(tmp_path: Path, among: list[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.png").write_bytes(b"a")
    service = Service(accepted())
    with pytest.raises(UnsupportedInput, match="pipe is no file"):
        service.client().submit([tmp_path / name for name in ("pipe", *among)])
    assert service.requests == []


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_while_it_is_sent_is_told(tmp_path: Path, change: int) -> None:
    file, size = tmp_path / "scans.zip", 600_000
    file.write_bytes(bytes(size))
    with pytest.raises(UploadInterrupted, match=r"scans\.zip changed while it was sent"):
        Service(accepted()).client().submit(file, on_upload=lambda *_: os.truncate(file, size + change))


def test_a_wait_that_the_service_holds_outlasts_a_short_timeout() -> None:
    service = Service(httpx.Response(200, json=job_json()))
    with Client("http://service", timeout_seconds=1, transport=httpx.MockTransport(service)) as client:
        client.wait(JOB_ID)
    assert service.requests[0].extensions["timeout"]["read"] > 10


def test_errors_while_reading_the_input_are_not_mistaken_for_the_network(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Service(accepted()).client().submit(tmp_path / "nothing.zip")


def test_the_last_of_repeated_uploads_reports_progress_from_the_start() -> None:
    seen: list[int] = []
    service = Service(httpx.ReadError("Connection reset"), accepted())
    service.client().submit(bytes(300_000), on_upload=lambda sent, _total: seen.append(sent))
    assert seen == [262_144, 300_000, 262_144, 300_000]
