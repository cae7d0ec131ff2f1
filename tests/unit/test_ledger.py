"""What the ledger promises on a real store: records, results and ends are good or damaged, once, and erased whole."""

import hashlib
import io
import json
import os
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils import uuid7

from glyphq import results
from glyphq.archive import ArchiveLimits, index_zip
from glyphq.callbacks import callback_key
from glyphq.errors import DamagedObject, IdempotencyMismatch, JobAlreadyEnded, JobNotFound, RowNotFound, StoreFull
from glyphq.jobs import Counts, End, Job, JobState, Kind, Model, Options, Reason, Rejection, RowStatus
from glyphq.ledger import (
    Held,
    Ledger,
    chunk_of,
    data_prefix,
    end_key,
    idempotency_key,
    index_key,
    input_key,
    is_job_id,
    record_key,
    result_key,
    seal,
    unseal,
    write_index,
)
from glyphq.local_blobs import LocalBlobs

LIMITS = ArchiveLimits(
    max_entries=1000, max_entry_bytes=100_000, max_unpacked_bytes=1_000_000, chunk_images=2, chunk_bytes=1 << 20
)
DAY = 24 * 3600.0
MODEL = Model("digest-of-weights", "torch 2.13.0 f32 cpu")
NAMES = ["a.png", "b.png", "c.png", "d.png", "e.png"]  # chunks of 2, 2 and 1
KEY = hashlib.sha256(b"a key").hexdigest()

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "first-byte": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "middle-bit": lambda content: content[:40] + bytes([content[40] ^ 8]) + content[41:],
    "digest": lambda content: content[:-2] + b"g\n",
    "cut-in-half": lambda content: content[: len(content) // 2],
    "cut-by-one": lambda content: content[:-1],
    "one-more": lambda content: content + b"\n",
    "zeroed": lambda content: bytes(len(content)),
}
EMPTIED = {"emptied": lambda _: b""}
damages = pytest.mark.parametrize("damage", (DAMAGES | EMPTIED).values(), ids=DAMAGES | EMPTIED)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(LocalBlobs(tmp_path / "store"))


def fresh(ledger: Ledger) -> Ledger:
    """The same store as another process sees it."""
    return Ledger(LocalBlobs(ledger.blobs.root))


def zip_of(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), f"picture of {name}")
    return buffer.getvalue()


def prepared(
    ledger: Ledger, content: bytes | None = None, *, key: str | None = None, owner: str = "local", top_k: int = 3
) -> Job:
    """A job whose input and index are in the store, and that is not accepted yet."""
    content = zip_of(NAMES) if content is None else content
    job_id = str(uuid7())
    index = io.BytesIO()
    chunks = write_index(index, index_zip(io.BytesIO(content), LIMITS, "cp437").batches())
    ledger.blobs.create(input_key(job_id), content)
    ledger.blobs.create(index_key(job_id), index.getvalue())
    return Job(
        id=job_id,
        owner=owner,
        kind=Kind.ZIP,
        options=Options(top_k=top_k),
        input_sha256=hashlib.sha256(content).hexdigest(),
        input_bytes=len(content),
        total=sum(chunk.rows for chunk in chunks),
        ignored=0,
        chunks=chunks,
        created_at=time.time(),
        nonce=uuid.uuid4().hex,
        idempotency_sha256=key,
        archive_limits=asdict(LIMITS),
    )


def accepted(ledger: Ledger, *, key: str | None = None, owner: str = "local") -> Job:
    return ledger.accept(prepared(ledger, key=key, owner=owner))


def interactive(ledger: Ledger) -> Job:
    """A job of the interactive lane: index and input ride in the record."""
    job = prepared(ledger, zip_of(["a.png"]))
    index = ledger.blobs.get(index_key(job.id)) or b""
    chunk = job.chunks[0]
    inline = index[chunk.offset : chunk.offset + chunk.length]
    job = replace(job, kind=Kind.IMAGE, inline_index=inline, inline_input=ledger.blobs.get(input_key(job.id)))
    ledger.blobs.delete_folder(data_prefix(job.id))
    return ledger.accept(job)


def rows_of(ledger: Ledger, job: Job, chunk: int) -> pa.RecordBatch:
    """The result of a chunk whose first row is classified and whose second, if any, is rejected."""
    index = ledger.index(job, chunk)
    statuses = [RowStatus.CLASSIFIED, RowStatus.REJECTED][: index.num_rows]
    return results.build(
        index.column("row").to_numpy(),
        index.column("name"),
        statuses,
        np.full((len(statuses), job.options.top_k), 7, np.uint8),
        np.full((len(statuses), job.options.top_k), 0.75, np.float32),
        {1: Rejection.of(Reason.NOT_AN_IMAGE)} if len(statuses) == 2 else {},
    )


def work(ledger: Ledger, job: Job, *chunks: int, model: Model = MODEL) -> None:
    """Do what a worker does."""
    for chunk in chunks:
        ledger.put_result(job, chunk, results.serialize(rows_of(ledger, job, chunk), model))


def path_of(ledger: Ledger, key: str) -> Path:
    return ledger.blobs.root / key


