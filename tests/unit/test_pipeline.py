"""The way of a chunk without Celery: a real ledger, a real Redis, the shipped model on torch."""

import hashlib
import io
import json
import subprocess
import sys
import time
import zipfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from redis import Redis
from uuid_utils import uuid7

from glyphq import results, samples
from glyphq.archive import index_zip
from glyphq.blobs import open_blobs
from glyphq.broker import create_celery
from glyphq.dispatch import Dispatcher, waiting
from glyphq.errors import StoreError
from glyphq.index import raw_batch, write_index
from glyphq.jobs import Job, JobState, Kind, Lane, Model, Options
from glyphq.ledger import Ledger
from glyphq.logs import handler_of
from glyphq.object_names import index_key, input_key, result_key
from glyphq.progress import Progress, open_progress
from glyphq.settings import Settings
from glyphq.vision.engine import Engine, open_engine
from worker import classification, pipeline
from worker import pulse as pulses
from worker.lane import InteractiveLane
from worker.metrics import Stages
from worker.process import Process
from worker.pulse import Pulse
from worker.store_watch import StoreWatch

SCANS = {sample.filename: sample.png for sample in samples.draw(6, seed=4)}  # two chunks of three


@pytest.fixture(scope="module")
def engine() -> Engine:
    return open_engine("torch")


@pytest.fixture
def process(tmp_path: Path, server: str, redis: Redis, engine: Engine) -> Process:
    settings = Settings(store_url=f"file://{tmp_path}/store", redis_url=server, chunk_images=3, lease_seconds=0.001)
    ledger = Ledger(open_blobs(settings.store_url))
    progress = Progress(redis, window=4, owner_window=8, lease_seconds=30)
    dispatcher = Dispatcher(ledger, progress, create_celery(settings))
    # A client of its own, which the end of the test does not close while the lane's thread asks it something.
    lane = InteractiveLane(open_progress(settings))
    store = StoreWatch(ledger, progress)
    return Process(
        "test", settings, ledger, progress, dispatcher, engine, Model("digest", engine.name), 1.5, lane, store
    )


def submitted(process: Process, content: bytes | None = None, options: Options | None = None, **more) -> Job:
    """A zip in the bulk lane, accepted and sent."""
    if content is None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, scan in SCANS.items():
                archive.writestr(zipfile.ZipInfo(name), scan)
        content = buffer.getvalue()
    job_id, index, limits = str(uuid7()), io.BytesIO(), process.settings.archive_limits
    chunks = write_index(index, index_zip(io.BytesIO(content), limits, "cp437").batches())
    process.ledger.blobs.create(input_key(job_id), content)
    process.ledger.blobs.create(index_key(job_id), index.getvalue())
    return accepted(process, job_id, Kind.ZIP, content, chunks, options, archive_limits=asdict(limits), **more)


def asked(process: Process, scan: bytes, options: Options | None = None, **more) -> Job:
    """A single image in the interactive lane, accepted and waiting."""
    index = io.BytesIO()
    chunks = write_index(index, iter([raw_batch(["a.png"], [0], [len(scan)])]))
    inline_index = index.getvalue()[chunks[0].offset :]
    inline = {"inline_index": inline_index, "inline_input": scan}
    return accepted(process, str(uuid7()), Kind.IMAGE, scan, chunks, options, **inline, **more)


def accepted(
    process: Process, job_id: str, kind: Kind, content: bytes, chunks, options: Options | None = None, **more
) -> Job:
    job = Job(
        id=job_id,
        owner="local",
        kind=kind,
        options=options or Options(),
        input_sha256=hashlib.sha256(content).hexdigest(),
        input_bytes=len(content),
        total=sum(chunk.rows for chunk in chunks),
        ignored=0,
        chunks=chunks,
        created_at=time.time(),
        nonce="",
        **more,
    )
    process.ledger.accept(job)
    process.dispatcher.start(job)
    return job


def rows(process: Process, job: Job) -> list[dict]:
    """The rows of a job that has ended as completed."""
    end = process.ledger.end(job)
    assert end is not None
    assert end.outcome is JobState.COMPLETED
    return [row for batch in process.ledger.rows(job, end) for row in results.to_row_dicts(batch)]


