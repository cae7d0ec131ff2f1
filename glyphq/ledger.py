"""What has been promised and what has been done, on blobs alone: records, results, ends, idempotency.

Knows keys and durability; nothing of Redis, Celery, HTTP or images. A job exists once its record is durable, a chunk
is done once its result exists, a job is over once its end exists. Records, ends and results end with a line that holds
the SHA-256 of what comes before it, and a record has the digests of its index: what is damaged is never served as good.
"""

import hashlib
import logging
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from uuid import uuid4

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from glyphq import results
from glyphq.blobs import Blobs
from glyphq.callbacks import first_delivery
from glyphq.errors import (
    DamagedObject,
    IdempotencyMismatch,
    JobAlreadyEnded,
    JobNotFound,
    StoreError,
)
from glyphq.inputs import Inputs
from glyphq.jobs import Counts, End, Job, JobState, Model
from glyphq.metrics import count_end, count_rows
from glyphq.object_names import (
    STORE_ID,
    callback_key,
    chunk_of,
    data_prefix,
    end_key,
    id_in,
    idempotency_key,
    index_key,
    input_key,
    is_job_id,
    record_key,
    result_key,
)
from glyphq.removal import erase_if_deleted
from glyphq.seals import seal, unseal

log = logging.getLogger(__name__)

_JOB, _END = TypeAdapter(Job), TypeAdapter(End)
_REMEMBERED_RECORDS = 64


@dataclass(frozen=True)
class Held:
    """What an owner has: jobs of the bulk lane that have not ended, and bytes of records and inputs."""

    open_jobs: int
    stored_bytes: int

    def __add__(self, other: "Held") -> "Held":
        return Held(self.open_jobs + other.open_jobs, self.stored_bytes + other.stored_bytes)


