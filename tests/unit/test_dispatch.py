"""What is due is sent and what is done is ended, whatever Redis believes; and the reconciler outlives every fault."""

import json
import queue
import threading
from dataclasses import replace

import pytest
from redis import Redis

from api.background.reconciler import Reconciler
from glyphq.broker import create_celery
from glyphq.dispatch import Dispatcher
from glyphq.errors import StoreError
from glyphq.jobs import Counts, Job
from glyphq.ledger import Ledger
from glyphq.logs import bound_request_id
from glyphq.object_names import record_key, result_key
from glyphq.progress import BULK_QUEUE, EPOCH, Progress
from glyphq.settings import Settings
from tests.unit.ledgers import DAMAGES, accepted, prepared, spoil, work

OWNER_WINDOW = 8


@pytest.fixture
def progress(redis: Redis) -> Progress:
    return Progress(redis, window=4, owner_window=OWNER_WINDOW, lease_seconds=30)


@pytest.fixture
def dispatcher(server: str, ledger: Ledger, progress: Progress) -> Dispatcher:
    return Dispatcher(ledger, progress, create_celery(Settings(redis_url=server)))


def sent(redis: Redis) -> list[tuple[str, int]]:
    """(job, chunk) of the messages in the queue, oldest first, which is emptied."""
    messages = [json.loads(text) for text in redis.lrange(BULK_QUEUE, 0, -1)]
    redis.delete(BULK_QUEUE)
    arguments = [message["headers"]["kwargsrepr"] for message in reversed(messages)]
    return [(text.split("'job_id': '")[1][:36], int(text.split("'chunk': ")[1].split(",")[0])) for text in arguments]


def all_done(progress: Progress, job: Job) -> None:
    """Redis believes that every chunk is done."""
    for chunk, part in enumerate(job.chunks):
        progress.done(job.owner, job.id, chunk, len(job.chunks), Counts(part.rows, classified=part.rows))


class TestRestore:
    def test_a_job_without_results_is_sent_whole(self, dispatcher, ledger, redis):
        job = accepted(ledger)
        dispatcher.restore(job)
        assert sent(redis) == [(job.id, 0), (job.id, 1), (job.id, 2)]

    def test_only_what_has_no_result_is_sent(self, dispatcher, ledger, redis):
        job = accepted(ledger)
        work(ledger, job, 1)
        dispatcher.restore(job)
        assert sent(redis) == [(job.id, 0), (job.id, 2)]

    def test_a_job_with_all_results_ends(self, dispatcher, ledger, redis):
        job = accepted(ledger)
        work(ledger, job, 0, 1, 2)
        dispatcher.restore(job)
        assert ledger.has_ended(job)
        assert sent(redis) == []

    def test_a_damaged_result_is_sent_again_though_redis_believes_it_done(self, dispatcher, ledger, progress, redis):
        job = accepted(ledger)
        work(ledger, job, 0, 1, 2)
        all_done(progress, job)
        spoil(ledger, result_key(job.id, 1), DAMAGES["cut-in-half"])
        dispatcher.restore(job)
        assert not ledger.has_ended(job)
        assert sent(redis) == [(job.id, 1)]
        work(ledger, job, 1)
        dispatcher.recover(job)
        progress.done(job.owner, job.id, 1, 3, Counts(2, classified=2))
        dispatcher.recover(job)
        assert ledger.has_ended(job)

    def test_a_damaged_result_of_an_ended_job_is_asked_for_once(self, dispatcher, ledger, redis):
        job = accepted(ledger)
        dispatcher.mend(job, 1)
        dispatcher.mend(job, 1)
        assert sent(redis) == [(job.id, 1)]

    def test_the_end_of_a_job_lets_the_next_of_its_owner_in(self, dispatcher, ledger, redis):
        jobs = [accepted(ledger) for _ in range(OWNER_WINDOW + 1)]
        for job in jobs:
            dispatcher.start(job)
        assert {job_id for job_id, _ in sent(redis)} == {job.id for job in jobs[:OWNER_WINDOW]}
        work(ledger, jobs[2], 0, 1, 2)
        dispatcher.restore(jobs[2])
        assert sent(redis) == [(jobs[-1].id, 0)]


