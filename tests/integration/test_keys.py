"""Several people on one service: without a key nothing, with another's key nothing of mine, and nobody takes it all."""

import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from glyphq import samples
from glyphq.client import Client
from glyphq.embedded import EmbeddedService, embedded_service
from glyphq.keys import Keys
from glyphq.local_blobs import LocalBlobs
from tests.faults.stack import until
from tests.integration.conftest import halted, zip_of


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    """A service that asks everybody for a key."""
    variables = {
        "GLYPHQ_KEYS": "required",
        "GLYPHQ_CHUNK_IMAGES": "64",
        "GLYPHQ_OWNER_WINDOW_CHUNKS": "4",
        "GLYPHQ_MAX_UPLOADS": "3",
        "GLYPHQ_KEY_UPLOADS": "2",
        "GLYPHQ_KEY_STREAMS": "4",
        "GLYPHQ_INTERACTIVE_BYTES": "100000",
    }
    store = tmp_path_factory.mktemp("keyed") / "store"
    with (tmp_path_factory.mktemp("log") / "log").open("w+b") as log:
        with embedded_service(store, 2, environment=variables, log=log) as running:
            yield running
        log.seek(0)
        printed = set(re.findall(rb"glyphq_[a-z0-9]{12}_[\w-]{43}", log.read()))
        assert len(printed) == 1, "the first key is printed, and no other key ever"


@pytest.fixture(scope="module")
def keys(keyed: EmbeddedService) -> Keys:
    return Keys(LocalBlobs(keyed.store))


@contextmanager
def unfinished_upload(keyed: EmbeddedService, text: str) -> Iterator[None]:
    """Within, an upload of which a part has come and the rest never does."""
    size, staged = 1 << 21, keyed.store / ".staging"
    before = _large_files(staged)
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {text}\r\nContent-Length: {2 * size}"
    with socket.create_connection(("127.0.0.1", httpx.URL(keyed.url).port or 0)) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode() + bytes(size))
        until(lambda: _large_files(staged) - before, "a part of it is staged")
        yield


def _large_files(folder: Path) -> set[Path]:
    """Uploads: what else the service writes passes through the same folder."""
    found = set()
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            found |= {path} if path.stat().st_size >= 1 << 20 else set()
    return found