class Ledger:
    """The ledger on one blob store. Every method may raise StoreError; ids are checked before they touch a key."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self.inputs = Inputs(blobs)
        """What was handed in, and the indexes of it."""
        self._records: OrderedDict[tuple[str, str], Job] = OrderedDict()  # the last used is last
        self._records_lock = Lock()
        self._input_bytes: dict[str, dict[str, int]] = {}  # by owner and job: inputs never change

    def identity(self) -> str:
        """What no other store has, but a copy: to tell whether two processes work on the same one. Read anew each
        time, for a folder may be mounted, or no more.
        """
        while not (found := self.blobs.get(STORE_ID)):
            self.blobs.create(STORE_ID, uuid4().bytes)
        return hashlib.sha256(found).hexdigest()

    # Accepting.

    def accept(self, job: Job) -> Job:
        """Make the job exist, durably. Its input and index must be durable already.

        With `idempotency_sha256`, answers the job that came first under that key. Raises IdempotencyMismatch when
        that was another request. After a StoreError the key may stand, and a repeat makes the record: keep the data.
        """
        if job.idempotency_sha256 is None:
            self.accept_together([job])
            return job
        text = seal(_JOB.dump_json(job) + b"\n")
        key = idempotency_key(job.owner, job.idempotency_sha256)
        while True:
            if self.blobs.create(key, text):
                try:
                    self._record_under(key, job, text)
                except BaseException:
                    self._withdraw(key, job, text)
                    raise
                return job
            first_text = self.blobs.get(key)
            if first_text is None:  # deleted between the two calls
                continue
            first = _read_job(key, first_text)
            if _request(first) != _request(job):
                raise IdempotencyMismatch(
                    "This Idempotency-Key was used before, with another body or other options. Use a new one."
                )
            if self._record_under(key, first, first_text):
                return first

    def _withdraw(self, key: str, job: Job, text: bytes) -> None:
        """Leave nothing of a job whose record could not be made, unless a repeat has made it: with the key alone, the
        next repeat would make the job without its data.
        """
        if self.blobs.exists(record_key(job.owner, job.id)):
            return
        self.blobs.delete(key)  # from here on no repeat makes the record
        if self.blobs.exists(record_key(job.owner, job.id)):
            self.blobs.create(key, text)
        else:
            self.delete(job)

    def accept_together(self, jobs: Sequence[Job]) -> None:
        """Make jobs without keys exist, durably, all or none. Their inputs and indexes must be durable already, or in
        their records.
        """
        callbacks = {key: text for job in jobs for key, text in _callback_of(job).items()}
        records = {record_key(job.owner, job.id): seal(_JOB.dump_json(job) + b"\n") for job in jobs}
        self.blobs.create_all(callbacks | records)

    def _record_under(self, key: str, job: Job, text: bytes) -> bool:
        """Create the job's record unless it stands. False: the job was deleted meanwhile, and stays so."""
        if not self.blobs.exists(record_key(job.owner, job.id)):
            self.blobs.create_all(_callback_of(job))
        self.blobs.create(record_key(job.owner, job.id), text)
        if self.blobs.exists(key):
            return True
        self.blobs.delete(record_key(job.owner, job.id))
        return False

    # Reading.

    def job(self, owner: str, job_id: str) -> Job:
        """The record. Raises JobNotFound, or DamagedObject when it cannot be read."""
        missing = JobNotFound(
            f"There is no job {job_id[:64]!r}. Job ids are answered by POST /v1/jobs and listed by GET /v1/jobs."
        )
        if not is_job_id(job_id):
            raise missing
        key = record_key(owner, job_id)
        known = self._records.get((owner, job_id))
        if known is not None and not self.blobs.exists(key):
            self._records.pop((owner, job_id), None)
            raise missing
        if known is None:
            text = self.blobs.get(key)
            if text is None:
                raise missing
            known = _read_job(key, text)
        with self._records_lock:
            self._records[owner, job_id] = known
            self._records.move_to_end((owner, job_id))
            while len(self._records) > _REMEMBERED_RECORDS:
                self._records.popitem(last=False)
        return known

    def end(self, job: Job) -> End | None:
        """How the job ended, or None while it is open. A damaged end is made again, as well as the results tell."""
        key = end_key(job.owner, job.id)
        sealed = self.blobs.get(key)
        if sealed is None:
            return None
        try:
            return _END.validate_json(unseal(key, sealed))
        except (DamagedObject, ValidationError):
            log.error("job %s: its stored end is damaged and is made again", job.id)
            return self._remade_end(job)

    def _remade_end(self, job: Job) -> End | None:
        stored = self.stored_chunks(job)
        end = self.tally(job, stored)
        if job.interactive or (len(stored) == len(job.chunks) and end.counts.pending):
            # Its rows were in the end, or it was completed and has a damaged result besides: it is open again.
            self.blobs.delete(end_key(job.owner, job.id))
            return None
        if end.counts.pending:  # an ended job that lacks rows was cancelled
            counts = replace(end.counts, cancelled=end.counts.pending)
            end = replace(end, outcome=JobState.CANCELLED, counts=counts)
        self.blobs.replace(end_key(job.owner, job.id), _sealed_end(end))
        return end

    def has_ended(self, job: Job) -> bool:
        return self.blobs.exists(end_key(job.owner, job.id))

    def ids(self, owner: str) -> list[str]:
        """The owner's job ids, oldest first."""
        return [id_in(key) for key in self.blobs.list(f"jobs/{owner}")]

    def open_jobs(self) -> Iterator[tuple[str, str]]:
        """(owner, id) of the jobs that have no end."""
        for owner in self.blobs.folders("jobs"):
            ended = {entry.key for entry in self.blobs.entries(f"ends/{owner}") if entry.size}
            yield from ((owner, job_id) for job_id in self.ids(owner) if end_key(owner, job_id) not in ended)

    def held(self, owner: str) -> Held:
        """What the owner has now, as the store tells: one object of a job is looked at when the job is first met, and
        one while it is open. Only jobs of the bulk lane have an index of their own.
        """
        records = {id_in(entry.key): entry.size for entry in self.blobs.entries(f"jobs/{owner}")}
        ended = set(self.blobs.list(f"ends/{owner}"))
        known = self._input_bytes.get(owner, {})
        new = [job_id for job_id in records if job_id not in known]
        inputs = known | dict(zip(new, self.blobs.sizes(map(input_key, new)), strict=True))
        self._input_bytes[owner] = {job_id: inputs[job_id] for job_id in records}
        indexes = self.blobs.sizes(index_key(job_id) for job_id in records if end_key(owner, job_id) not in ended)
        return Held(sum(size > 0 for size in indexes), sum(records.values()) + sum(self._input_bytes[owner].values()))

    # Results and ends.

    def put_result(self, job: Job, chunk: int, data: bytes) -> bool:
        """Store a chunk's result unless a good one stands. Not fsynced: whoever creates the end does that. True: it is
        the first.
        """
        key, sealed = result_key(job.id, chunk), seal(data)
        first = self.blobs.create(key, sealed, durable=False)
        if not first:
            try:
                unseal(key, self.blobs.get(key) or b"")
            except DamagedObject:
                log.warning("job %s: the damaged result of chunk %d is replaced", job.id, chunk)
                self.blobs.replace(key, sealed)
        erase_if_deleted(self.blobs, job)
        return first

    def result(self, job: Job, chunk: int) -> tuple[pa.RecordBatch, Model] | None:
        """A chunk's stored result, or None. Raises DamagedObject."""
        key = result_key(job.id, chunk)
        sealed = self.blobs.get(key)
        return None if sealed is None else _read_result(key, sealed)

    def _results(self, job: Job, chunks: Iterable[int]) -> Iterator[tuple[str, bytes | None]]:
        """Key and object of each of these results, in order; None where there is no object."""
        keys = [result_key(job.id, chunk) for chunk in chunks]
        return zip(keys, self.blobs.get_each(keys), strict=True)

    def stored_chunks(self, job: Job) -> set[int]:
        """The chunks that have a result, good or damaged."""
        names = self.blobs.list(f"{data_prefix(job.id)}/results")
        return {chunk for chunk in map(chunk_of, names) if chunk is not None}

    def finish(self, job: Job) -> set[int]:
        """End the job as completed if every chunk has a good result. Answers the chunks that have none: empty when
        ended.
        """
        if self.has_ended(job):
            return set()
        stored = self.stored_chunks(job)
        missing = set(range(len(job.chunks))) - stored
        if missing:
            return missing
        ended = self.tally(job, stored)
        if ended.counted == stored:
            self.blobs.sync(result_key(job.id, chunk) for chunk in stored)
            self._create_end(job, ended)
        return stored - ended.counted

    def cancel(self, job: Job) -> End:
        """End the job with what is done. Raises JobAlreadyEnded where it ended first, and JobNotFound."""
        if self.has_ended(job):
            raise JobAlreadyEnded(f"Job {job.id} has already ended; there is nothing to cancel.")
        done = self.tally(job, self.stored_chunks(job))
        try:
            self.blobs.sync(result_key(job.id, chunk) for chunk in done.counted)
        except StoreError:
            self.job(job.owner, job.id)
            raise
        counts = replace(done.counts, cancelled=done.counts.pending)
        ended = replace(done, outcome=JobState.CANCELLED, counts=counts)
        if not self._create_end(job, ended):
            raise JobAlreadyEnded(f"Job {job.id} ended just before it could be cancelled.")
        count_rows(job, Counts(counts.total, cancelled=counts.cancelled))
        return ended

    def finish_interactive(self, answers: Iterable[tuple[Job, pa.RecordBatch]], model: Model) -> None:
        """End jobs of the interactive lane, durably and together: the rows of each ride inside its end."""
        ends = {}
        for job, rows in answers:
            counts, inline = results.counts(rows), results.serialize(rows, model)
            end = End(JobState.COMPLETED, counts, frozenset({0}), (model,), time.time(), inline)
            ends[end_key(job.owner, job.id)] = job, end
        # An end that stands may have been seen: it stays, though another cannot be made now.
        ours = self.blobs.create_all({key: _sealed_end(end) for key, (_, end) in ends.items()}, undo=False)
        for key, (job, end) in ends.items():
            if key in ours:
                count_end(job, end.outcome, end.ended_at)
                count_rows(job, end.counts)
            self._withdraw_if_deleted(job)

    def rows(
        self, job: Job, end: End | None, first_row: int = 0, *, until_gap: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The job's rows in order from `first_row` on, a batch a chunk; of an open job those there are, or with
        `until_gap` those before the first that is not.

        Raises DamagedObject.
        """
        if end is not None and end.inline_results is not None:
            yield results.deserialize(end.inline_results)[0].slice(first_row)
            return
        wanted = range(bisect_right(job.first_rows, first_row) - 1, len(job.chunks))
        if end is None and until_gap:  # asked again and again: for the next one alone
            for chunk in wanted:
                result = self.result(job, chunk)
                if result is None:
                    return
                yield result[0].slice(max(0, first_row - job.first_rows[chunk]))
            return
        stored = self.stored_chunks(job) if end is None else end.counted
        found = self._results(job, [chunk for chunk in wanted if chunk in stored])
        for chunk in wanted:
            if chunk in stored:
                key, sealed = next(found)
                if sealed is None and end is None:  # deleted meanwhile
                    continue
                if sealed is None:
                    raise DamagedObject(key, "The stored result is gone.")
                rows = _read_result(key, sealed)[0]
            elif end is not None:
                names = self.inputs.sound_index(job, chunk).column("name")
                numbers = np.arange(job.first_rows[chunk], job.first_rows[chunk + 1], dtype=np.uint32)
                rows = results.cancelled(numbers, names, job.options.top_k)
            else:
                continue
            yield rows.slice(max(0, first_row - job.first_rows[chunk]))

    def tally(self, job: Job, chunks: set[int]) -> End:
        """Read the results of `chunks`: the end that the good ones among them would make."""
        good: dict[int, Counts] = {}
        models: dict[Model, None] = {}
        ordered = sorted(chunks)
        for chunk, (key, sealed) in zip(ordered, self._results(job, ordered), strict=True):
            if sealed is None:
                continue
            try:
                rows, model = _read_result(key, sealed)
            except DamagedObject as error:
                log.warning("job %s: %s", job.id, error.detail)
            else:
                good[chunk] = results.counts(rows)
                models[model] = None
        counts = Counts.summed(job.total, good.values())
        return End(JobState.COMPLETED, counts, frozenset(good), tuple(models), time.time())

    def _create_end(self, job: Job, end: End) -> bool:
        won = self.blobs.create(end_key(job.owner, job.id), _sealed_end(end))
        if won:
            count_end(job, end.outcome, end.ended_at)
        self._withdraw_if_deleted(job)
        return won

    def _withdraw_if_deleted(self, job: Job) -> None:
        """Of a job that was deleted while its end was made, nothing stays."""
        if not self.blobs.exists(record_key(job.owner, job.id)):
            self.blobs.delete(end_key(job.owner, job.id))

    # Erasing.

    def delete(self, job: Job) -> None:
        """Erase the job: its idempotency key first, so that no repeat revives it, then the record, then the rest."""
        if job.idempotency_sha256 is not None:
            self.blobs.delete(idempotency_key(job.owner, job.idempotency_sha256))
        self.blobs.delete(record_key(job.owner, job.id))
        self._records.pop((job.owner, job.id), None)
        self.blobs.delete(end_key(job.owner, job.id))
        if job.options.callback_url:
            self.blobs.delete(callback_key(job.owner, job.id))
        self.blobs.delete_folder(data_prefix(job.id))

    def delete_damaged(self, owner: str, job_id: str) -> None:
        """Erase a job whose record cannot be read."""
        for key, its_job in self.jobs_of_keys(list(self.blobs.list(f"idempotency/{owner}"))).items():
            if its_job == job_id:
                self.blobs.delete(key)
        self.blobs.delete(record_key(owner, job_id))
        self.blobs.delete(end_key(owner, job_id))
        self.blobs.delete(callback_key(owner, job_id))
        self.blobs.delete_folder(data_prefix(job_id))

    def jobs_of_keys(self, keys: Sequence[str]) -> dict[str, str]:
        """The id of the job of each of these idempotency keys; none where that cannot be read."""
        jobs = {}
        for key, sealed in zip(keys, self.blobs.get_each(keys), strict=True):
            try:
                jobs[key] = _read_job(key, sealed or b"").id
            except DamagedObject:
                jobs[key] = ""
        return jobs


def _read_job(key: str, sealed: bytes) -> Job:
    try:
        return _JOB.validate_json(unseal(key, sealed))
    except ValidationError as error:
        raise DamagedObject(key, "The stored record cannot be read.") from error


def _read_result(key: str, sealed: bytes) -> tuple[pa.RecordBatch, Model]:
    return results.deserialize(unseal(key, sealed))


def _callback_of(job: Job) -> dict[str, bytes]:
    """What is to be stored before the record where somebody is to be told of the end."""
    return {callback_key(job.owner, job.id): first_delivery()} if job.options.callback_url else {}


def _sealed_end(end: End) -> bytes:
    return seal(_END.dump_json(end) + b"\n")


def _request(job: Job) -> tuple[object, ...]:
    """What two requests must share to be the same: the index stands for the names and sizes in a form."""
    return job.kind, job.options, job.input_sha256, job.chunks
