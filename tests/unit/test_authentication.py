"""Keys that are shown while the store hangs."""

import asyncio
import threading
from pathlib import Path

import pytest

from api.edge import authentication
from api.edge.authentication import Authenticator
from glyphq.errors import StoreError
from glyphq.keys import Keys
from glyphq.local_blobs import LocalBlobs
from glyphq.settings import Settings


class SlowBlobs(LocalBlobs):
    """Answers when it is let; counts how often it was asked."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.answers, self.asked = threading.Event(), threading.Semaphore(0)
        self.times_asked, self.broken = 0, False

    def get(self, name: str) -> bytes | None:
        self.times_asked += 1
        self.asked.release()
        assert self.answers.wait(10)
        if self.broken:
            raise StoreError("The store does not answer.")
        return super().get(name)


@pytest.fixture
def blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlowBlobs:
    monkeypatch.setattr(authentication, "_READ_AGAIN_SECONDS", -1.0)
    monkeypatch.setattr(authentication, "_PATIENCE_SECONDS", 0.01)
    return SlowBlobs(tmp_path / "store")


@pytest.fixture
def key(blobs: SlowBlobs) -> str:
    return Keys(blobs).create("ann")[1]


@pytest.fixture
def authenticator(blobs: SlowBlobs) -> Authenticator:
    return Authenticator(Settings(keys="required"), blobs)


@pytest.mark.parametrize("broken", [False, True])
def test_a_known_key_is_read_once_however_often_it_is_shown_while_the_store_hangs(
    blobs: SlowBlobs, key: str, authenticator: Authenticator, caplog: pytest.LogCaptureFixture, broken: bool
) -> None:
    async def shown_again_and_again() -> None:
        blobs.answers.set()
        await authenticator.caller(key)
        blobs.answers.clear()
        for _ in range(3):
            callers = await asyncio.gather(*[authenticator.caller(key) for _ in range(5)])
            assert {caller.owner for caller in callers} == {"ann"}
        assert blobs.times_asked == 2
        blobs.broken = broken
        blobs.answers.set()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
        assert (await authenticator.caller(key)).owner == "ann"
        assert blobs.times_asked == 3

    asyncio.run(shown_again_and_again())
    assert not caplog.records


def test_whoever_shows_a_new_key_is_told_whose_it_is_though_another_who_showed_it_has_gone(
    blobs: SlowBlobs, key: str, authenticator: Authenticator
) -> None:
    async def shown_twice() -> str:
        leaving = asyncio.create_task(authenticator.caller(key))
        assert await asyncio.to_thread(blobs.asked.acquire, timeout=10)
        staying = asyncio.create_task(authenticator.caller(key))
        leaving.cancel()
        await asyncio.wait([leaving])
        blobs.answers.set()
        return (await staying).owner

    assert asyncio.run(shown_twice()) == "ann"
    assert blobs.times_asked == 1
