"""What the ledger promises of names, records and idempotency keys: good or damaged, and once."""

import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils import uuid7

from glyphq.errors import DamagedObject, IdempotencyMismatch, JobNotFound
from glyphq.jobs import Job, Options
from glyphq.ledger import Ledger
from glyphq.local_blobs import LocalBlobs
from glyphq.object_names import (
    chunk_of,
    end_key,
    idempotency_key,
    index_key,
    input_key,
    is_job_id,
    record_key,
    result_key,
)
from glyphq.seals import seal, unseal
from tests.unit.ledgers import (
    DAMAGES,
    EMPTIED,
    KEY,
    Interrupted,
    accepted,
    damages,
    fresh,
    path_of,
    prepared,
    spoil,
    work,
    zip_of,
)


class TestSeal:
    @given(content=st.binary(max_size=200))
    def test_what_was_sealed_is_unsealed(self, content: bytes) -> None:
        assert unseal("key", seal(content)) == content

    @given(content=st.binary(max_size=200), data=st.data())
    def test_a_flipped_bit_is_found_wherever_it_is(self, content: bytes, data: st.DataObject) -> None:
        sealed = bytearray(seal(content))
        sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        with pytest.raises(DamagedObject) as raised:
            unseal("jobs/a", bytes(sealed))
        assert raised.value.key == "jobs/a"

    @given(content=st.binary(min_size=1, max_size=200), data=st.data())
    def test_a_cut_is_found_wherever_it_is(self, content: bytes, data: st.DataObject) -> None:
        sealed = seal(content)
        with pytest.raises(DamagedObject):
            unseal("key", sealed[: data.draw(st.integers(0, len(sealed) - 1))])


class TestKeys:
    def test_a_fresh_id_is_a_job_id(self) -> None:
        assert is_job_id(str(uuid7()))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "..",
            "../../etc/passwd",
            "0190f000-0000-7000-8000-00000000000",
            "0190F000-0000-7000-8000-00000000000A",
            "0190f00000007000800000000000000a",
            "{0190f000-0000-7000-8000-00000000000a}",
            "0190f000-0000-7000-8000-00000000000a\n",
            "0190f000-0000-7000-8000-00000000000\u0660",
        ],
    )
    def test_any_other_text_is_none(self, text: str) -> None:
        assert not is_job_id(text)

    def test_a_result_key_names_its_chunk_and_no_other_key_does(self) -> None:
        assert chunk_of(result_key("id", 1234)) == 1234
        assert chunk_of(index_key("id")) is None
        assert chunk_of(input_key("id")) is None
        assert chunk_of(record_key("local", "id")) is None


