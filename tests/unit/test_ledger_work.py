"""What the ledger promises of work: results, ends and rows are good or made again, once."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from uuid_utils import uuid7

from glyphq import results
from glyphq.errors import DamagedObject, JobAlreadyEnded, StoreError
from glyphq.jobs import Counts, End, Job, JobState, Model
from glyphq.ledger import Ledger
from glyphq.object_names import chunk_of, end_key, record_key, result_key
from glyphq.seals import seal
from tests.unit.ledgers import (
    DAMAGES,
    MODEL,
    Interrupted,
    accepted,
    damages,
    ended_as,
    fresh,
    interactive,
    objects,
    path_of,
    rows_of,
    spoil,
    table,
    work,
)


class TestResults:
    def test_a_result_is_read_back_with_its_model(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        assert ledger.result(job, 0) is None
        work(ledger, job, 0)
        found = ledger.result(job, 0)
        assert found is not None
        assert results.to_row_dicts(found[0]) == results.to_row_dicts(rows_of(ledger, job, 0))
        assert found[1] == MODEL

    def test_the_first_one_stands(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 0, model=Model("first", "engine"))
        work(ledger, job, 0, model=Model("second", "engine"))
        found = ledger.result(job, 0)
        assert found is not None
        assert found[1].digest == "first"

    @damages
    def test_a_damaged_one_is_never_served_and_the_next_replaces_it(
        self, ledger: Ledger, damage: Callable[[bytes], bytes]
    ) -> None:
        job = accepted(ledger)
        work(ledger, job, 0, model=Model("first", "engine"))
        spoil(ledger, result_key(job.id, 0), damage)
        with pytest.raises(DamagedObject) as raised:
            ledger.result(job, 0)
        assert chunk_of(raised.value.key) == 0
        work(ledger, job, 0, model=Model("second", "engine"))
        found = ledger.result(job, 0)
        assert found is not None
        assert found[1].digest == "second"

    def test_the_result_of_a_deleted_job_leaves_nothing(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        rows = results.serialize(rows_of(ledger, job, 0), MODEL)
        ledger.delete(job)
        ledger.put_result(job, 0, rows)
        assert objects(ledger) == []

    def test_stored_chunks_are_those_with_an_object(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        assert ledger.stored_chunks(job) == set()
        work(ledger, job, 2, 0)
        assert ledger.stored_chunks(job) == {0, 2}

    def test_a_tally_counts_good_results_only(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 0, 1)
        spoil(ledger, result_key(job.id, 1))
        tally = ledger.tally(job, {0, 1, 2})
        assert tally.counted == {0}
        assert tally.counts == Counts(total=5, classified=1, rejected=1)
        assert tally.counts.pending == 3


class TestFinish:
    def test_chunks_without_a_result_are_answered_and_the_job_stays_open(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        assert ledger.finish(job) == {0, 1, 2}
        work(ledger, job, 1)
        assert ledger.finish(job) == {0, 2}
        assert not ledger.has_ended(job)
        assert ledger.end(job) is None

    def test_with_all_results_the_job_is_completed(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 0, 1, 2)
        assert ledger.finish(job) == set()
        assert ledger.has_ended(job)
        end = fresh(ledger).end(job)
        assert end is not None
        assert end.outcome is JobState.COMPLETED
        assert end.counts == Counts(total=5, classified=3, rejected=2)
        assert end.counts.pending == 0
        assert end.counted == {0, 1, 2}
        assert end.models == (MODEL,)
        assert abs(end.ended_at - time.time()) < 60

    def test_it_is_completed_once(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 0, 1, 2)
        ledger.finish(job)
        first = ledger.end(job)
        assert ledger.finish(job) == set()
        assert ledger.end(job) == first

    def test_every_model_that_took_part_is_named(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        other = Model("digest-of-weights", "openvino 2026 f32 cpu")
        work(ledger, job, 0, 2)
        work(ledger, job, 1, model=other)
        ledger.finish(job)
        end = ledger.end(job)
        assert end is not None
        assert set(end.models) == {MODEL, other}

    def test_a_damaged_result_is_answered_as_missing_until_it_is_made_again(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 0, 1, 2)
        spoil(ledger, result_key(job.id, 1))
        assert ledger.finish(job) == {1}
        assert not ledger.has_ended(job)
        work(ledger, job, 1)
        assert ledger.finish(job) == set()
        assert ledger.has_ended(job)

    def test_results_are_on_the_disk_before_the_end_is(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        job = accepted(ledger)
        work(ledger, job, 0, 1, 2)
        synced: set[int] = set()
        fsync = os.fsync

        def recording(descriptor: int) -> None:
            if not ledger.has_ended(job):
                synced.add(os.fstat(descriptor).st_ino)
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", recording)
        ledger.finish(job)
        assert {path_of(ledger, result_key(job.id, chunk)).stat().st_ino for chunk in range(3)} <= synced

    def test_the_end_of_a_deleted_job_leaves_nothing(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 0, 1, 2)
        racing = Interrupted(ledger.blobs.root, "ends/", lambda: ledger.delete(job))
        Ledger(racing).finish(job)
        assert objects(ledger) == []

    @damages
    def test_a_damaged_end_is_made_again(self, ledger: Ledger, damage: Callable[[bytes], bytes]) -> None:
        job = accepted(ledger)
        work(ledger, job, 0, 1, 2)
        ledger.finish(job)
        good = ledger.end(job)
        assert good is not None
        spoil(ledger, end_key("local", job.id), damage)
        remade = fresh(ledger).end(job)
        assert remade is not None
        assert replace(remade, ended_at=good.ended_at) == good
        assert fresh(ledger).end(job) == remade

    def test_a_damaged_end_without_all_results_was_a_cancelled_jobs(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 0)
        ledger.blobs.create(end_key("local", job.id), seal(b"[]\n"))
        end = ledger.end(job)
        assert end is not None
        assert (end.outcome, end.counted, end.counts.pending) == (JobState.CANCELLED, frozenset({0}), 0)

    def test_a_damaged_end_that_held_the_rows_opens_the_job_again(self, ledger: Ledger) -> None:
        job = interactive(ledger)
        ledger.finish_interactive([(job, rows_of(ledger, job, 0))], MODEL)
        spoil(ledger, end_key("local", job.id), DAMAGES["zeroed"])
        assert ledger.end(job) is None
        assert list(ledger.open_jobs()) == [("local", job.id)]

    def test_of_a_cancelled_job_nothing_is_missing(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.cancel(job)
        assert ledger.finish(job) == set()
        assert ended_as(ledger, job) == JobState.CANCELLED


class TestInteractive:
    def test_jobs_that_are_accepted_together_are_read_back_as_they_were(self, ledger: Ledger) -> None:
        jobs = [replace(interactive(ledger), id=str(uuid7())) for _ in range(3)]
        ledger.accept_together(jobs)
        assert [fresh(ledger).job("local", job.id) for job in jobs] == jobs

    def test_rows_ride_in_the_end(self, ledger: Ledger) -> None:
        job = interactive(ledger)
        ledger.finish_interactive([(job, rows_of(ledger, job, 0))], MODEL)
        end = fresh(ledger).end(job)
        assert end is not None
        assert end.counts == Counts(total=1, classified=1)
        assert end.models == (MODEL,)
        assert table(ledger.rows(job, end)) == [(0, "a.png", "classified")]
        assert objects(ledger) == [end_key("local", job.id), record_key("local", job.id)]

    def test_an_end_that_stands_stays_though_another_cannot_be_made(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = interactive(ledger), interactive(ledger)
        create = ledger.blobs.create

        def refuse_the_second(key: str, data: bytes, **more: bool) -> bool:
            if second.id in key:
                raise StoreError("no room for it")
            return create(key, data, **more)

        monkeypatch.setattr(ledger.blobs, "create", refuse_the_second)
        with pytest.raises(StoreError):
            ledger.finish_interactive([(job, rows_of(ledger, job, 0)) for job in (first, second)], MODEL)
        assert (ledger.has_ended(first), ledger.has_ended(second)) == (True, False)

    def test_the_first_answer_stands(self, ledger: Ledger) -> None:
        job = interactive(ledger)
        ledger.finish_interactive([(job, rows_of(ledger, job, 0))], Model("first", "engine"))
        ledger.finish_interactive([(job, rows_of(ledger, job, 0))], Model("second", "engine"))
        end = ledger.end(job)
        assert end is not None
        assert [model.digest for model in end.models] == ["first"]

    def test_cancelled_before_it_was_answered_it_has_a_cancelled_row(self, ledger: Ledger) -> None:
        job = interactive(ledger)
        end = ledger.cancel(job)
        ledger.finish_interactive([(job, rows_of(ledger, job, 0))], MODEL)
        assert ledger.end(job) == end
        assert table(ledger.rows(job, end)) == [(0, "a.png", "cancelled")]

    def test_the_answer_to_a_deleted_job_leaves_nothing(self, ledger: Ledger) -> None:
        job = interactive(ledger)
        ledger.delete(job)
        ledger.finish_interactive([(job, rows_of(ledger, job, 0))], MODEL)
        assert objects(ledger) == []


class TestCancel:
    @pytest.mark.parametrize("done", [set(), {0}, {2}, {0, 1}, {1, 2}, {0, 1, 2}])
    def test_counts_add_up_whatever_was_done(self, ledger: Ledger, done: set[int]) -> None:
        job = accepted(ledger)
        work(ledger, job, *done)
        end = ledger.cancel(job)
        assert ledger.end(job) == end
        assert end.outcome is JobState.CANCELLED
        assert end.counted == done
        assert end.counts.pending == 0
        assert end.counts.cancelled == sum(part.rows for chunk, part in enumerate(job.chunks) if chunk not in done)
        statuses = [status for _, _, status in table(ledger.rows(job, end))]
        assert statuses.count("classified") == end.counts.classified
        assert statuses.count("rejected") == end.counts.rejected
        assert statuses.count("cancelled") == end.counts.cancelled
        assert len(statuses) == job.total

    def test_it_keeps_what_is_done_and_names_what_is_not(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 1)
        end = ledger.cancel(job)
        assert table(ledger.rows(job, end)) == [
            (0, "a.png", "cancelled"),
            (1, "b.png", "cancelled"),
            (2, "c.png", "classified"),
            (3, "d.png", "rejected"),
            (4, "e.png", "cancelled"),
        ]

    def test_results_that_come_later_do_not_count(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 0)
        end = ledger.cancel(job)
        before = table(ledger.rows(job, end))
        work(ledger, job, 1, 2)
        ledger.finish(job)
        assert ledger.end(job) == end
        assert table(ledger.rows(job, end)) == before

    def test_a_damaged_result_does_not_count(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 0, 1)
        spoil(ledger, result_key(job.id, 0))
        end = ledger.cancel(job)
        assert end.counted == {1}
        assert end.counts == Counts(total=5, classified=1, rejected=1, cancelled=3)

    def test_a_job_that_has_ended_cannot_be_cancelled(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.cancel(job)
        with pytest.raises(JobAlreadyEnded, match="already ended"):
            ledger.cancel(job)

    def test_who_loses_to_a_finish_is_told(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 0, 1, 2)
        racing = Interrupted(ledger.blobs.root, "ends/", lambda: ledger.finish(job))
        with pytest.raises(JobAlreadyEnded, match="just before"):
            Ledger(racing).cancel(job)
        end = ledger.end(job)
        assert end is not None
        assert end.outcome is JobState.COMPLETED

    def test_finish_and_cancel_at_once_make_one_end(self, ledger: Ledger) -> None:
        for _ in range(10):
            job = accepted(ledger)
            work(ledger, job, 0, 1, 2)
            together = threading.Barrier(2)

            def finish(job: Job = job, together: threading.Barrier = together) -> set[int]:
                together.wait()
                return fresh(ledger).finish(job)

            def cancel(job: Job = job, together: threading.Barrier = together) -> End | None:
                together.wait()
                try:
                    return fresh(ledger).cancel(job)
                except JobAlreadyEnded:
                    return None

            with ThreadPoolExecutor(2) as pool:
                finishing, cancelling = pool.submit(finish), pool.submit(cancel)
            end = ledger.end(job)
            assert end is not None
            assert finishing.result() == set()
            assert end.outcome is (JobState.COMPLETED if cancelling.result() is None else JobState.CANCELLED)
            assert cancelling.result() in (None, end)


class TestRows:
    def test_of_a_completed_job_they_are_all_there_in_order(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 2, 0, 1)
        ledger.finish(job)
        assert table(ledger.rows(job, ledger.end(job))) == [
            (0, "a.png", "classified"),
            (1, "b.png", "rejected"),
            (2, "c.png", "classified"),
            (3, "d.png", "rejected"),
            (4, "e.png", "classified"),
        ]

    def test_of_an_open_job_they_are_those_that_are_done(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        assert table(ledger.rows(job, None)) == []
        work(ledger, job, 2, 0)
        assert [row for row, _, _ in table(ledger.rows(job, None))] == [0, 1, 4]

    def test_of_a_cancelled_job_they_are_all_alike(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 0)
        batches = list(ledger.rows(job, ledger.cancel(job)))
        assert [batch.num_rows for batch in batches] == [2, 2, 1]
        assert {batch.schema.remove_metadata() for batch in batches} == {results.result_schema(job.options.top_k)}

    @damages
    def test_a_damaged_result_is_an_error_that_names_its_chunk(
        self, ledger: Ledger, damage: Callable[[bytes], bytes]
    ) -> None:
        job = accepted(ledger)
        work(ledger, job, 0, 1, 2)
        ledger.finish(job)
        spoil(ledger, result_key(job.id, 1), damage)
        rows = ledger.rows(job, ledger.end(job))
        assert next(rows).num_rows == 2
        with pytest.raises(DamagedObject) as raised:
            next(rows)
        assert chunk_of(raised.value.key) == 1

    def test_a_counted_result_that_is_gone_is_damage_not_a_gap(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 0, 1, 2)
        ledger.finish(job)
        ledger.blobs.delete(result_key(job.id, 2))
        with pytest.raises(DamagedObject, match="gone") as raised:
            table(ledger.rows(job, ledger.end(job)))
        assert chunk_of(raised.value.key) == 2
