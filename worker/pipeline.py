"""The way of a chunk: claim, read, unpack, decode, normalize, predict, store, report. Runs without Celery.

Whatever dies here costs time, never a row: a result counts once its object exists, and a chunk without one is sent
again.
"""

import faulthandler
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from glyphq import results
from glyphq.broker import QUEUE_ERRORS
from glyphq.charset_rules import CharsetRule, charset_chooser, parse_rules
from glyphq.contents import contents
from glyphq.errors import DamagedObject, GlyphqError, JobNotFound, StoreError
from glyphq.index import INDEX_SCHEMA
from glyphq.jobs import Job, Kind, Lane, Reason, Rejection, RowStatus, Sign
from glyphq.labels import LABELS, charset_classes
from glyphq.logs import bind_request, bound
from glyphq.metrics import count_rows
from glyphq.progress import Waiting
from glyphq.vision.decode import decode
from glyphq.vision.engine import BATCH, answers
from glyphq.vision.frames import FIRST_ONLY, has_more_frames
from glyphq.vision.isolated import IsolatedDecoder
from glyphq.vision.network import PICTURE_SIZE
from glyphq.vision.normalize import is_inverted, normalize
from glyphq.vision.picture import from_pixels
from glyphq.vision.signs import signs_of
from worker.metrics import BATCH_IMAGES, Stages
from worker.process import Process

log = logging.getLogger(__name__)

Picture = NDArray[np.uint8]
Outcome = Picture | Rejection | None  # what decoding gives: 28x28, why not, or None for a blank

STUCK_SECONDS = 300.0
"""A process that is this long at one image ends itself, with a traceback; the next one decodes in a child."""

_STDERR = 2
_REDIS_PAUSE_SECONDS = 5.0  # after a call of Redis that failed, for it may have hung
_REMEMBERED_VERDICTS = 1000
_READ_BYTES = 4 << 20  # of the input at once: a store that is slow is to take no longer for it than a lease lasts


class Input(NamedTuple):
    """What became of one input, and what a person should know of it although it was read."""

    outcome: Outcome
    note: str | None = None
    sign: Sign = Sign.NONE


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
    except _Superfluous:
        log.info("job %s: chunk %d has been taken over, or its job has ended", job_id, chunk)
    except QUEUE_ERRORS as error:
        log.warning("job %s: chunk %d: Redis: %s; the reconciler goes on with it", job_id, chunk, error)
    except GlyphqError as error:
        log.warning("job %s: chunk %d: %s; it is tried again", job_id, chunk, error.detail)
        _note_refusal(process, error)
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
        with _Pulse(process, renew, stages, serves=True) as pulse:
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
        with _Pulse(process, lambda: True, stages) as pulse:
            rows = classify(process, [(job, chunk)], stages, pulse, isolated=True)[0]
        process.ledger.put_result(job, chunk, results.serialize(rows, process.model))


def drain(process: Process, outer: "_Pulse | None" = None) -> None:
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


def _drain(process: Process, outer: "_Pulse | None") -> None:
    stages = Stages(Lane.INTERACTIVE)
    with stages.timed("claim"):
        taken = process.progress.pop(process.settings.drain_images)
    groups = [[one for one in taken if not one.deaths], *([one] for one in taken if one.deaths)]
    with _Pulse(process, partial(process.progress.renew_interactive, taken), stages, outer=outer) as pulse:
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
        _note_refusal(process, error)
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


def classify(
    process: Process,
    parts: Sequence[tuple[Job, int]],
    stages: Stages,
    pulse: Callable[[], None],
    *,
    isolated: bool = False,
) -> list[pa.RecordBatch]:
    """The rows of some chunks, their pictures predicted together. `pulse` is called often.

    The network sees fixed batch shapes, so an image gives the same row in whatever company it is classified.
    """
    with stages.timed("read"):
        indexes = [_index(process, job, chunk) for job, chunk in parts]
    inputs: list[list[Input]] = []
    for (job, _), index in zip(parts, indexes, strict=True):
        inputs.append([])
        with bound(job.id, job.request_id), stages.timed("decode"):
            for each in _inputs(process, job, index, stages, pulse, isolated=isolated):
                inputs[-1].append(each)
                pulse()
    pictures = [each.outcome for part in inputs for each in part if isinstance(each.outcome, np.ndarray)]
    stack = np.stack(pictures) if pictures else np.empty((0, PICTURE_SIZE, PICTURE_SIZE), np.uint8)
    BATCH_IMAGES.labels(stages.lane).observe(len(stack))
    logits = np.empty((len(stack), len(LABELS)), np.float32)
    with stages.timed("predict"):
        for start in range(0, len(stack), BATCH):
            logits[start : start + BATCH] = process.engine.logits(stack[start : start + BATCH])
            pulse()
    batches, first = [], 0
    with stages.timed("answer"):
        for (job, _), index, part in zip(parts, indexes, inputs, strict=True):
            seen = sum(isinstance(each.outcome, np.ndarray) for each in part)
            own = slice(first, first + seen)
            batches.append(_rows(process, job, index, part, logits[own], signs_of(stack[own]), pulse))
            first += seen
    return batches