class TestAccept:
    def test_an_accepted_job_is_read_back_as_it_was(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        assert ledger.job("local", job.id) == job
        assert fresh(ledger).job("local", job.id) == job

    def test_bytes_that_ride_in_the_record_are_read_back_as_they_were(self, ledger: Ledger) -> None:
        job = replace(prepared(ledger), inline_index=bytes(range(256)), inline_input=b"\xff\0\n")
        ledger.accept(job)
        assert fresh(ledger).job("local", job.id) == job
        assert job.interactive

    def test_rules_in_the_record_are_read_back_in_order(self, ledger: Ledger) -> None:
        options = Options(charset_rules=("dates/*=digits", "=/ж*=AB", "*=letters"))
        job = ledger.accept(replace(prepared(ledger), options=options))
        assert fresh(ledger).job("local", job.id).options == options

    def test_a_record_from_before_there_were_rules_has_none(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        key = record_key("local", job.id)
        record = json.loads(unseal(key, ledger.blobs.get(key) or b""))
        del record["options"]["charset_rules"]
        ledger.blobs.replace(key, seal(json.dumps(record).encode() + b"\n"))
        assert fresh(ledger).job("local", job.id) == job

    def test_there_is_no_job_before_it_is_accepted(self, ledger: Ledger) -> None:
        job = prepared(ledger)
        with pytest.raises(JobNotFound):
            ledger.job("local", job.id)

    def test_a_job_is_its_owners_alone(self, ledger: Ledger) -> None:
        job = accepted(ledger, owner="somebody")
        with pytest.raises(JobNotFound):
            ledger.job("local", job.id)

    @pytest.mark.parametrize("job_id", ["", "..", "../local/x", "nonsense", "a" * 5000, "\0"])
    def test_what_is_no_id_is_no_job(self, ledger: Ledger, job_id: str) -> None:
        with pytest.raises(JobNotFound):
            ledger.job("local", job_id)

    @damages
    def test_a_damaged_record_is_said_to_be_damaged(self, ledger: Ledger, damage: Callable[[bytes], bytes]) -> None:
        job = accepted(ledger)
        spoil(ledger, record_key("local", job.id), damage)
        with pytest.raises(DamagedObject):
            fresh(ledger).job("local", job.id)

    def test_a_record_with_a_good_digest_that_is_no_record_is_damaged(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.blobs.replace(record_key("local", job.id), seal(b'{"id": 3}\n'))
        with pytest.raises(DamagedObject):
            fresh(ledger).job("local", job.id)

    def test_ids_come_oldest_first(self, ledger: Ledger) -> None:
        assert ledger.ids("local") == []
        jobs = [accepted(ledger) for _ in range(3)]
        assert ledger.ids("local") == [job.id for job in jobs]

    def test_open_jobs_are_those_of_all_owners_without_an_end(self, ledger: Ledger) -> None:
        mine, theirs, ended = accepted(ledger), accepted(ledger, owner="other"), accepted(ledger)
        ledger.cancel(ended)
        assert set(ledger.open_jobs()) == {("local", mine.id), ("other", theirs.id)}

    def test_a_job_whose_end_a_power_cut_left_empty_is_open_and_ends_again(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        work(ledger, job, 0, 1, 2)
        ledger.finish(job)
        spoil(ledger, end_key("local", job.id), EMPTIED["emptied"])
        assert list(ledger.open_jobs()) == [("local", job.id)]
        assert not ledger.finish(job)
        assert list(ledger.open_jobs()) == []


class TestIdempotency:
    def test_the_same_request_again_is_the_same_job(self, ledger: Ledger) -> None:
        first = accepted(ledger, key=KEY)
        second = accepted(ledger, key=KEY)
        assert second == first
        assert ledger.ids("local") == [first.id]

    def test_it_is_the_same_job_after_it_has_ended_too(self, ledger: Ledger) -> None:
        first = accepted(ledger, key=KEY)
        ledger.cancel(first)
        assert accepted(ledger, key=KEY) == first

    def test_without_a_key_the_same_request_is_another_job(self, ledger: Ledger) -> None:
        assert accepted(ledger).id != accepted(ledger).id

    def test_another_key_is_another_job(self, ledger: Ledger) -> None:
        other = hashlib.sha256(b"another key").hexdigest()
        assert accepted(ledger, key=KEY).id != accepted(ledger, key=other).id

    def test_another_owners_key_is_another_key(self, ledger: Ledger) -> None:
        assert accepted(ledger, key=KEY).id != accepted(ledger, key=KEY, owner="other").id

    def test_another_body_is_refused(self, ledger: Ledger) -> None:
        accepted(ledger, key=KEY)
        with pytest.raises(IdempotencyMismatch, match="another body or other options"):
            ledger.accept(prepared(ledger, zip_of(["other.png"]), key=KEY))

    def test_other_options_are_refused(self, ledger: Ledger) -> None:
        first = accepted(ledger, key=KEY)
        with pytest.raises(IdempotencyMismatch):
            ledger.accept(prepared(ledger, key=KEY, top_k=5))
        assert ledger.ids("local") == [first.id]

    def test_other_rules_or_another_order_of_them_are_refused(self, ledger: Ledger) -> None:
        def ruled(*rules: str) -> Job:
            return replace(prepared(ledger, key=KEY), options=Options(charset_rules=rules))

        first = ledger.accept(ruled("a*=digits", "*=letters"))
        assert ledger.accept(ruled("a*=digits", "*=letters")) == first
        for other in ((), ("*=letters", "a*=digits"), ("a*=digits",)):
            with pytest.raises(IdempotencyMismatch):
                ledger.accept(ruled(*other))

    def test_a_record_that_was_never_written_is_created_for_whoever_comes_next(self, ledger: Ledger) -> None:
        first = accepted(ledger, key=KEY)
        path_of(ledger, record_key("local", first.id)).unlink()
        assert accepted(ledger, key=KEY) == first
        assert fresh(ledger).job("local", first.id) == first

    def test_after_its_job_is_deleted_a_key_is_free_again(self, ledger: Ledger) -> None:
        first = accepted(ledger, key=KEY)
        ledger.delete(first)
        second = accepted(ledger, key=KEY)
        assert second.id != first.id
        assert ledger.ids("local") == [second.id]

    def test_a_job_deleted_while_it_is_repeated_is_not_revived(self, ledger: Ledger) -> None:
        first = accepted(ledger, key=KEY)
        racing = Interrupted(ledger.blobs.root, "jobs/", lambda: ledger.delete(first))
        second = Ledger(racing).accept(prepared(ledger, key=KEY))
        assert second.id != first.id
        assert ledger.ids("local") == [second.id]

    def test_a_key_deleted_just_as_it_is_found_is_created_anew(self, ledger: Ledger) -> None:
        job = prepared(ledger, key=KEY)
        root = ledger.blobs.root

        class Vanishing(LocalBlobs):
            def create(self, key: str, data: bytes, *, durable: bool = True) -> bool:
                won = super().create(key, data, durable=durable)
                if not won:
                    self.delete(key)
                return won

        ledger.blobs.create(idempotency_key("local", KEY), b"about to be deleted")
        assert Ledger(Vanishing(root)).accept(job) == job

    def test_uploads_at_once_become_one_job(self, ledger: Ledger) -> None:
        racers = 6
        jobs = [prepared(ledger, key=KEY) for _ in range(racers)]
        together = threading.Barrier(racers)

        def accept(job: Job) -> Job:
            together.wait()
            return fresh(ledger).accept(job)

        with ThreadPoolExecutor(racers) as pool:
            answered = {job.id for job in pool.map(accept, jobs)}
        assert answered == set(ledger.ids("local"))
        assert len(answered) == 1

    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
    def test_a_damaged_key_is_said_to_be_damaged(self, ledger: Ledger, damage: Callable[[bytes], bytes]) -> None:
        accepted(ledger, key=KEY)
        spoil(ledger, idempotency_key("local", KEY), damage)
        with pytest.raises(DamagedObject):
            accepted(ledger, key=KEY)

    @pytest.mark.parametrize("left_empty", [["key"], ["record"], ["key", "record"]])
    def test_a_request_is_repeated_of_which_a_power_cut_left_empty_files(
        self, ledger: Ledger, left_empty: list[str]
    ) -> None:
        job = accepted(ledger, key=KEY)
        keys = {"key": idempotency_key("local", KEY), "record": record_key("local", job.id)}
        for name in left_empty:
            spoil(ledger, keys[name], EMPTIED["emptied"])
        repeated = accepted(fresh(ledger), key=KEY)
        assert fresh(ledger).job("local", repeated.id) == repeated