class TestReconciler:
    @pytest.fixture
    def reconciler(self, ledger, progress, dispatcher) -> Reconciler:
        return Reconciler(Settings(), ledger, progress, dispatcher)

    def test_a_flushed_redis_is_told_again(self, reconciler, ledger, redis):
        job = accepted(ledger)
        reconciler.reconcile()
        assert len(sent(redis)) == 3
        redis.flushall()
        reconciler.reconcile()
        assert sent(redis) == [(job.id, 0), (job.id, 1), (job.id, 2)]
        assert redis.exists(EPOCH)

    def test_what_could_not_be_sent_is_found(self, reconciler, ledger, redis):
        reconciler.reconcile()
        job = accepted(ledger)
        reconciler.reconcile()
        assert sent(redis) == []
        reconciler.look_at_store()
        reconciler.reconcile()
        assert sent(redis) == [(job.id, 0), (job.id, 1), (job.id, 2)]

    @pytest.mark.parametrize("fault", [StoreError("input/output error"), ValueError("what nobody foresaw")])
    def test_a_fault_of_one_job_is_no_concern_of_the_others(self, reconciler, ledger, redis, monkeypatch, fault):
        faulty, sound = accepted(ledger), accepted(ledger)
        stored_chunks = ledger.stored_chunks

        def failing(job: Job) -> set[int]:
            if job.id == faulty.id:
                raise fault
            return stored_chunks(job)

        monkeypatch.setattr(ledger, "stored_chunks", failing)
        reconciler.reconcile()
        assert {(sound.id, 0), (sound.id, 1), (sound.id, 2)} <= set(sent(redis))

    def test_a_job_whose_record_is_damaged_is_given_up_and_told_of_once(
        self, reconciler, dispatcher, ledger, progress, caplog
    ):
        job = accepted(ledger)
        dispatcher.start(job)
        spoil(ledger, record_key(job.owner, job.id), DAMAGES["cut-in-half"])
        for _ in range(3):
            reconciler.look_at_store()
            reconciler.reconcile()
        assert progress.open_jobs() == []
        assert [entry.levelname for entry in caplog.records if job.id in entry.getMessage()] == ["ERROR"]

    def test_of_two_sweeps_the_second_waits_for_the_first(self, reconciler, monkeypatch):
        begun, over = queue.SimpleQueue(), threading.Event()

        def sweep(_: float) -> int:
            begun.put(1)
            over.wait(10)
            return 0

        monkeypatch.setattr(reconciler._sweeper, "run", sweep)
        monkeypatch.setattr("api.background.reconciler._SWEEP_SECONDS", 0.0)
        reconciler.reconcile()
        for _ in range(3):
            reconciler._sweep_if_due()
        assert begun.get(timeout=10)
        over.set()
        reconciler._sweeping.join()
        assert begun.empty()
        reconciler._sweep_if_due()
        assert begun.get(timeout=10)

    def test_it_outlives_what_nobody_foresaw(self, reconciler, ledger, redis, monkeypatch, caplog):
        accepted(ledger)
        with monkeypatch.context() as broken:
            broken.setattr(ledger, "open_jobs", lambda: 1 / 0)
            reconciler.reconcile()
        assert "ZeroDivisionError" in caplog.text
        reconciler.look_at_store()
        reconciler.reconcile()
        assert len(sent(redis)) == 3

    def test_two_at_once_do_not_send_twice(self, reconciler, ledger, progress, dispatcher, redis):
        accepted(ledger)
        reconciler.reconcile()
        Reconciler(Settings(), ledger, progress, dispatcher).reconcile()
        assert len(sent(redis)) == 3

    def test_a_chunk_sent_again_is_a_warning_once_a_worker_has_taken_one(
        self, reconciler, ledger, progress, redis, caplog
    ):
        """Before, a worker that starts has taken messages and loads its model."""
        caplog.set_level("INFO", "glyphq.dispatch")
        job = accepted(ledger)
        reconciler.reconcile()
        for level in ("INFO", "WARNING"):
            assert sent(redis)
            redis.hset(f"glyphq:job:{job.id}:out", "1", "sent:1")  # long ago, and the queue is empty
            reconciler.reconcile()
            assert caplog.records[-1].getMessage() == f"job {job.id}: chunks [1] are sent again"
            assert caplog.records[-1].levelname == level
            progress.claim(job.id, 0, "token", 1)

    def test_what_is_logged_of_a_job_names_its_request(self, reconciler, ledger, monkeypatch):
        ledger.accept(replace(prepared(ledger), request_id="scan-room/17"))
        seen = []
        monkeypatch.setattr(reconciler._dispatcher, "restore", lambda _: seen.append(bound_request_id()))
        reconciler.reconcile()
        assert seen == ["scan-room/17"]
        assert bound_request_id() is None
