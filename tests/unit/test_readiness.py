"""What `/readyz` finds of a store, without a service around it."""

import asyncio
import threading
from pathlib import Path

import pytest
from redis import Redis

from api.readiness import ReadinessCheck
from glyphq.ledger import Ledger
from glyphq.local_blobs import LocalBlobs
from glyphq.progress import Progress
from glyphq.settings import Settings


class Unconditional(LocalBlobs):
    """As a bucket whose service takes no notice of If-None-Match."""

    def create(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        self.replace(key, data)
        return durable


@pytest.fixture
def progress(redis: Redis) -> Progress:
    return Progress(redis, window=4, owner_window=8, lease_seconds=30)


def checks(ledger: Ledger, progress: Progress) -> dict[str, str]:
    return asyncio.run(ReadinessCheck(Settings(), ledger, progress).checks())


def test_a_store_that_puts_one_object_in_the_place_of_another_is_refused(tmp_path: Path, progress: Progress) -> None:
    assert "conditional puts" in checks(Ledger(Unconditional(tmp_path)), progress)["store"]
    assert checks(Ledger(LocalBlobs(tmp_path)), progress)["store"] == "ok"


def test_a_redis_that_another_stores_service_uses_is_refused(
    ledger: Ledger, tmp_path: Path, progress: Progress
) -> None:
    assert progress.claim_store(ledger.identity())
    assert checks(ledger, progress)["redis"] == "ok"
    other = Ledger(LocalBlobs(tmp_path / "other"))
    assert not progress.claim_store(other.identity())
    assert "another store" in checks(other, progress)["redis"]


def test_a_store_that_hangs_is_told_of_and_so_is_what_is_well(
    ledger: Ledger, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    replaced = ledger.blobs.replace

    def hang(key: str, data: bytes) -> None:
        answers.wait()
        replaced(key, data)

    async def asked() -> list[dict[str, str]]:
        readiness = ReadinessCheck(Settings(), ledger, progress)
        meanwhile = await readiness.checks()
        answers.set()
        monkeypatch.setattr("api.readiness._PATIENCE_SECONDS", 30.0)
        return [meanwhile, await readiness.checks()]

    monkeypatch.setattr(ledger.blobs, "replace", hang)
    monkeypatch.setattr("api.readiness._PATIENCE_SECONDS", 0.5)
    meanwhile, then = asyncio.run(asked())
    assert "has not answered" in meanwhile["store"]
    assert meanwhile["redis"] == meanwhile["model"] == "ok"
    assert then["store"] == then["disk"] == "ok"