def spoil(ledger: Ledger, key: str, damage: Callable[[bytes], bytes] = DAMAGES["middle-bit"]) -> None:
    path = path_of(ledger, key)
    path.write_bytes(damage(path.read_bytes()))


def age(ledger: Ledger, key: str, seconds: float) -> None:
    when = time.time() - seconds
    os.utime(path_of(ledger, key), (when, when))


def objects(ledger: Ledger) -> list[str]:
    """Every file in the store."""
    root = ledger.blobs.root
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def table(batches: Iterator[pa.RecordBatch]) -> list[tuple[int, str, str]]:
    return [(row["row"], row["filename"], row["status"]) for batch in batches for row in results.to_row_dicts(batch)]


class Interrupted(LocalBlobs):
    """A store in which somebody else acts just before an object of `folder` is created, once."""

    def __init__(self, root: Path, folder: str, act: Callable[[], object]) -> None:
        super().__init__(root)
        self._folder, self._act = folder, [act]

    def create(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        if key.startswith(self._folder) and self._act:
            self._act.pop()()
        return super().create(key, data, durable=durable)


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


class TestIndex:
    def test_a_chunk_is_read_by_itself(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        found = [ledger.index(job, chunk) for chunk in range(len(job.chunks))]
        assert [batch.column("name").to_pylist() for batch in found] == [
            ["a.png", "b.png"],
            ["c.png", "d.png"],
            ["e.png"],
        ]
        assert [batch.column("row").to_pylist() for batch in found] == [[0, 1], [2, 3], [4]]
        assert [job.first_row(chunk) for chunk in range(3)] == [0, 2, 4]

    def test_the_whole_index_is_one_arrow_stream(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        with pa.ipc.open_stream(path_of(ledger, index_key(job.id)).read_bytes()) as reader:
            assert reader.read_all().column("name").to_pylist() == NAMES

    def test_a_row_is_found_in_its_chunk_and_no_other_chunk_is_read(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        names = [ledger.index_row(job, row).column("name").to_pylist() for row in range(job.total)]
        assert names == [[name] for name in NAMES]
        path = path_of(ledger, index_key(job.id))
        whole = path.read_bytes()
        path.write_bytes(whole[: job.chunks[1].offset])
        assert ledger.index_row(job, 1).num_rows == 1
        assert path.read_bytes() != whole
        assert ledger.index_row(job, 2).num_rows == 1
        assert path.read_bytes() == whole

    @pytest.mark.parametrize("row", [-1, len(NAMES)])
    def test_there_is_no_row_before_the_first_or_after_the_last(self, ledger: Ledger, row: int) -> None:
        with pytest.raises(RowNotFound, match=f"there is no row {row}"):
            ledger.index_row(accepted(ledger), row)

    def test_an_index_in_the_record_needs_no_object(self, ledger: Ledger) -> None:
        job = interactive(ledger)
        assert ledger.index(job, 0).column("name").to_pylist() == ["a.png"]
        assert objects(ledger) == [record_key("local", job.id)]

    def test_damage_is_found_in_the_chunk_where_it_is(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        path = path_of(ledger, index_key(job.id))
        content = bytearray(path.read_bytes())
        content[job.chunks[1].offset + job.chunks[1].length // 2] ^= 1
        path.write_bytes(content)
        assert ledger.index(job, 0).num_rows == 2
        with pytest.raises(DamagedObject, match="Chunk 1"):
            ledger.index(job, 1)

    def test_a_missing_index_is_a_damaged_one(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.blobs.delete(index_key(job.id))
        with pytest.raises(DamagedObject):
            ledger.index(job, 0)

    @pytest.mark.parametrize("damage", [lambda _: b"", lambda content: content[:100], DAMAGES["zeroed"]])
    def test_a_damaged_index_is_made_again_from_the_zip(self, ledger: Ledger, damage: Callable[[bytes], bytes]) -> None:
        job = accepted(ledger)
        good = path_of(ledger, index_key(job.id)).read_bytes()
        spoil(ledger, index_key(job.id), damage)
        ledger.rebuild_index(job)
        assert path_of(ledger, index_key(job.id)).read_bytes() == good

    def test_it_is_cut_by_the_limits_in_the_record(self, ledger: Ledger) -> None:
        job = ledger.accept(replace(prepared(ledger), archive_limits=asdict(replace(LIMITS, chunk_images=3))))
        spoil(ledger, index_key(job.id), DAMAGES["zeroed"])
        with pytest.raises(DamagedObject, match="no longer gives the index"):
            ledger.rebuild_index(job)

    def test_it_is_not_made_from_a_zip_that_was_damaged_too(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        spoil(ledger, input_key(job.id), DAMAGES["cut-in-half"])
        with pytest.raises(DamagedObject, match="cannot be indexed again"):
            ledger.rebuild_index(job)

    def test_it_is_not_made_from_another_zip(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.blobs.replace(input_key(job.id), zip_of(["x.png", *NAMES[1:]]))
        good = path_of(ledger, index_key(job.id)).read_bytes()
        with pytest.raises(DamagedObject, match="no longer gives the index"):
            ledger.rebuild_index(job)
        assert path_of(ledger, index_key(job.id)).read_bytes() == good

    def test_it_is_not_made_without_an_input(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.blobs.delete(input_key(job.id))
        with pytest.raises(DamagedObject):
            ledger.rebuild_index(job)

    def test_what_was_no_zip_cannot_be_indexed_again(self, ledger: Ledger) -> None:
        job = ledger.accept(replace(prepared(ledger), kind=Kind.IMAGES, archive_limits=None))
        with pytest.raises(DamagedObject, match="only a zip's"):
            ledger.rebuild_index(job)


class TestInput:
    @pytest.mark.parametrize("make", [accepted, interactive])
    def test_a_range_is_a_slice_wherever_the_input_is(self, ledger: Ledger, make: Callable[[Ledger], Job]) -> None:
        job = make(ledger)
        content = zip_of(NAMES) if job.inline_input is None else job.inline_input
        assert ledger.input_range(job, 3, 10) == content[3:13]
        assert ledger.input_range(job, len(content) - 2, 10) == content[-2:]

    @pytest.mark.parametrize("make", [accepted, interactive])
    def test_an_untouched_input_is_intact(self, ledger: Ledger, make: Callable[[Ledger], Job]) -> None:
        assert ledger.input_intact(make(ledger), lambda: None)

    @damages
    def test_an_altered_input_is_not(self, ledger: Ledger, damage: Callable[[bytes], bytes]) -> None:
        job = accepted(ledger)
        spoil(ledger, input_key(job.id), damage)
        assert not ledger.input_intact(job, lambda: None)

    def test_an_input_that_is_gone_is_not(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.blobs.delete(input_key(job.id))
        assert not ledger.input_intact(job, lambda: None)


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


def ended_as(ledger: Ledger, job: Job) -> JobState:
    end = ledger.end(job)
    assert end is not None
    return end.outcome


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
    assert ledger.sweep(DAY) == 0


def _unasked(key: str) -> int:
    raise AssertionError(key)


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
        ledger.sweep(30 * DAY)
        assert ledger.input_intact(accepted(ledger, key=KEY), lambda: None)

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
        assert ledger.sweep(30 * DAY) == 0

    def test_data_without_a_record_is_erased_after_a_day(self, ledger: Ledger) -> None:
        old, young = prepared(ledger), prepared(ledger)
        age(ledger, data_prefix(old.id), 1.1 * DAY)
        age(ledger, data_prefix(young.id), 0.99 * DAY)
        assert ledger.sweep(30 * DAY) == 1
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
        assert ledger.sweep(30 * DAY) == 0
        age(ledger, key_of(job), 1.01 * DAY)
        assert ledger.sweep(30 * DAY) == 1
        assert not ledger.blobs.exists(key_of(job))

    def test_an_open_job_is_kept_whole_whatever_its_age(self, ledger: Ledger) -> None:
        job = accepted(ledger, key=KEY)
        work(ledger, job, 0)
        before = objects(ledger)
        for key in [*before, data_prefix(job.id)]:
            age(ledger, key, 365 * DAY)
        assert ledger.sweep(30 * DAY) == 0
        assert objects(ledger) == before

    def test_an_ended_job_is_deleted_past_retention_and_not_before(self, ledger: Ledger) -> None:
        old, young = accepted(ledger, key=KEY), accepted(ledger)
        for job in (old, young):
            work(ledger, job, 0, 1, 2)
            ledger.finish(job)
        age(ledger, end_key("local", old.id), 31 * DAY)
        age(ledger, end_key("local", young.id), 29 * DAY)
        assert ledger.sweep(30 * DAY) == 1
        assert ledger.ids("local") == [young.id]
        assert all(young.id in name for name in objects(ledger))

    def test_an_old_upload_that_ended_lately_is_kept(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.cancel(job)
        age(ledger, record_key("local", job.id), 365 * DAY)
        assert ledger.sweep(30 * DAY) == 0
        assert ledger.job("local", job.id) == job

    def test_a_job_whose_record_is_damaged_is_never_swept(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.cancel(job)
        spoil(ledger, record_key("local", job.id))
        before = objects(ledger)
        for key in [*before, data_prefix(job.id)]:
            age(ledger, key, 365 * DAY)
        assert fresh(ledger).sweep(30 * DAY) == 0
        assert objects(ledger) == before

    def test_a_key_that_cannot_be_read_is_erased_after_a_day(self, ledger: Ledger) -> None:
        key = idempotency_key("local", KEY)
        ledger.blobs.create(key, b"nonsense")
        assert ledger.sweep(30 * DAY) == 0
        age(ledger, key, 1.01 * DAY)
        assert ledger.sweep(30 * DAY) == 1
        assert objects(ledger) == []

    def test_what_interrupted_uploads_left_is_discarded_after_a_day(self, ledger: Ledger) -> None:
        for name, days in (("old", 1.01), ("young", 0.99)):
            path_of(ledger, f".staging/{name}").write_bytes(b"half")
            age(ledger, f".staging/{name}", days * DAY)
        ledger.sweep(30 * DAY)
        assert objects(ledger) == [".staging/young"]
