"""A worker process whose store refuses it is not heard from and takes no work; nor is one with another store."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from api.background.reconciler import Reconciler
from glyphq.broker import create_celery
from glyphq.dispatch import Dispatcher
from glyphq.errors import StoreError, StoreFull
from glyphq.ledger import Ledger
from glyphq.local_blobs import LocalBlobs
from glyphq.progress import STORE, Progress
from glyphq.settings import Settings
from tests.unit.ledgers import accepted
from worker.store_watch import StoreWatch


@pytest.fixture
def progress(redis: Redis) -> Progress:
    return Progress(redis, window=4, owner_window=8, lease_seconds=30)


@pytest.fixture
def watch(ledger: Ledger, progress: Progress, monkeypatch: pytest.MonkeyPatch) -> StoreWatch:
    """One whose tasks are out of patience at once."""
    monkeypatch.setattr("worker.store_watch._PATIENCE_SECONDS", 0.0)
    return StoreWatch(ledger, progress)


def reconcile(ledger: Ledger, progress: Progress, redis_url: str) -> None:
    """One pass of an API with this store."""
    settings = Settings(redis_url=redis_url)
    Reconciler(settings, ledger, progress, Dispatcher(ledger, progress, create_celery(settings))).reconcile()


def refusing(_: str, *__: object) -> None:
    raise StoreError("ExpiredToken")


def test_a_store_that_answers_is_told_of_by_nobody(watch: StoreWatch, caplog: pytest.LogCaptureFixture) -> None:
    assert watch.look()
    assert watch.answers()
    assert not caplog.records


@pytest.mark.parametrize("refused", ["get", "replace"])
def test_a_store_that_refuses_a_trial_takes_the_process_out_until_it_does_not(
    watch: StoreWatch, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refused: str
) -> None:
    assert watch.look()
    with monkeypatch.context() as patch:
        patch.setattr(ledger.blobs, refused, refusing)
        for _ in range(3):
            watch.failed(StoreError("ExpiredToken"))
            assert not watch.look()
            assert not watch.answers()
    assert watch.look()
    assert watch.answers()
    assert [entry.levelname for entry in caplog.records] == ["ERROR", "WARNING"]


def test_an_object_that_cannot_be_had_takes_nobody_out(watch: StoreWatch) -> None:
    watch.failed(StoreError("data/a/input: Input/output error"))
    assert watch.answers()


def test_a_full_store_takes_the_process_out_for_a_while(watch: StoreWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    watch.failed(StoreFull("No space left on device"))
    assert not watch.look()
    monkeypatch.setattr(watch, "_not_before", 0.0)  # as when it is over
    assert watch.look()


def test_a_store_that_refuses_from_the_start_is_noticed_without_work(
    watch: StoreWatch, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger.blobs, "get", refusing)
    assert not watch.look()


def test_another_store_than_the_apis_is_noticed(
    ledger: Ledger, progress: Progress, tmp_path: Path, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    reconcile(ledger, progress, server)
    assert StoreWatch(ledger, progress).look()
    assert not StoreWatch(Ledger(LocalBlobs(tmp_path / "other")), progress).look()
    assert "GLYPHQ_STORE_URL" in caplog.text


@pytest.mark.parametrize("vanish", [shutil.rmtree, lambda store: (store / "store-id").unlink()])
def test_a_store_that_is_mounted_no_more_is_noticed(
    ledger: Ledger, progress: Progress, tmp_path: Path, server: str, vanish: Callable[[Path], None]
) -> None:
    store = tmp_path / "store"
    reconcile(ledger, progress, server)
    watch = StoreWatch(ledger, progress)
    assert watch.look()
    shutil.copytree(store, tmp_path / "away")
    vanish(store)
    assert not watch.look()
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(tmp_path / "away", store)
    assert watch.look()


def test_of_two_services_with_two_stores_at_one_redis_the_second_leaves_the_firsts_jobs_alone(
    ledger: Ledger, progress: Progress, tmp_path: Path, server: str
) -> None:
    job = accepted(ledger)
    reconcile(ledger, progress, server)
    assert progress.open_jobs() == [(job.owner, job.id)]
    reconcile(Ledger(LocalBlobs(tmp_path / "other")), progress, server)
    assert progress.open_jobs() == [(job.owner, job.id)]


def test_a_pass_over_many_jobs_keeps_its_claim(
    ledger: Ledger, progress: Progress, redis: Redis, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        accepted(ledger)
    claimed = []
    finish = ledger.finish

    def slow(job: object) -> object:
        claimed.append(redis.delete(STORE))  # as when its time is over before the next job
        return finish(job)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "finish", slow)
    reconcile(ledger, progress, server)
    assert claimed == [1, 1]
