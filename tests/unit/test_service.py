"""What the API does while its store hangs or fails: nobody waits who need not."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis

from api.app import create_app
from api.service import Service
from glyphq import samples
from glyphq.callbacks import Delivery
from glyphq.errors import StoreError
from glyphq.jobs import Job
from glyphq.settings import Settings

_PATIENCE_SECONDS = 30.0


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http,
    ):
        yield app.state.service, http


@pytest.fixture
def settings(server: str, redis: Redis, tmp_path: Path) -> Settings:  # emptied
    return Settings(redis_url=server, store_url=f"file://{tmp_path}/store")


async def submitted(http: httpx.AsyncClient, wait_seconds: int) -> httpx.Response:
    """The same request each time, of a job with a callback."""
    return await http.post(
        "/v1/jobs",
        params={"callback_url": "https://example.org/told"},
        headers={"Idempotency-Key": "the same", "Prefer": f"wait={wait_seconds}"},
        content=next(iter(samples.draw(1, seed=2))).png,
    )


def test_a_callback_that_the_store_does_not_tell_of_holds_up_nobody_else(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = threading.Event(), threading.Event()

    def held_up(_: Job) -> Delivery:
        asked.set()
        answers.wait(_PATIENCE_SECONDS)
        return Delivery()

    async def scenario() -> tuple[int, bool]:
        async with served(settings) as (service, http):
            job = service.job("local", (await submitted(http, 0)).json()["id"])
            await asyncio.to_thread(service.ledger.cancel, job)
            monkeypatch.setattr(service.deliveries, "of", held_up)
            again = asyncio.create_task(submitted(http, 10))
            await asyncio.to_thread(asked.wait, _PATIENCE_SECONDS)
            status = (await http.get("/healthz")).status_code
            held = not again.done()
            answers.set()
            assert (await again).json()["id"] == job.id
            return status, held

    assert asyncio.run(scenario()) == (200, True)


def test_a_store_that_fails_is_asked_for_one_of_many_ends(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Job] = []

    def refuse(job: Job) -> bool:
        asked.append(job)
        raise StoreError("503 SlowDown")

    async def scenario() -> list[object]:
        async with served(settings) as (service, http):
            job = service.job("local", (await submitted(http, 0)).json()["id"])
            monkeypatch.setattr(service.ledger, "has_ended", refuse)
            return list(await asyncio.to_thread(service._look_at_all, [job] * 16))

    found = asyncio.run(scenario())
    assert len(found) == 16
    assert all(isinstance(each, StoreError) for each in found)
    assert len(asked) == 1
