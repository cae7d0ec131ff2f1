"""The index of an input: which row lies where in the stored bytes, and how it is packed. One record batch a chunk."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from glyphq.jobs import Chunk, Reason, Rejection

STORED, DEFLATE = 0, 8
RAW = 65535
"""Not a method of zip: `offset` and `span` are the content itself, as for form parts, single images and pixel rows."""

INDEX_SCHEMA = pa.schema(
    [
        pa.field("row", pa.uint32(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("offset", pa.uint64(), nullable=False),  # of the local header, from the start of the input
        pa.field("span", pa.uint64(), nullable=False),  # bytes from there within which header and data must lie
        pa.field("size", pa.uint64(), nullable=False),
        pa.field("compressed_size", pa.uint64(), nullable=False),
        pa.field("method", pa.uint16(), nullable=False),
        pa.field("crc", pa.uint32(), nullable=False),
        pa.field("reason", pa.string()),  # set, with detail, where the row is rejected already: nothing to read
        pa.field("detail", pa.string()),
    ]
)

PLACES = np.dtype(
    [
        ("offset", "u8"),
        ("span", "u8"),
        ("size", "u8"),
        ("compressed_size", "u8"),
        ("method", "u2"),
        ("crc", "u4"),
    ]
)
"""The columns of INDEX_SCHEMA that say where a row lies, as numpy has them."""


def raw_batch(names: Sequence[str], offsets: Sequence[int], sizes: Sequence[int], first_row: int = 0) -> pa.RecordBatch:
    """The index of inputs that lie in the stored input as they are; one of no bytes is a rejected row."""
    entries = np.zeros(len(names), PLACES)
    entries["offset"] = offsets
    entries["span"] = entries["size"] = entries["compressed_size"] = sizes
    entries["method"] = RAW
    rejections = [None if size else Rejection.of(Reason.EMPTY_FILE) for size in sizes]
    return index_batch(first_row, pa.array(names, pa.string()), entries, rejections)


def index_batch(
    first_row: int, names: pa.StringArray, entries: NDArray[np.void], rejections: Sequence[Rejection | None]
) -> pa.RecordBatch:
    """Rows in turn, from `first_row`; `entries` has at least the columns of PLACES."""
    columns: list[pa.Array] = [pa.array(np.arange(first_row, first_row + len(entries), dtype=np.uint32)), names]
    columns += [pa.array(np.ascontiguousarray(entries[column])) for column in PLACES.names or ()]
    columns += [
        pa.array([rejection and rejection.reason for rejection in rejections], pa.string()),
        pa.array([rejection and rejection.detail for rejection in rejections], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=INDEX_SCHEMA)


class Sink(Protocol):
    """What takes bytes: a BlobWriter or a buffer in memory."""

    def write(self, data: bytes | memoryview, /) -> object: ...


def write_index(sink: Sink, batches: Iterable[pa.RecordBatch]) -> tuple[Chunk, ...]:
    """Write the index as an Arrow stream, a record batch a chunk, and answer where each lies."""
    chunks = []
    position = 0
    header = INDEX_SCHEMA.serialize()
    sink.write(memoryview(header))
    position += header.size
    for batch in batches:
        message = batch.serialize().to_pybytes()
        sink.write(message)
        chunks.append(Chunk(position, len(message), batch.num_rows, chunk_digest(message)))
        position += len(message)
    return tuple(chunks)


def chunk_digest(message: bytes) -> str:
    """What `Chunk.digest` holds of the index's record batch for that chunk."""
    return hashlib.sha256(message).hexdigest()[:16]
