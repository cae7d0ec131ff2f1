"""From an upload to an accepted job. What it is, is told by its bytes; knows nothing of Redis."""

import hashlib
import io
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict

import pyarrow as pa

from api.intake.uploads import Part, Upload
from glyphq.archive import index_zip
from glyphq.errors import EmptyInput, StoreError, StoreFull, UnsupportedInput
from glyphq.index import raw_batch, write_index
from glyphq.jobs import Job, Kind, Options
from glyphq.logs import bound_request_id
from glyphq.object_names import data_prefix, index_key, input_key, record_key
from glyphq.sniff import sniff


def accept(upload: Upload, options: Options, owner: str, idempotency_key: str | None) -> Job:
    """Make what has arrived a job: input and index durable, then the record. Blocks; may take seconds for a large zip.

    Raises UnsupportedInput, EmptyInput, InvalidArchive, LimitExceeded, IdempotencyMismatch, StoreError; then nothing
    is left, but for what a repeat of the request may need.
    """
    job_id, blobs = upload.job_id, upload.ledger.blobs
    try:
        accepted = upload.ledger.accept(_prepare(upload, options, owner, idempotency_key))
    except BaseException as error:
        key_may_stand = idempotency_key and isinstance(error, StoreError) and not isinstance(error, StoreFull)
        if not key_may_stand and not blobs.exists(record_key(owner, job_id)):
            blobs.delete_folder(data_prefix(job_id))
        raise
    if accepted.id != job_id:
        blobs.delete_folder(data_prefix(job_id))
    return accepted


def prepare_inline(upload: Upload, options: Options, owner: str) -> Job:
    """The job of an inline upload, which exists once its record does. Touches no disk. Raises UnsupportedInput and
    EmptyInput.
    """
    return _prepare(upload, options, owner, None)


def _kind(upload: Upload) -> Kind:
    if upload.pixels:
        return Kind.PIXELS
    if len(upload.parts) > 1:
        if any(sniff(part.head) == "zip" for part in upload.parts):
            raise UnsupportedInput("One of several files is a zip. Send each zip as a job of its own, or images alone.")
        return Kind.IMAGES
    if upload.size == 0:
        raise EmptyInput(
            "The body is empty. Send a zip of images or an image, for example: curl --data-binary @scans.zip"
        )
    found = sniff(upload.parts[0].head)
    if found in (None, "archive"):
        raise UnsupportedInput(
            "The body is neither a zip nor a PNG, JPEG, WebP, TIFF or BMP image. "
            "Pack the scans in a zip, or send one image."
        )
    return Kind.ZIP if found == "zip" else Kind.IMAGE


def _prepare(upload: Upload, options: Options, owner: str, idempotency_key: str | None) -> Job:
    settings, blobs, job_id = upload.settings, upload.ledger.blobs, upload.job_id
    kind, interactive = _kind(upload), upload.interactive
    if upload.staged is None and not upload.inline:
        upload.stage()
    upload.digest.update(upload.buffer)
    inline_input = None
    if upload.staged is None:
        inline_input = bytes(upload.buffer)
    else:
        upload.staged.write(memoryview(upload.buffer))
        upload.staged.commit()
    ignored = 0
    inline_index = None
    if kind is Kind.ZIP:
        with blobs.open(input_key(job_id)) as file, blobs.writer(index_key(job_id)) as index:
            archive = index_zip(file, settings.archive_limits, options.filename_encoding)
            chunks = write_index(index, archive.batches())
            index.commit()
        ignored = archive.ignored
    else:
        images = settings.interactive_images if interactive else settings.chunk_images
        batches = _raw_batches(upload.parts, options.name or kind.value, images)
        memory = io.BytesIO()
        chunks = write_index(memory, batches)
        if interactive:
            inline_index = memory.getvalue()[chunks[0].offset :]
        else:
            blobs.create(index_key(job_id), memory.getvalue())
    return Job(
        id=job_id,
        owner=owner,
        kind=kind,
        options=options,
        input_sha256=upload.digest.hexdigest(),
        input_bytes=upload.size,
        total=sum(chunk.rows for chunk in chunks),
        ignored=ignored,
        chunks=chunks,
        created_at=time.time(),
        nonce=uuid.uuid4().hex,
        inline_index=inline_index,
        inline_input=inline_input,
        archive_limits=asdict(settings.archive_limits) if kind is Kind.ZIP else None,
        request_id=bound_request_id(),
        idempotency_sha256=hashlib.sha256(idempotency_key.encode()).hexdigest() if idempotency_key else None,
    )


def _raw_batches(parts: list[Part], unnamed: str, images: int) -> Iterator[pa.RecordBatch]:
    for first in range(0, len(parts), images):
        some = parts[first : first + images]
        names = [part.name or unnamed for part in some]
        yield raw_batch(names, [part.offset for part in some], [part.size for part in some], first_row=first)