def _inputs(
    process: Process, job: Job, index: pa.RecordBatch, stages: Stages, pulse: Callable[[], None], *, isolated: bool
) -> Iterator[Input]:
    """What becomes of each entry, in order."""

    def read(start: int, length: int) -> bytes:
        pieces = []
        with stages.timed("read"):
            for at in range(start, start + length, _READ_BYTES):
                pulse()
                pieces.append(process.ledger.input_range(job, at, min(_READ_BYTES, start + length - at)))
        return b"".join(pieces)

    invert, max_pixels = job.options.invert, process.settings.max_pixels
    # Entries of a zip have checksums and a record has its own; of other inputs only the whole one has a digest.
    checked = job.kind is Kind.ZIP or job.inline_input is not None
    if not checked and not _input_intact(process, job, pulse):
        yield from [Input(Rejection.of(Reason.STORED_INPUT_DAMAGED))] * index.num_rows
        return
    with ExitStack() as stack:
        child = stack.enter_context(IsolatedDecoder(max_pixels, pulse=pulse)) if isolated else None
        for content in contents(index, read):
            if isinstance(content, Rejection):
                damaged = content.reason is Reason.DAMAGED_ENTRY and not _input_intact(process, job, pulse)
                yield Input(Rejection.of(Reason.STORED_INPUT_DAMAGED) if damaged else content)
            elif job.kind is Kind.PIXELS:
                picture = from_pixels(content)
                yield Input(picture if picture.any() else None)
            else:
                data = bytes(content)
                note = FIRST_ONLY if has_more_frames(data) else None
                if child is not None:
                    yield Input(child.picture(data, invert), note)
                else:
                    scan = decode(data, max_pixels)
                    if isinstance(scan, Rejection):
                        yield Input(scan)
                    else:
                        sign = Sign.INVERTED if is_inverted(scan, invert) else Sign.NONE
                        yield Input(normalize(scan, invert), note, sign)


def _input_intact(process: Process, job: Job, pulse: Callable[[], None]) -> bool:
    """Whether the stored input is what was uploaded. Looked at once a job and process, for it reads all of it."""
    if job.id not in process.verdicts:
        if len(process.verdicts) >= _REMEMBERED_VERDICTS:
            process.verdicts.clear()
        process.verdicts[job.id] = process.ledger.input_intact(job, pulse)
    return process.verdicts[job.id]


def _rows(
    process: Process,
    job: Job,
    index: pa.RecordBatch,
    inputs: Sequence[Input],
    logits: NDArray[np.float32],
    signs: NDArray[np.uint8],
    pulse: Callable[[], None],
) -> pa.RecordBatch:
    """Inputs in order; for the M of them that are pictures float32[M, 47] and uint8[M] -> the chunk's result."""
    outcomes = [each.outcome for each in inputs]
    statuses = [_status(outcome) for outcome in outcomes]
    pictured = np.flatnonzero([status is RowStatus.CLASSIFIED for status in statuses])
    rules, charset, top_k = parse_rules(job.options.charset_rules), job.options.charset, job.options.top_k
    largest = max(len(charset_classes(each)) for each in (charset, *(rule.charset for rule in rules)))
    classes = np.zeros((len(outcomes), min(top_k, largest)), np.uint8)
    confidences = np.full(classes.shape, np.nan, np.float32)
    all_signs = np.array([each.sign for each in inputs], np.uint8)
    all_signs[pictured] |= signs
    for own, members in _by_charset(rules, charset, index.column("name").take(pictured), pulse).items():
        allowed = charset_classes(own)
        best, rows = min(top_k, len(allowed)), pictured[members]
        classes[rows, :best], confidences[rows, :best] = answers(logits[members], process.temperature, allowed, best)
    return results.build(
        index.column("row").to_numpy(),
        index.column("name"),
        statuses,
        classes,
        confidences,
        {position: outcome for position, outcome in enumerate(outcomes) if isinstance(outcome, Rejection)},
        all_signs,
        {position: each.note for position, each in enumerate(inputs) if each.note},
    )