def as_(keyed: EmbeddedService, text: str | None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {text}"} if text else {}
    return httpx.Client(base_url=keyed.url, headers=headers, timeout=60, trust_env=False)


@pytest.fixture(scope="module")
def ada(keyed: EmbeddedService, keys: Keys) -> Iterator[httpx.Client]:
    with as_(keyed, keys.create("ada")[1]) as http:
        yield http


@pytest.fixture(scope="module")
def bob(keyed: EmbeddedService, keys: Keys) -> Iterator[httpx.Client]:
    with as_(keyed, keys.create("bob")[1]) as http:
        yield http


@pytest.fixture(scope="module")
def archive(scans: dict[str, bytes]) -> bytes:
    return zip_of(scans)


def png() -> bytes:
    return next(iter(samples.draw(1, seed=5))).png


def operations(keyed: EmbeddedService) -> list[tuple[str, str]]:
    """Every operation of the API under /v1, as method and path."""
    described = httpx.get(f"{keyed.url}/openapi.json", trust_env=False).json()["paths"]
    return [(method, path) for path, methods in described.items() if path.startswith("/v1") for method in methods]


class TestEveryRoute:
    def test_without_a_key_that_counts_it_answers_401(
        self, keyed: EmbeddedService, keys: Keys, ada: httpx.Client
    ) -> None:
        job = ada.post("/v1/jobs", content=png()).json()["id"]
        key, good = keys.create("ada")
        expired = keys.create("ada", lives_seconds=-1)[1]
        revoked, revoked_text = keys.create("ada")
        keys.revoke(revoked.id)
        unknown = good.replace(key.id, "0" * 12)
        forged = good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB")
        for text in (None, "nonsense", good[:-1], f"{good}x", unknown, forged, expired, revoked_text):
            with as_(keyed, text) as http:
                for method, path in operations(keyed):
                    answer = http.request(method, path.format(job_id=job, row=0))
                    assert (answer.status_code, answer.json()["code"]) == (401, "key-refused"), (text, method, path)
                    assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_with_the_key_of_another_owner_it_knows_of_no_such_job(self, keyed, ada, bob) -> None:
        job = ada.post("/v1/jobs", content=png()).json()["id"]
        of_jobs = [(method, path) for method, path in operations(keyed) if "{job_id}" in path]
        assert len(of_jobs) >= 5
        for method, path in of_jobs:
            answer = bob.request(method, path.format(job_id=job, row=0))
            assert (answer.status_code, answer.json()["code"]) == (404, "job-not-found"), (method, path)
        assert job not in bob.get("/v1/jobs").text
        assert ada.get(f"/v1/jobs/{job}").is_success

    def test_two_keys_of_one_owner_see_the_same_jobs(
        self, keyed: EmbeddedService, keys: Keys, ada: httpx.Client
    ) -> None:
        job = ada.post("/v1/jobs", content=png()).json()["id"]
        with as_(keyed, keys.create("ada")[1]) as other:
            assert other.get(f"/v1/jobs/{job}").is_success

    def test_an_idempotency_key_is_its_owners_alone(self, ada: httpx.Client, bob: httpx.Client) -> None:
        headers = {"Idempotency-Key": "the same"}
        mine = ada.post("/v1/jobs", content=png(), headers=headers).json()["id"]
        assert bob.post("/v1/jobs", content=png(), headers=headers).json()["id"] != mine
        assert ada.post("/v1/jobs", content=png(), headers=headers).json()["id"] == mine

    def test_whether_it_lives_is_told_to_everybody(self, keyed: EmbeddedService) -> None:
        with as_(keyed, None) as http:
            assert http.get("/healthz").is_success
            assert http.get("/readyz").is_success
            assert http.get("/openapi.json").is_success

    def test_why_it_is_not_ready_is_told_to_whoever_has_a_key(self, tmp_path: Path) -> None:
        store, variables = tmp_path / "store", {"GLYPHQ_KEYS": "required", "GLYPHQ_DISK_RESERVE_BYTES": str(1 << 60)}
        with embedded_service(store, 1, environment=variables) as full:
            text = Keys(LocalBlobs(store)).create("ada")[1]
            told = []
            for key in (None, "glyphq_no_key", text):
                with as_(full, key) as http:
                    told.append(http.get("/readyz").json()["checks"]["disk"])
        assert told[0] == told[1] == "Not ok; asked with a key, it says why."
        assert "bytes left" in told[2]

    def test_a_key_in_the_address_is_none(self, keyed: EmbeddedService, keys: Keys) -> None:
        text = keys.create("ada")[1]
        with as_(keyed, None) as http:
            for name in ("key", "token", "access_token", "api_key"):
                assert http.get("/v1/jobs", params={name: text}).status_code == 401


class TestKeys:
    def test_the_first_key_is_of_the_owner_that_a_service_without_keys_has(self, keys) -> None:
        (first,) = [key for key in keys.all() if key.name == "the first key"]
        assert first.owner == "local"
        assert keys.create_first("local") is None

    def test_nothing_in_the_store_opens_anything(self, keyed: EmbeddedService, keys: Keys) -> None:
        text = keys.create("ada")[1]
        secret = text.split("_", 2)[2]
        stored = b"".join(path.read_bytes() for path in (keyed.store / "keys").iterdir())
        assert secret.encode() not in stored

    def test_a_revoked_key_is_soon_refused(self, keyed: EmbeddedService, keys: Keys) -> None:
        key, text = keys.create("ada")
        with as_(keyed, text) as http:
            assert http.get("/v1/jobs").is_success
            keys.revoke(key.id)
            until(lambda: http.get("/v1/jobs").status_code == 401, "the key is refused")

    def test_a_damaged_key_is_refused(self, keyed: EmbeddedService, keys: Keys) -> None:
        key, text = keys.create("ada")
        path = keyed.store / "keys" / f"{key.id}.json"
        path.write_bytes(path.read_bytes().replace(b'"ada"', b'"bob"'))
        with as_(keyed, text) as http:
            assert http.get("/v1/jobs").status_code == 401


class TestLimits:
    def test_one_request_too_many_in_a_minute(self, keyed, keys, ada) -> None:
        with as_(keyed, keys.create("carl", limits={"requests_per_minute": 5})[1]) as http:
            answers = [http.get("/v1/jobs") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        refused = answers[-1]
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert (refused.json()["code"], refused.json()["limit"], refused.json()["value"]) == (
            "quota-exceeded", "requests_per_minute", 5,
        )  # fmt: skip
        assert ada.get("/v1/jobs").is_success

    def test_more_bytes_than_a_key_may_keep(self, keyed: EmbeddedService, keys: Keys, archive: bytes) -> None:
        most = len(archive) * 5 // 2
        text = keys.create("dora", limits={"stored_bytes": most})[1]
        with as_(keyed, text) as http:
            jobs = [http.post("/v1/jobs", content=archive).json().get("id") for _ in range(2)]
            refused = http.post("/v1/jobs", content=archive)
            assert refused.status_code == 429
            assert (refused.json()["limit"], refused.json()["value"]) == ("stored_bytes", most)
            assert "Delete jobs" in refused.json()["detail"]
            assert len(http.get("/v1/jobs").json()["jobs"]) == 2
            for job in jobs:
                http.delete(f"/v1/jobs/{job}")
            until(lambda: http.post("/v1/jobs", content=archive).is_success, "there is room again")

    def test_more_open_jobs_than_a_key_may_have(self, keyed: EmbeddedService, keys: Keys, archive: bytes) -> None:
        text = keys.create("emil", limits={"open_jobs": 2})[1]
        with as_(keyed, text) as http, halted(keyed):
            assert [http.post("/v1/jobs", content=archive).status_code for _ in range(3)] == [202, 202, 429]
            refused = http.post("/v1/jobs", content=archive)
            assert (refused.json()["limit"], refused.json()["value"]) == ("open_jobs", 2)
            assert http.post("/v1/jobs", content=png()).status_code == 202  # a single image is none of them
        with as_(keyed, text) as http:
            until(lambda: http.post("/v1/jobs", content=archive).is_success, "a job has ended")

    def test_uploads_that_never_end_take_no_more_than_their_places(
        self, keyed: EmbeddedService, keys: Keys, archive: bytes, bob: httpx.Client
    ) -> None:
        large = bytes(1 << 18)
        text, other = keys.create("fred")[1], keys.create("gina")[1]
        with as_(keyed, text) as fred, unfinished_upload(keyed, text), unfinished_upload(keyed, text):
            refused = fred.post("/v1/jobs", content=large)
            assert (refused.status_code, refused.json()["limit"]) == (429, "uploads")
            assert fred.post("/v1/jobs", content=png()).is_success
            assert bob.post("/v1/jobs", content=archive).is_success
            with unfinished_upload(keyed, other):
                refused = bob.post("/v1/jobs", content=large)
                assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
                assert int(refused.headers["Retry-After"]) > 0
                answered = bob.post("/v1/jobs", content=png(), headers={"Prefer": "wait=20"})
                assert answered.json()["state"] == "completed"
        until(lambda: bob.post("/v1/jobs", content=large).status_code == 415, "the places are free again")

    def test_answers_that_last_take_no_more_than_their_places(self, keyed, keys: Keys, archive: bytes, bob) -> None:
        with as_(keyed, keys.create("jane")[1]) as jane, halted(keyed), ExitStack() as stack:
            job = f"/v1/jobs/{jane.post('/v1/jobs', content=archive).json()['id']}"
            for query in ("events", "events", "results?follow=true", "results?follow=true"):
                stack.enter_context(jane.stream("GET", f"{job}/{query}"))
            for query in ("events", "results?partial=true"):
                refused = jane.get(f"{job}/{query}")
                assert (refused.status_code, refused.json()["limit"]) == (429, "streams")
            mine = f"/v1/jobs/{bob.post('/v1/jobs', content=archive).json()['id']}"
            assert bob.get(f"{mine}/results?partial=true").is_success
            stack.close()
            until(lambda: jane.get(f"{job}/results?partial=true").is_success, "the places are free again")

    def test_a_flood_of_one_key_does_not_hold_up_another(self, keyed: EmbeddedService, keys: Keys) -> None:
        """Bob's job is done while nearly all of the flood that came before it still waits."""
        flood = zip_of({sample.filename: sample.png for sample in samples.draw(64, seed=9)})
        with Client(keyed.url, keys.create("hugo")[1]) as hugo, Client(keyed.url, keys.create("bob")[1]) as bob:
            with halted(keyed), ThreadPoolExecutor(4) as pool:
                jobs = list(pool.map(lambda _: hugo.submit(flood).id, range(60)))
                mine = bob.submit(flood)
            mine = bob.wait(mine.id, timeout_seconds=60)
            others = [hugo.wait(job, timeout_seconds=120) for job in jobs]
        assert {job.state for job in (mine, *others)} == {"completed"}
        assert sum(job.ended_at < mine.ended_at for job in others) < len(jobs) // 2

    def test_a_flood_of_forms_holds_up_neither_anothers_image_nor_anothers_job(self, keyed, keys, archive) -> None:
        """The same, with the flood in the lane that is for what people wait for."""
        form = [("file", (sample.filename, sample.png)) for sample in samples.draw(32, seed=9)]
        with as_(keyed, keys.create("ines")[1]) as ines, as_(keyed, keys.create("bob")[1]) as bob:
            with halted(keyed), ThreadPoolExecutor(4) as pool:
                flood = list(pool.map(lambda _: ines.post("/v1/jobs", files=form).json()["id"], range(100)))
                mine = [bob.post("/v1/jobs", content=content).json()["id"] for content in (archive, png())]
            ended = [self.ended(bob, job) for job in mine]
            others = [self.ended(ines, job) for job in flood]
        assert sum(other < max(ended) for other in others) < len(others) // 2

    @staticmethod
    def ended(http: httpx.Client, job: str) -> str:
        view = http.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=30"}).json()
        assert view["state"] == "completed"
        return view["ended_at"]
