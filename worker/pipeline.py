"""The way of a chunk and of a drain: claim, classify, store, report. Runs without Celery.

Whatever dies here costs time, never a row: a result counts once its object exists, and a chunk without one is sent
again.
"""

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial

import pyarrow as pa

from glyphq import results
from glyphq.broker import QUEUE_ERRORS
from glyphq.errors import DamagedObject, GlyphqError, JobNotFound, StoreError
from glyphq.jobs import Job, Lane
from glyphq.logs import bind_request, bound
from glyphq.metrics import count_rows
from glyphq.progress import Waiting
from worker.classification import classify
from worker.metrics import Stages
from worker.process import Process
from worker.pulse import Pulse, Superfluous

log = logging.getLogger(__name__)


def classify_chunk(process: Process, owner: str, job_id: str, chunk: int, sent: int) -> None:
    """Claim one chunk, make its result, mark it done, send what follows, end the job if it was the last."""
    with bound(job_id):
        _classify_chunk(process, owner, job_id, chunk, sent)


def _classify_chunk(process: Process, owner: str, job_id: str, chunk: int, sent: int) -> None:
    token = uuid.uuid4().hex
    try:
        _classify_claimed(process, owner, job_id, chunk, sent, token)
    except JobNotFound:  # deleted; or this worker looks into another store, and the job is no concern of its own
        log.info("job %s: chunk %d is of a job that is not in the store", job_id, chunk)
    except Superfluous:
        log.info("job %s: chunk %d has been taken over, or its job has ended", job_id, chunk)
    except QUEUE_ERRORS as error:
        log.warning("job %s: chunk %d: Redis: %s; the reconciler goes on with it", job_id, chunk, error)
    except GlyphqError as error:
        log.warning("job %s: chunk %d: %s; it is tried again", job_id, chunk, error.detail)
        _note_failure(process, error)
        _tell_redis(partial(process.progress.release, job_id, chunk, token))
    except Exception:  # left to its lease: the next run decodes in a child
        log.exception("job %s: chunk %d failed", job_id, chunk)


def _classify_claimed(process: Process, owner: str, job_id: str, chunk: int, sent: int, token: str) -> None:
    stages = Stages(Lane.BULK)
    with stages.timed("claim"):
        job = process.ledger.job(owner, job_id)
        bind_request(job.request_id)
        ended = process.ledger.has_ended(job)
        claim = None if ended else process.progress.claim(job_id, chunk, token, sent)
    if claim is None:
        _mend(process, job, chunk)
        return
    if not claim.granted and not claim.done:
        return
    rows = _stored_rows(process, job, chunk)
    if rows is None:
        renew = partial(process.progress.renew, job_id, chunk, token)
        with Pulse(process, renew, stages, serve=partial(drain, process)) as pulse:
            rows = classify(process, [(job, chunk)], stages, pulse, isolated=claim.deaths > 0)[0]
        with stages.timed("store"):
            if process.ledger.put_result(job, chunk, results.serialize(rows, process.model)):
                count_rows(job, results.counts(rows))
        log.info("job %s: chunk %d: %d rows", job_id, chunk, rows.num_rows)
    with stages.timed("report"):
        finished, following = process.progress.done(owner, job_id, chunk, len(job.chunks), results.counts(rows))
        process.dispatcher.send(job, following)
        if finished:
            process.dispatcher.restore(job)
    stages.observe()


def _mend(process: Process, job: Job, chunk: int) -> None:
    """Make a result again that was found damaged after the job had ended."""
    end = process.ledger.end(job)
    if end is not None and chunk in end.counted and _stored_rows(process, job, chunk) is None:
        stages = Stages(Lane.BULK)
        with Pulse(process, lambda: True, stages) as pulse:
            rows = classify(process, [(job, chunk)], stages, pulse, isolated=True)[0]
        process.ledger.put_result(job, chunk, results.serialize(rows, process.model))


def drain(process: Process, outer: Pulse | None = None) -> None:
    """Answer what waits in the interactive lane, as one batch across jobs; `outer` is of the chunk that is interrupted.

    Jobs whose worker went silent are answered last, each alone and decoded in a child.
    """
    begun = time.monotonic()
    try:
        with bound(None):  # not about the chunk
            _drain(process, outer)
    finally:
        took = time.monotonic() - begun
        process.lane.served_from = begun + 2 * took  # chunks have as long


def _drain(process: Process, outer: Pulse | None) -> None:
    stages = Stages(Lane.INTERACTIVE)
    with stages.timed("claim"):
        taken = process.progress.pop(process.settings.drain_images)
    groups = [[one for one in taken if not one.deaths], *([one] for one in taken if one.deaths)]
    with Pulse(process, partial(process.progress.renew_interactive, taken), stages, outer=outer) as pulse:
        for group in filter(None, groups):
            with bound(group[0].job_id if len(group) == 1 else None):
                _answer_group(process, group, stages, pulse)
    process.dispatcher.recover_interactive()
    if taken:
        stages.observe()


def _answer_group(process: Process, group: Sequence[Waiting], stages: Stages, pulse: Callable[[], None]) -> None:
    try:
        _answer(process, group, stages, pulse)
    except GlyphqError as error:
        log.warning("jobs %s: %s; they are tried again", [one.job_id for one in group], error.detail)
        _note_failure(process, error)
    except Exception:  # no concern of other groups, nor of the chunk that is interrupted
        log.exception("jobs %s failed; they are tried again", [one.job_id for one in group])


def _answer(process: Process, taken: Sequence[Waiting], stages: Stages, pulse: Callable[[], None]) -> None:
    jobs: list[Job] = []
    with stages.timed("claim"):
        for one in taken:
            try:
                job = process.ledger.job(one.owner, one.job_id)
                if not process.ledger.has_ended(job):
                    jobs.append(job)
            except (JobNotFound, DamagedObject) as error:
                log.warning("job %s: %s", one.job_id, error.detail)
    if len(jobs) == 1:
        bind_request(jobs[0].request_id)
    isolated = any(one.deaths for one in taken)
    answers = classify(process, [(job, 0) for job in jobs], stages, pulse, isolated=isolated)
    with stages.timed("store"):
        process.ledger.finish_interactive(zip(jobs, answers, strict=True), process.model)
    with stages.timed("report"):
        process.progress.settle(taken)
    if jobs:
        log.info("answered %s", ", ".join(f"job {job.id} (request {job.request_id})" for job in jobs))


def _stored_rows(process: Process, job: Job, chunk: int) -> pa.RecordBatch | None:
    """The rows that another run of this chunk has stored already."""
    try:
        found = process.ledger.result(job, chunk)
    except DamagedObject:
        return None
    return None if found is None else found[0]


def _note_failure(process: Process, error: GlyphqError) -> None:
    if isinstance(error, StoreError) and not isinstance(error, DamagedObject):
        process.store.failed(error)


def _tell_redis(tell: Callable[[], None]) -> None:
    try:
        tell()
    except QUEUE_ERRORS as error:
        log.warning("Redis was not told: %s; the reconciler finds out", error)
