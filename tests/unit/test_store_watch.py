"""A worker process whose store refuses it is not heard from and takes no work; nor is one with another store."""

from pathlib import Path

import pytest
from redis import Redis

from api.background.reconciler import Reconciler
from glyphq.broker import create_celery
from glyphq.dispatch import Dispatcher
from glyphq.errors import StoreError
from glyphq.ledger import Ledger
from glyphq.local_blobs import LocalBlobs
from glyphq.progress import Progress
from glyphq.settings import Settings
from tests.unit.ledgers import accepted
from worker.store_watch import StoreWatch


@pytest.fixture
def progress(redis: Redis) -> Progress:
    return Progress(redis, window=4, owner_window=8, lease_seconds=30)


def reconcile(ledger: Ledger, progress: Progress, redis_url: str) -> None:
    """One pass of an API with this store."""
    settings = Settings(redis_url=redis_url)
    Reconciler(settings, ledger, progress, Dispatcher(ledger, progress, create_celery(settings))).reconcile()


def test_a_store_that_answers_is_told_of_by_nobody(ledger: Ledger, progress: Progress) -> None:
    watch = StoreWatch(ledger, progress)
    assert watch.look()
    watch.pause()


def test_after_a_refusal_a_trial_write_says_when_the_process_works_again(
    ledger: Ledger, progress: Progress, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch = StoreWatch(ledger, progress)

    def refuse(key: str, _: bytes) -> None:
        raise StoreError(f"{key}: ExpiredToken")

    with monkeypatch.context() as refusing:
        refusing.setattr(ledger.blobs, "replace", refuse)
        for _ in range(3):
            watch.refused("ExpiredToken")
            assert not watch.look()
    assert watch.look()
    watch.pause()
    assert [entry.levelname for entry in caplog.records if entry.name == "worker.store_watch"] == ["ERROR"]


def test_a_store_that_refuses_from_the_start_is_noticed_without_work(
    ledger: Ledger, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(key: str) -> bytes:
        raise StoreError(f"{key}: AccessDenied")

    monkeypatch.setattr(ledger.blobs, "get", refuse)
    assert not StoreWatch(ledger, progress).look()


def test_another_store_than_the_apis_is_noticed(
    ledger: Ledger, progress: Progress, tmp_path: Path, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    reconcile(ledger, progress, server)
    assert StoreWatch(ledger, progress).look()
    assert not StoreWatch(Ledger(LocalBlobs(tmp_path / "other")), progress).look()
    assert "GLYPHQ_STORE_URL" in caplog.text


def test_of_two_services_with_two_stores_at_one_redis_the_second_leaves_the_firsts_jobs_alone(
    ledger: Ledger, progress: Progress, tmp_path: Path, server: str
) -> None:
    job = accepted(ledger)
    reconcile(ledger, progress, server)
    assert progress.open_jobs() == [(job.owner, job.id)]
    reconcile(Ledger(LocalBlobs(tmp_path / "other")), progress, server)
    assert progress.open_jobs() == [(job.owner, job.id)]
