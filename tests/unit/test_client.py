"""The client against a transport that answers as the service does: what it sends, what it repeats, what it raises."""

import json
import os
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from glyphq.client import ATTEMPTS, Client, Format
from glyphq.errors import (
    EmptyInput,
    InvalidOption,
    JobNotFinished,
    ProblemReported,
    ServiceError,
    ServiceUnreachable,
    UnsupportedInput,
)
from glyphq.jobs import JobState, Kind, View

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

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, key: str | None = None) -> Client:
        return Client("http://service", key, transport=httpx.MockTransport(self), sleep=self.pauses.append)


class Broken(httpx.SyncByteStream):
    """Content that breaks off."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        raise httpx.ReadError("Connection reset")


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

    def test_a_limit_is_reported_with_its_fields_and_not_tried_again(self) -> None:
        service = Service(problem(413, "limit-exceeded", "The upload is too large.", limit="max_upload_bytes", value=9))
        with pytest.raises(ProblemReported, match=r"The upload is too large\.") as caught:
            service.client().submit(b"an image")
        assert (caught.value.status, caught.value.code) == (413, "limit-exceeded")
        assert caught.value.problem["limit"] == "max_upload_bytes"
        assert len(service.requests) == 1


class TestRepeating:
    def test_a_busy_service_is_asked_again_after_the_time_it_names(self) -> None:
        busy = problem(503, "store-full", "No room.", {"Retry-After": "7"})
        service = Service(busy, busy, httpx.Response(200, json=job_json()))
        assert service.client().status(JOB_ID).state is JobState.COMPLETED
        assert service.pauses == [7.0, 7.0]

    def test_pauses_grow_and_end_when_nobody_answers(self) -> None:
        service = Service(httpx.ConnectError("Connection refused"))
        with pytest.raises(ServiceUnreachable, match=r"Nobody answers at http://service: Connection refused\."):
            service.client().status(JOB_ID)
        assert service.pauses == [0.5, 1.0, 2.0]
        assert len(service.requests) == ATTEMPTS

    def test_a_service_that_stays_busy_is_reported_as_it_said(self) -> None:
        service = Service(problem(503, "store-full", "No room.", {"Retry-After": "0"}))
        with pytest.raises(ProblemReported, match="No room"):
            service.client().status(JOB_ID)
        assert len(service.requests) == ATTEMPTS

    def test_a_cancel_is_not_repeated(self) -> None:
        service = Service(httpx.ReadError("Connection reset"))
        with pytest.raises(ServiceUnreachable):
            service.client().cancel(JOB_ID)
        assert len(service.requests) == 1


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

    def test_past_its_timeout_it_raises_and_says_how_far_the_job_is(self) -> None:
        service = Service(httpx.Response(200, json=job_json("running", classified=2)))
        with pytest.raises(JobNotFinished, match="2 of 4 rows"):
            service.client().wait(JOB_ID, timeout_seconds=0)


class TestResults:
    def test_they_are_written_to_a_file(self) -> None:
        service = Service(httpx.Response(200, content=b"row,filename\n", headers={"Glyphq-Complete": "true"}))
        file = BytesIO()
        assert service.client().write_results(JOB_ID, file)
        assert file.getvalue() == b"row,filename\n"
        assert dict(service.requests[0].url.params) == {"format": "csv"}

    def test_partial_results_are_told_from_complete_ones(self) -> None:
        service = Service(httpx.Response(200, content=b"{}\n", headers={"Glyphq-Complete": "false"}))
        assert not service.client().write_results(JOB_ID, BytesIO(), Format.NDJSON, partial=True)
        assert dict(service.requests[0].url.params) == {"format": "ndjson", "partial": "true"}

    def test_those_of_a_running_job_are_a_problem(self) -> None:
        service = Service(problem(409, "job-not-finished", "2 of 4 rows are done.", {"Retry-After": "1"}))
        with pytest.raises(ProblemReported) as caught:
            service.client().results(JOB_ID)
        assert caught.value.code == "job-not-finished"
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
    def test_a_connection_that_breaks_again_and_again_is_told(self, format: Format) -> None:
        with pytest.raises(ServiceUnreachable, match="broke within the results"):
            Service(*(httpx.Response(200, stream=Broken(b"row,")) for _ in range(2))).client().results(JOB_ID, format)

    def test_what_cannot_be_resumed_is_not(self) -> None:
        service = Service(httpx.Response(200, stream=Broken(b'{"results": [\n')))
        with pytest.raises(ServiceUnreachable):
            service.client().results(JOB_ID, Format.JSON)
        assert len(service.requests) == 1


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
    @pytest.mark.parametrize("address", ["localhost:8000", "ftp://host", "http://", "http://host:port", ""])
    def test_an_address_that_is_none_is_refused(self, address: str) -> None:
        with pytest.raises(InvalidOption, match="not the address of a service"):
            Client(address)

    @pytest.mark.parametrize("key", ["", "line\nbreak", "ключ"])
    def test_a_key_that_no_header_can_carry_is_refused(self, key: str) -> None:
        with pytest.raises(InvalidOption, match="key"):
            Client(key=key)

    def test_an_error_page_of_something_between_is_a_problem_too(self) -> None:
        with pytest.raises(ProblemReported, match="answered 502 Bad Gateway") as caught:
            Service(httpx.Response(502, text="<html>")).client().status(JOB_ID)
        assert (caught.value.code, caught.value.problem) == ("http-502", {})

    @pytest.mark.parametrize("body", ["<html>", "[]", '{"id": "x"}', json.dumps(job_json(state="dreaming"))])
    def test_an_answer_that_is_no_job_is_an_error_and_no_crash(self, body: str) -> None:
        with pytest.raises(ServiceError):
            Service(httpx.Response(200, text=body)).client().status(JOB_ID)


def test_errors_while_reading_the_input_are_not_mistaken_for_the_network(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Service(accepted()).client().submit(tmp_path / "nothing.zip")


def test_the_last_of_repeated_uploads_reports_progress_from_the_start() -> None:
    seen: list[int] = []
    service = Service(httpx.ReadError("Connection reset"), accepted())
    service.client().submit(bytes(300_000), on_upload=lambda sent, _total: seen.append(sent))
    assert seen == [262_144, 300_000, 262_144, 300_000]