def work(process: Process, job: Job, *chunks: int) -> None:
    for chunk in chunks or range(len(job.chunks)):
        pipeline.classify_chunk(process, job.owner, job.id, chunk, sent=0)


class TestChunks:
    def test_the_last_one_ends_the_job(self, process):
        job = submitted(process)
        work(process, job, 1)
        assert not process.ledger.has_ended(job)
        work(process, job, 0)
        assert [row["filename"] for row in rows(process, job)] == list(SCANS)

    def test_a_second_run_makes_nothing_again_and_goes_on_as_if_it_had(self, process, redis, monkeypatch):
        job = submitted(process)
        work(process, job, 0)
        redis.flushall()
        with monkeypatch.context() as broken:
            broken.setattr(pipeline, "classify", lambda *_, **__: 1 / 0)
            work(process, job, 0)
        assert process.progress.done_chunks(job.id) == {0}
        work(process, job, 1)
        assert len(rows(process, job)) == 6

    def test_its_input_is_read_in_pieces_between_which_the_lease_is_kept(self, process, monkeypatch):
        asked_for = []
        read_stored = process.ledger.inputs.read

        def read(job, start, length):
            asked_for.append((start, length))
            return read_stored(job, start, length)

        monkeypatch.setattr(process.ledger.inputs, "read", read)
        monkeypatch.setattr(classification, "_READ_BYTES", 100)
        job = submitted(process)
        work(process, job)
        assert [row["status"] for row in rows(process, job)] == ["classified"] * 6
        assert max(length for _, length in asked_for) == 100
        assert len({start for start, _ in asked_for}) == len(asked_for) > 2 * len(job.chunks)

    def test_one_that_another_holds_is_left(self, process):
        job = submitted(process)
        process.progress.claim(job.id, 0, "another", 0)
        work(process, job, 0)
        assert process.ledger.stored_chunks(job) == set()

    def test_one_of_a_job_that_is_in_another_store_leaves_that_job_alone(self, process):
        job = submitted(process)
        process.ledger.delete(job)  # as it looks to a worker with another prefix
        work(process, job, 0)
        assert process.progress.open_jobs() == [(job.owner, job.id)]
        assert process.progress.claim(job.id, 1, "another worker", 0).granted
        assert process.progress.renew(job.id, 1, "another worker")

    def test_one_whose_worker_died_is_decoded_in_a_child_to_the_same_rows(self, process, redis, monkeypatch):
        undisturbed, job = submitted(process), submitted(process)
        work(process, undisturbed)
        for chunk in range(2):
            redis.hset(f"glyphq:job:{job.id}:counts", f"deaths:{chunk}", 1)
        monkeypatch.setattr(classification, "decode", lambda *_: pytest.fail("decoded in the worker's own process"))
        work(process, job)
        assert rows(process, job) == rows(process, undisturbed)

    def test_a_store_that_fails_gives_the_chunk_back(self, process, monkeypatch):
        job = submitted(process)
        with monkeypatch.context() as broken:
            broken.setattr(process.ledger, "put_result", raising(StoreError("no room")))
            work(process, job, 0)
        assert process.progress.claim(job.id, 0, "another", 0).granted
        assert process.progress.claim(job.id, 0, "another", 0).deaths == 0

    def test_one_whose_job_was_cancelled_meanwhile_is_abandoned(self, process, monkeypatch):
        job = submitted(process)
        decode = classification.decode

        def cancelling(data: bytes, max_pixels: int):
            if not process.ledger.has_ended(job):
                process.ledger.cancel(job)
                process.progress.forget(job.owner, job.id)
            time.sleep(0.001)  # longer than the lease lasts without a sign of life
            return decode(data, max_pixels)

        monkeypatch.setattr(classification, "decode", cancelling)
        work(process, job, 0)
        assert process.ledger.stored_chunks(job) == set()