def _by_charset(
    rules: Sequence[CharsetRule], otherwise: str, names: pa.StringArray, pulse: Callable[[], None]
) -> dict[str, list[int]]:
    """Charset -> the positions of the names that have it. `pulse`, for a long name is slow to match with a bad glob."""
    if not rules:
        return {otherwise: list(range(len(names)))}
    charset_of = charset_chooser(rules, otherwise)
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for position, name in enumerate(names.to_pylist()):
        groups[charset_of(name)].append(position)
        pulse()
    return groups


def _status(outcome: Outcome) -> RowStatus:
    if outcome is None:
        return RowStatus.BLANK
    return RowStatus.REJECTED if isinstance(outcome, Rejection) else RowStatus.CLASSIFIED


def _index(process: Process, job: Job, chunk: int) -> pa.RecordBatch:
    try:
        return process.ledger.index(job, chunk)
    except DamagedObject as error:
        log.warning("job %s: %s; it is made again from the input", job.id, error.detail)
    try:
        process.ledger.rebuild_index(job)
        return process.ledger.index(job, chunk)
    except DamagedObject as error:
        log.error("job %s: %s; the rows of chunk %d are rejected", job.id, error.detail, chunk)
        return _unreadable(job, chunk)


def _unreadable(job: Job, chunk: int) -> pa.RecordBatch:
    """The index of a chunk of which nothing is known any more but how many rows it has."""
    lost = Rejection.of(Reason.STORED_INPUT_DAMAGED)
    rows = range(job.first_rows[chunk], job.first_rows[chunk + 1])
    known = {"name": "", "reason": lost.reason.value, "detail": lost.detail}
    entries = [{**dict.fromkeys(INDEX_SCHEMA.names, 0), **known, "row": row} for row in rows]
    return pa.RecordBatch.from_pylist(entries, schema=INDEX_SCHEMA)


def _stored_rows(process: Process, job: Job, chunk: int) -> pa.RecordBatch | None:
    """The rows that another run of this chunk has stored already."""
    try:
        found = process.ledger.result(job, chunk)
    except DamagedObject:
        return None
    return None if found is None else found[0]


def _note_refusal(process: Process, error: GlyphqError) -> None:
    if isinstance(error, StoreError) and not isinstance(error, DamagedObject):
        process.store.refused(error.detail)


def _tell_redis(tell: Callable[[], None]) -> None:
    try:
        tell()
    except QUEUE_ERRORS as error:
        log.warning("Redis was not told: %s; the reconciler finds out", error)


def _arm() -> None:
    """End this process in STUCK_SECONDS, unless armed anew or disarmed before."""
    faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True, file=_STDERR)


class _Superfluous(Exception):
    """Raised between two images when the job has ended meanwhile, or another process holds the chunk."""


class _Pulse:
    """Called between images: keeps the lease, answers the interactive lane for half of the time at the most, stops work
    that has become superfluous.

    A context manager: inside, a process that does not call it for STUCK_SECONDS ends itself.
    """

    def __init__(
        self,
        process: Process,
        renew: Callable[[], bool | None],
        stages: Stages,
        *,
        serves: bool = False,
        outer: "_Pulse | None" = None,
    ) -> None:
        """`renew` answers False when the work is superfluous; `outer` is renewed along. `stages` of the work do not
        last while the interactive lane is answered.
        """
        self._process, self._renew, self._serves, self._outer = process, renew, serves, outer
        self._stages = stages
        self._renew_seconds = process.settings.lease_seconds / 5
        self._renewed = time.monotonic()
        self._paused_until = 0.0

    def __enter__(self) -> Self:
        _arm()
        if self._serves:
            self._process.lane.watch()
        return self

    def __exit__(self, *_: object) -> None:
        if self._serves:
            self._process.lane.rest()
        if self._outer is None:
            faulthandler.cancel_dump_traceback_later()
        else:
            _arm()

    def __call__(self) -> None:
        now = time.monotonic()
        renew = now - self._renewed >= self._renew_seconds
        serve = self._serves and self._process.lane.waits and now >= self._process.lane.served_from
        if not (renew or serve) or now < self._paused_until:
            return
        try:
            if renew:
                self.keep()
            if serve:
                self._process.lane.waits = False
                with self._stages.interrupted():
                    drain(self._process, self)
        except QUEUE_ERRORS as error:
            log.warning("work goes on without Redis: %s", error)
            self._paused_until = time.monotonic() + _REDIS_PAUSE_SECONDS

    def keep(self) -> None:
        """Renew the lease now, and the outer one."""
        if self._outer is not None:
            with suppress(_Superfluous):  # the outer one finds out by itself, when these jobs are answered
                self._outer.keep()
        _arm()
        if self._renew() is False:
            raise _Superfluous
        self._renewed = time.monotonic()
