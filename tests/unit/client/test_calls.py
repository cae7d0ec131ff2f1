"""The other calls: what they ask and what they make of the answer."""

import inspect
from collections.abc import AsyncGenerator, Generator
from typing import Any

import httpx
import pytest

import glyphq
from glyphq.client import AsyncClient, Client
from glyphq.client.exchange import LATE_SECONDS
from glyphq.errors import (
    JobNotFinished,
    JobNotFound,
    ServiceUnreachable,
)
from glyphq.jobs import JobState, View
from glyphq.records import Row
from tests.unit.client.service import (
    JOB_ID,
    Service,
    job_json,
)


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


def test_a_wait_that_the_service_holds_outlasts_a_short_timeout() -> None:
    service = Service(httpx.Response(200, json=job_json()))
    with Client("http://service", timeout_seconds=1, transport=httpx.MockTransport(service)) as client:
        client.wait(JOB_ID)
    assert service.requests[0].extensions["timeout"]["read"] > 10


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