class TestCharsetRules:
    def chosen(self, process: Process, **options) -> list[dict[str, float]]:
        """Of each row, its answers with their confidences."""
        job = submitted(process, options=Options(**options))
        work(process, job)
        return [{answer["label"]: answer["confidence"] for answer in row["top"]} for row in rows(process, job)]

    def test_each_row_is_answered_within_its_own_charset(self, process):
        rules = ("scan-00000.png=0", "*-0000[1-3]*=digits", "scan-00001.png=letters")
        mixed = self.chosen(process, top_k=10, charset="AB", charset_rules=rules)
        alone = {charset: self.chosen(process, top_k=10, charset=charset) for charset in ("0", "digits", "AB")}
        expected = ["0", "digits", "digits", "digits", "AB", "AB"]  # the last two match no rule
        assert mixed == [alone[charset][row] for row, charset in enumerate(expected)]
        assert [len(answers) for answers in mixed] == [1, 10, 10, 10, 2, 2]
        assert all(abs(sum(answers.values()) - 1) < 0.001 for answers in mixed)

    def test_all_batches_of_a_job_have_the_same_schema_whatever_charsets_are_in_them(self, process):
        job = submitted(process, options=Options(top_k=5, charset="0", charset_rules=("scan-00000.png=ABC",)))
        work(process, job)
        found = [process.ledger.result(job, chunk)[0] for chunk in range(2)]
        assert [batch.schema for batch in found] == [results.result_schema(3)] * 2

    def test_they_hold_for_a_single_image(self, process):
        scan = SCANS["scan-00000.png"]
        job = asked(process, scan, Options(charset_rules=("b.png=digits", "a.png=XY")))
        pipeline.drain(process)
        assert {answer["label"] for answer in rows(process, job)[0]["top"]} == {"X", "Y"}


class TestDamage:
    def test_a_damaged_index_is_made_again(self, process):
        job = submitted(process)
        process.ledger.blobs.replace(index_key(job.id), b"damaged")
        work(process, job)
        assert {row["status"] for row in rows(process, job)} == {"classified"}

    def test_where_the_input_is_damaged_too_every_row_says_so(self, process):
        job = submitted(process)
        process.ledger.blobs.replace(index_key(job.id), b"damaged")
        process.ledger.blobs.replace(input_key(job.id), b"damaged")
        work(process, job)
        assert [(row["row"], row["reason"]) for row in rows(process, job)] == [
            (row, "stored_input_damaged") for row in range(6)
        ]

    def test_an_entry_is_told_apart_from_one_that_was_uploaded_damaged(self, process):
        as_uploaded = submitted(process)
        content = bytearray(process.ledger.blobs.get(input_key(as_uploaded.id)))
        content[content.find(SCANS["scan-00001.png"]) + 40] ^= 0xFF
        uploaded_damaged = submitted(process, bytes(content))
        process.ledger.blobs.replace(input_key(as_uploaded.id), bytes(content))
        for job, reason in ((uploaded_damaged, "damaged_entry"), (as_uploaded, "stored_input_damaged")):
            work(process, job)
            assert [row["reason"] for row in rows(process, job)] == [None, reason, None, None, None, None]

    def test_a_result_found_damaged_after_the_end_is_made_again(self, process):
        job = submitted(process)
        work(process, job)
        before = rows(process, job)
        process.ledger.blobs.replace(result_key(job.id, 1), b"damaged")
        work(process, job, 1)
        assert rows(process, job) == before


class TestInteractiveLane:
    def test_it_is_looked_at_only_while_it_is_watched(self, process):
        asked(process, SCANS["scan-00000.png"])
        lane = process.lane
        assert not lane.waits
        lane.watch()
        deadline = time.monotonic() + 10
        while not lane.waits and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lane.waits
        lane.rest()
        assert not lane.waits


