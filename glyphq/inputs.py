"""What was handed in, as the store keeps it: a job's input, byte for byte, and the index of what lies in it.

An input never changes. A damaged index is made again from the stored zip; `glyphq.index` says what an index holds.
"""

import hashlib
import io
import logging
from bisect import bisect_right
from collections.abc import Callable

import pyarrow as pa

from glyphq.archive import ArchiveLimits, index_zip
from glyphq.blobs import Blobs
from glyphq.errors import DamagedObject, GlyphqError, StoreError
from glyphq.index import INDEX_SCHEMA, chunk_digest, write_index
from glyphq.jobs import Job
from glyphq.metrics import DAMAGED_OBJECTS
from glyphq.object_names import index_key, input_key
from glyphq.removal import erase_if_deleted

log = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 20  # read at once while the input is hashed


class Inputs:
    """What all jobs of one blob store were handed in. Every method may raise StoreError."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def index(self, job: Job, chunk: int) -> pa.RecordBatch:
        """The chunk's entries as index.INDEX_SCHEMA. Raises DamagedObject when they are not those that were
        accepted.
        """
        part = job.chunks[chunk]
        message = job.inline_index or self._blobs.get_range(index_key(job.id), part.offset, part.length)
        if chunk_digest(message) != part.digest:
            DAMAGED_OBJECTS.inc()
            raise DamagedObject(index_key(job.id), f"Chunk {chunk} of the index does not match its digest.")
        return pa.ipc.read_record_batch(pa.py_buffer(message), INDEX_SCHEMA)

    def sound_index(self, job: Job, chunk: int) -> pa.RecordBatch:
        """As `index`; a damaged one is made again. Raises DamagedObject where it cannot be."""
        try:
            return self.index(job, chunk)
        except DamagedObject as error:
            log.warning("job %s: %s; it is made again from the input", job.id, error.detail)
        self.rebuild_index(job)
        return self.index(job, chunk)

    def index_row(self, job: Job, row: int) -> pa.RecordBatch:
        """The index of one row. Raises RowNotFound, and DamagedObject as `sound_index` does."""
        job.require_row(row)
        chunk = bisect_right(job.first_rows, row) - 1
        return self.sound_index(job, chunk).slice(row - job.first_rows[chunk], 1)

    def rebuild_index(self, job: Job) -> None:
        """Make the index again from a zip's input and put it in the place of the damaged one.

        Raises DamagedObject where the input is not a zip, or no longer gives the index that was accepted.
        """
        if job.archive_limits is None:
            raise DamagedObject(index_key(job.id), "The index is damaged and only a zip's can be made again.")
        index = io.BytesIO()
        try:
            with self._blobs.open(input_key(job.id)) as file:
                archive = index_zip(file, ArchiveLimits(**job.archive_limits), job.options.filename_encoding)
                chunks = write_index(index, archive.batches())
        except GlyphqError as error:
            if isinstance(error, StoreError) and self._blobs.exists(input_key(job.id)):
                raise
            raise DamagedObject(
                input_key(job.id), f"The stored input cannot be indexed again: {error.detail}"
            ) from error
        if chunks != job.chunks:
            raise DamagedObject(input_key(job.id), "The stored input no longer gives the index that was accepted.")
        self._blobs.replace(index_key(job.id), index.getvalue())
        erase_if_deleted(self._blobs, job)

    def read(self, job: Job, start: int, length: int) -> bytes:
        """Bytes of the input; fewer than `length` only where the input has been cut."""
        if job.inline_input is not None:
            return job.inline_input[start : start + length]
        return self._blobs.get_range(input_key(job.id), start, length)

    def intact(self, job: Job, pulse: Callable[[], None]) -> bool:
        """Whether the stored input still has the digest it was accepted with. Reads all of it; calls `pulse` often.

        Raises StoreError while the store does not give it.
        """
        digest = hashlib.sha256(job.inline_input or b"")
        if job.inline_input is None:
            try:
                with self._blobs.open(input_key(job.id)) as file:
                    while block := file.read(_BLOCK_BYTES):
                        digest.update(block)
                        pulse()
            except StoreError:
                if self._blobs.exists(input_key(job.id)):  # it cannot be read now, which says nothing of what it is
                    raise
                return False
        return digest.hexdigest() == job.input_sha256
