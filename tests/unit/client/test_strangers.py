"""Addresses, keys and answers that are not the service's; and the errors that are."""

import json
import pickle

import anyio
import httpx
import pytest

from api.problems import _PROBLEMS, add_problem_handlers
from glyphq.client import AsyncClient, Client
from glyphq.errors import (
    DamagedObject,
    GlyphqError,
    InvalidOption,
    JobNotFinished,
    LimitExceeded,
    NoPicture,
    ProblemReported,
    QuotaExceeded,
    ServiceError,
)
from tests.unit.client.service import JOB_ID, Service, job_json, problem


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
