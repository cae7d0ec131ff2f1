"""Inputs of a chunk to its rows: read, unpack, decode, normalize, predict. Knows nothing of Redis or of who asks."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from glyphq import results
from glyphq.charset_rules import CharsetRule, charset_chooser, parse_rules
from glyphq.contents import contents
from glyphq.errors import DamagedObject
from glyphq.index import INDEX_SCHEMA
from glyphq.jobs import Job, Kind, Reason, Rejection, RowStatus, Sign
from glyphq.labels import LABELS, charset_classes
from glyphq.logs import bound
from glyphq.vision.decode import decode
from glyphq.vision.engine import BATCH, answers
from glyphq.vision.frames import FIRST_ONLY, has_more_frames
from glyphq.vision.isolated import IsolatedDecoder
from glyphq.vision.normalize import is_inverted, normalize
from glyphq.vision.picture import PICTURE_SIZE, from_pixels
from glyphq.vision.signs import signs_of
from worker.metrics import BATCH_IMAGES, Stages
from worker.process import Process

log = logging.getLogger(__name__)

Picture = NDArray[np.uint8]
Outcome = Picture | Rejection | None  # what decoding gives: 28x28, why not, or None for a blank

_REMEMBERED_VERDICTS = 1000
_READ_BYTES = 4 << 20  # of the input at once: a store that is slow is to take no longer for it than a lease lasts


class Input(NamedTuple):
    """What became of one input, and what a person should know of it although it was read."""

    outcome: Outcome
    note: str | None = None
    sign: Sign = Sign.NONE


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
                pieces.append(process.ledger.inputs.read(job, at, min(_READ_BYTES, start + length - at)))
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
        process.verdicts[job.id] = process.ledger.inputs.intact(job, pulse)
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
        return process.ledger.inputs.sound_index(job, chunk)
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
