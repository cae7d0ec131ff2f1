"""The content of indexed rows, from as few ranges of the stored input as their gaps allow, unpacked within bounds.

The format is PKWARE's APPNOTE.TXT 6.3.10 (section numbers below). What an entry does not keep of what the directory
promised is its row's rejection.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pyarrow as pa

from glyphq.index import DEFLATE, RAW
from glyphq.jobs import Reason, Rejection

ENCRYPTED = 1 << 0
"""The flag of zip (4.4.4)."""

LOCAL = struct.Struct("<4s2xHH16xHH")
"""A local header (4.3.7): signature, flags, method, lengths of name and extra field."""

_GAP_BYTES = 64 * 1024  # two entries closer than this are read in one go


def contents(index: pa.RecordBatch, read: Callable[[int, int], bytes]) -> Iterator[bytes | memoryview | Rejection]:
    """The content of each row of `index`, a batch of INDEX_SCHEMA, in order, read in as few ranges as the gaps allow.

    `read(start, length)` answers that range of the input, or less of it where the input has been cut.
    """
    columns = (index.column(name).to_pylist() for name in _Entry._fields)
    entries = [_Entry(*fields) for fields in zip(*columns, strict=True)]
    block, block_start = memoryview(b""), 0
    for position, entry in enumerate(entries):
        if entry.reason is not None:
            yield Rejection(Reason(entry.reason), entry.detail or "")
            continue
        start, end = entry.offset, entry.offset + entry.span
        if not block_start <= start <= end <= block_start + len(block):
            for following in entries[position + 1 :]:
                if following.reason is None and end <= following.offset <= end + _GAP_BYTES:
                    end = following.offset + following.span
            block, block_start = memoryview(read(start, end - start)), start
        span = block[start - block_start : start - block_start + entry.span]
        if len(span) < entry.span:
            yield Rejection.of(Reason.STORED_INPUT_DAMAGED)
        else:
            yield extract(
                span,
                size=entry.size,
                compressed_size=entry.compressed_size,
                method=entry.method,
                crc=entry.crc,
            )


def extract(
    span: bytes | memoryview, *, size: int, compressed_size: int, method: int, crc: int
) -> bytes | memoryview | Rejection:
    """The content of one row, given its `span` bytes of the input; a view into `span` where nothing was compressed.

    Never unpacks more than `size` bytes and one. What the directory promised and the entry does not keep is a
    Rejection(DAMAGED_ENTRY).
    """
    if method == RAW:
        return span
    packed = _packed_data(memoryview(span), compressed_size, method)
    if isinstance(packed, Rejection):
        return packed
    content = _inflate(packed, size) if method == DEFLATE else packed
    if isinstance(content, Rejection):
        return content
    if len(content) != size:
        more_or_less = "more" if len(content) > size else "less"
        return _damaged(f"The entry unpacks to {more_or_less} than the {size:,} bytes its directory says.")
    if zlib.crc32(content) != crc:
        return _damaged("The entry's checksum (CRC-32) does not match its data.")
    return content


class _Entry(NamedTuple):
    """What of a row of the index is needed to read it."""

    offset: int
    span: int
    size: int
    compressed_size: int
    method: int
    crc: int
    reason: str | None
    detail: str | None


def _packed_data(span: memoryview, compressed_size: int, method: int) -> memoryview | Rejection:
    """The data behind the local header, which must be there and tell the same as the directory."""
    if len(span) < LOCAL.size:
        return _damaged("The archive ends within the entry's header.")
    signature, flags, local_method, name_length, extra_length = LOCAL.unpack_from(span)
    if signature != b"PK\x03\x04":
        return _damaged("There is no entry where the archive's directory says it is.")
    if local_method != method or flags & ENCRYPTED:
        return _damaged("The entry's own header and the archive's directory disagree about how it is packed.")
    begin = LOCAL.size + name_length + extra_length
    if begin + compressed_size > len(span):
        return _damaged("The entry's data would run into the next entry.")
    return span[begin : begin + compressed_size]


def _inflate(packed: memoryview, size: int) -> bytes | Rejection:
    """Up to `size` bytes, and one more where there are more."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(packed, size + 1)
    except zlib.error as error:
        return _damaged(f"The entry's data cannot be unpacked ({error}).")
    if len(content) <= size and not inflater.eof:
        return _damaged("The entry's data is cut short.")
    return content


def _damaged(detail: str) -> Rejection:
    return Rejection(Reason.DAMAGED_ENTRY, detail)
