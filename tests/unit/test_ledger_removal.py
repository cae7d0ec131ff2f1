"""What the ledger promises of deletion: nothing is left, nothing else is touched; and what an owner holds."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from glyphq.errors import JobNotFound, StoreError, StoreFull
from glyphq.jobs import Job, Options
from glyphq.ledger import Held, Ledger
from glyphq.local_blobs import LocalBlobs
from glyphq.object_names import callback_key, data_prefix, end_key, idempotency_key, input_key, record_key
from glyphq.sweep import Sweep
from tests.unit.ledgers import (
    DAMAGES,
    DAY,
    KEY,
    Interrupted,
    accepted,
    age,
    fresh,
    objects,
    path_of,
    prepared,
    spoil,
    work,
)


class TestHeld:
    def test_it_is_the_bytes_of_records_and_inputs_and_the_zips_at_work(self, ledger: Ledger) -> None:
        ended, at_work = accepted(ledger), accepted(ledger)
        ledger.cancel(ended)
        accepted(ledger, owner="other")
        keys = [key for job in (ended, at_work) for key in (record_key("local", job.id), input_key(job.id))]
        assert ledger.held("local") == Held(1, sum(len(ledger.blobs.get(key) or b"") for key in keys))
        ledger.delete(ended)
        assert ledger.held("local") == Held(1, sum(len(ledger.blobs.get(key) or b"") for key in keys[2:]))

    def test_a_job_that_has_been_met_is_not_looked_at_again(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(20):
            ledger.cancel(accepted(ledger))
        held = ledger.held("local")
        monkeypatch.setattr(ledger.blobs, "size", _unasked)
        assert ledger.held("local") == held


def test_jobs_that_have_ended_cost_no_look_each(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        ledger.cancel(accepted(ledger))
    at_work = accepted(ledger)
    monkeypatch.setattr(ledger.blobs, "size", _unasked)
    monkeypatch.setattr(ledger.blobs, "modified", _unasked)
    assert list(ledger.open_jobs()) == [("local", at_work.id)]
    assert Sweep(ledger).run(DAY) == 0


def _unasked(key: str) -> int:
    raise AssertionError(key)


class TestDelete:
    @pytest.mark.parametrize("ended", [False, True])
    def test_it_leaves_no_object(self, ledger: Ledger, ended: bool) -> None:
        job = accepted(ledger, key=KEY)
        work(ledger, job, 0, 1, 2)
        if ended:
            ledger.finish(job)
        ledger.delete(job)
        assert objects(ledger) == []
        with pytest.raises(JobNotFound):
            ledger.job("local", job.id)

    def test_another_process_that_knew_the_job_finds_it_no_more(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        other = fresh(ledger)
        other.job("local", job.id)
        ledger.delete(job)
        with pytest.raises(JobNotFound):
            other.job("local", job.id)

    def test_an_index_that_is_made_again_meanwhile_is_not_left(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = accepted(ledger)
        replace_object = ledger.blobs.replace

        def deleted_before(key: str, data: bytes) -> None:
            fresh(ledger).delete(job)
            replace_object(key, data)

        monkeypatch.setattr(ledger.blobs, "replace", deleted_before)
        ledger.inputs.rebuild_index(job)
        assert objects(ledger) == []

    def test_other_jobs_are_left_alone(self, ledger: Ledger) -> None:
        kept, deleted = accepted(ledger), accepted(ledger)
        before = [name for name in objects(ledger) if kept.id in name]
        ledger.delete(deleted)
        assert objects(ledger) == before

    def test_again_is_no_error(self, ledger: Ledger) -> None:
        job = accepted(ledger, key=KEY)
        ledger.delete(job)
        ledger.delete(job)

    def test_a_job_whose_record_is_damaged_can_be_erased(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.cancel(job)
        spoil(ledger, record_key("local", job.id))
        ledger.delete_damaged("local", job.id)
        assert objects(ledger) == []


class TestKeysAndDeletion:
    def test_who_won_the_key_does_not_revive_a_job_that_was_deleted_before_its_record(self, ledger: Ledger) -> None:
        job = prepared(ledger, key=KEY)

        def found_by_another_and_deleted() -> None:
            found = ledger.accept(prepared(ledger, key=KEY))
            assert found.id == job.id
            ledger.delete(found)

        Ledger(Interrupted(ledger.blobs.root, "jobs/", found_by_another_and_deleted)).accept(job)
        assert not ledger.blobs.exists(record_key("local", job.id))

    def test_deleting_a_damaged_job_frees_its_key(self, ledger: Ledger) -> None:
        job = accepted(ledger, key=KEY)
        spoil(ledger, record_key("local", job.id), DAMAGES["zeroed"])
        ledger.delete_damaged("local", job.id)
        assert accepted(ledger, key=KEY).id != job.id

    def test_a_record_that_finds_no_room_leaves_no_key(self, ledger: Ledger) -> None:
        class Full(LocalBlobs):
            def create(self, key: str, data: bytes, *, durable: bool = True) -> bool:
                if key.startswith("jobs/"):
                    raise StoreFull("no room")
                return super().create(key, data, durable=durable)

        with pytest.raises(StoreFull):
            Ledger(Full(ledger.blobs.root)).accept(prepared(ledger, key=KEY))
        assert objects(ledger) == []

    def test_data_outlives_a_key_that_could_revive_it(self, ledger: Ledger) -> None:
        job = accepted(ledger, key=KEY)
        ledger.blobs.delete(record_key("local", job.id))
        age(ledger, data_prefix(job.id), 1.01 * DAY)
        age(ledger, idempotency_key("local", KEY), 0.999 * DAY)
        Sweep(ledger).run(30 * DAY)
        assert ledger.inputs.intact(accepted(ledger, key=KEY), lambda: None)

    def test_a_job_deleted_while_it_is_read_is_not_found(self, ledger: Ledger) -> None:
        class Racing(LocalBlobs):
            def get(self, key: str) -> bytes | None:
                self.delete(key)
                return super().get(key)

        job = accepted(ledger)
        with pytest.raises(JobNotFound):
            Ledger(Racing(ledger.blobs.root)).job("local", job.id)


class TestSweep:
    def test_there_is_nothing_to_sweep_in_an_empty_store(self, ledger: Ledger) -> None:
        assert Sweep(ledger).run(30 * DAY) == 0

    def test_data_without_a_record_is_erased_after_a_day(self, ledger: Ledger) -> None:
        old, young = prepared(ledger), prepared(ledger)
        age(ledger, data_prefix(old.id), 1.1 * DAY)
        age(ledger, data_prefix(young.id), 0.99 * DAY)
        assert Sweep(ledger).run(30 * DAY) == 1
        assert list(ledger.blobs.folders("data")) == [young.id]

    @pytest.mark.parametrize(
        "key_of",
        [
            lambda job: end_key("local", job.id),
            lambda job: callback_key("local", job.id),
            lambda _: idempotency_key("local", KEY),
        ],
    )
    def test_ends_callbacks_and_keys_without_a_record_are_erased_after_a_day(
        self, ledger: Ledger, key_of: Callable[[Job], str]
    ) -> None:
        told = Options(callback_url="https://example.org/")
        job = ledger.accept(replace(prepared(ledger, key=KEY), options=told))
        ledger.cancel(job)
        path_of(ledger, record_key("local", job.id)).unlink()
        age(ledger, key_of(job), 0.99 * DAY)
        assert Sweep(ledger).run(30 * DAY) == 0
        age(ledger, key_of(job), 1.01 * DAY)
        assert Sweep(ledger).run(30 * DAY) == 1
        assert not ledger.blobs.exists(key_of(job))

    def test_an_open_job_is_kept_whole_whatever_its_age(self, ledger: Ledger) -> None:
        job = accepted(ledger, key=KEY)
        work(ledger, job, 0)
        before = objects(ledger)
        for key in [*before, data_prefix(job.id)]:
            age(ledger, key, 365 * DAY)
        assert Sweep(ledger).run(30 * DAY) == 0
        assert objects(ledger) == before

    def test_an_ended_job_is_deleted_past_retention_and_not_before(self, ledger: Ledger) -> None:
        old, young = accepted(ledger, key=KEY), accepted(ledger)
        for job in (old, young):
            work(ledger, job, 0, 1, 2)
            ledger.finish(job)
        age(ledger, end_key("local", old.id), 31 * DAY)
        age(ledger, end_key("local", young.id), 29 * DAY)
        assert Sweep(ledger).run(30 * DAY) == 1
        assert ledger.ids("local") == [young.id]
        assert all(young.id in name for name in objects(ledger))

    def test_one_that_cannot_be_erased_does_not_keep_the_others(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = accepted(ledger), accepted(ledger)
        for job in (first, second):
            ledger.cancel(job)
            age(ledger, end_key("local", job.id), 31 * DAY)
        delete = ledger.blobs.delete

        def refuse_the_first(key: str) -> None:
            if first.id in key:
                raise StoreError("Access denied")
            delete(key)

        monkeypatch.setattr(ledger.blobs, "delete", refuse_the_first)
        assert Sweep(ledger).run(30 * DAY) == 1
        assert ledger.ids("local") == [first.id]

    def test_an_old_upload_that_ended_lately_is_kept(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.cancel(job)
        age(ledger, record_key("local", job.id), 365 * DAY)
        assert Sweep(ledger).run(30 * DAY) == 0
        assert ledger.job("local", job.id) == job

    def test_a_job_whose_record_is_damaged_is_never_swept(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.cancel(job)
        spoil(ledger, record_key("local", job.id))
        before = objects(ledger)
        for key in [*before, data_prefix(job.id)]:
            age(ledger, key, 365 * DAY)
        assert Sweep(fresh(ledger)).run(30 * DAY) == 0
        assert objects(ledger) == before

    def test_a_key_that_stands_for_another_job_by_now_goes_with_that_one(self, ledger: Ledger) -> None:
        sweep = Sweep(ledger)
        first = accepted(ledger, key=KEY)
        age(ledger, idempotency_key(first.owner, KEY), 2 * DAY)
        sweep.run(30 * DAY)
        ledger.delete(first)
        second = accepted(ledger, key=KEY)
        sweep.run(30 * DAY)
        ledger.delete_damaged(second.owner, second.id)
        assert not ledger.blobs.exists(idempotency_key(second.owner, KEY))

    def test_a_key_that_cannot_be_read_is_erased_after_a_day(self, ledger: Ledger) -> None:
        key = idempotency_key("local", KEY)
        ledger.blobs.create(key, b"nonsense")
        assert Sweep(ledger).run(30 * DAY) == 0
        age(ledger, key, 1.01 * DAY)
        assert Sweep(ledger).run(30 * DAY) == 1
        assert objects(ledger) == []

    def test_what_interrupted_uploads_left_is_discarded_after_a_day(self, ledger: Ledger) -> None:
        for name, days in (("old", 1.01), ("young", 0.99)):
            path_of(ledger, f".staging/{name}").write_bytes(b"half")
            age(ledger, f".staging/{name}", days * DAY)
        Sweep(ledger).run(30 * DAY)
        assert objects(ledger) == [".staging/young"]