class TestDrain:
    def test_everything_that_waits_is_answered(self, process):
        jobs = [asked(process, scan) for scan in SCANS.values()]
        pipeline.drain(process)
        assert [rows(process, job)[0]["status"] for job in jobs] == ["classified"] * 6
        assert not process.progress.interactive_waits()

    @pytest.mark.parametrize("fault", [StoreError("input/output error"), ValueError("what nobody foresaw")])
    def test_one_jobs_fault_is_no_concern_of_the_others_when_they_come_again(self, process, redis, monkeypatch, fault):
        faulty, sound = (asked(process, scan) for scan in list(SCANS.values())[:2])
        read_stored = process.ledger.inputs.read
        monkeypatch.setattr(
            process.ledger.inputs,
            "read",
            lambda job, *where: raising(fault)() if job.id == faulty.id else read_stored(job, *where),
        )
        pipeline.drain(process)
        for job in (faulty, sound):  # as when their lease runs out
            redis.zadd("glyphq:interactive:leased", {waiting(job).member: 0})
        process.progress.recover_interactive()
        pipeline.drain(process)
        assert rows(process, sound)[0]["status"] == "classified"
        assert not process.ledger.has_ended(faulty)

    def test_a_chunk_stops_to_answer_what_waits(self, process, monkeypatch):
        job = submitted(process)
        single = asked(process, SCANS["scan-00000.png"])
        answered = []
        decode = classification.decode

        def slow(data: bytes, max_pixels: int):
            answered.append(process.ledger.has_ended(single))
            time.sleep(0.1)  # a slow image: the lane is looked at only so often
            return decode(data, max_pixels)

        monkeypatch.setattr(classification, "decode", slow)
        work(process, job, 0)
        assert not answered[0]
        assert answered[-1]
        assert process.ledger.stored_chunks(job) == {0}

    def test_a_lane_that_is_never_empty_leaves_a_chunk_half_of_the_time(self, monkeypatch):
        clock = 0.0

        def pass_time(seconds: float) -> None:
            nonlocal clock
            clock += seconds

        class NeverEmpty(SimpleNamespace):
            waits = property(lambda _: True, lambda *_: None)

        for module in (pipeline, pulses):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock))
        monkeypatch.setattr(pipeline, "_drain", lambda *_: pass_time(1.0))
        lane = NeverEmpty(watch=lambda: None, rest=lambda: None, served_from=0.0)
        process = SimpleNamespace(settings=SimpleNamespace(lease_seconds=1e6), lane=lane)
        for _ in range(250):  # small chunks
            serve = partial(pipeline.drain, process)
            with Pulse(process, lambda: True, Stages(Lane.BULK), serve=serve) as pulse:
                for _ in range(4):
                    pass_time(0.1)
                    pulse()
        assert 180 < clock <= 201  # 100 of them the images' own


@pytest.mark.parametrize("lane", ["bulk", "interactive"])
def test_an_error_that_nobody_foresaw_is_logged_with_job_and_request(process, monkeypatch, lane) -> None:
    monkeypatch.setattr(classification, "decode", raising(MemoryError("unforeseen")))
    stream = io.StringIO()
    handler = handler_of("json", stream)
    monkeypatch.setattr(pipeline.log, "handlers", [handler])
    if lane == "bulk":
        job = submitted(process, request_id="request-1")
        work(process, job, 0)
    else:
        job = asked(process, SCANS["scan-00000.png"], request_id="request-1")
        pipeline.drain(process)
    [error] = [record for line in stream.getvalue().splitlines() if "exc_info" in (record := json.loads(line))]
    assert (error["job_id"], error["request_id"]) == (job.id, "request-1")
    assert "MemoryError: unforeseen" in error["exc_info"]


def test_a_process_that_is_stuck_at_one_image_ends_itself_and_says_where() -> None:
    program = (
        "import threading\n"
        "from types import SimpleNamespace\n"
        "from worker import pulse\n"
        "from worker.metrics import Stages\n"
        "pulse.STUCK_SECONDS = 0.2\n"
        "process = SimpleNamespace(settings=SimpleNamespace(lease_seconds=30))\n"
        "def stuck_image():\n"
        "    threading.Event().wait(30)\n"
        "with pulse.Pulse(process, lambda: True, Stages('bulk')):\n"
        "    stuck_image()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert "stuck_image" in ended.stderr


def raising(error: Exception):
    def raise_it(*_: object) -> None:
        raise error

    return raise_it
