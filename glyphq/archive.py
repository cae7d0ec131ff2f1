"""A hostile zip -> a bounded, streamed index of its entries. Pure: knows bytes and limits; nothing of storage, of
queues or of how images are decoded.

The format is PKWARE's APPNOTE.TXT 6.3.10 (section numbers below). Programs that read one archive differently are an
open door, so this one accepts a single reading: one end record that ends the file, right after the one directory that
it describes, of entries that do not overlap. What is wrong with the archive raises; what is wrong with an entry is its
row.
"""

import re
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from glyphq.contents import ENCRYPTED, LOCAL
from glyphq.errors import EmptyInput, InvalidArchive, LimitExceeded
from glyphq.index import DEFLATE, PLACES, STORED, index_batch
from glyphq.jobs import Reason, Rejection

MAX_DIRECTORY_BYTES = 1 << 29
"""The directory is read whole. Two million entries with names of 200 bytes fit; names made to fill memory do not."""

_END = struct.Struct("<4s4H2IH")  # 4.3.16
_ZIP64_LOCATOR = struct.Struct("<4sIQI")  # 4.3.15
_ZIP64_END = struct.Struct("<4sQ2H2I4Q")  # 4.3.14
_LENGTHS = struct.Struct("<4s24x3H")  # 4.3.12: signature, lengths of name, extra field and comment
_CENTRAL = np.dtype(
    [  # 4.3.12
        ("signature", "V4"),
        ("made_by", "<u2"),
        ("needed", "<u2"),
        ("flags", "<u2"),
        ("method", "<u2"),
        ("modified", "<u4"),
        ("crc", "<u4"),
        ("compressed_size", "<u4"),
        ("size", "<u4"),
        ("name_length", "<u2"),
        ("extra_length", "<u2"),
        ("comment_length", "<u2"),
        ("disk", "<u2"),
        ("internal", "<u2"),
        ("external", "<u4"),
        ("offset", "<u4"),
    ]
)
_ENTRY = np.dtype(
    [
        *PLACES.descr,
        ("name_length", "u2"),
        ("fault", "u1"),  # 1 + index into _FAULTS, or 0
    ]
)

_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_UTF8 = 1 << 11  # 4.4.4
_UNIX_HOSTS = (3, 19)  # 4.4.2: UNIX and OS X keep the file's mode in the upper half of the external attributes
_UNIX_TYPE, _UNIX_FOLDER, _UNIX_FILE = 0o170000, 0o040000, 0o100000
_DOS_FOLDER = 0x10
_ZIP64_FIELD, _UNICODE_PATH_FIELD = 0x0001, 0x7075  # 4.5.3, 4.6.9
_BLOCK, _BLOCK_BYTES = 65_536, 1 << 23  # entries, and bytes of the directory, whose names are Python strings at once
_LITTER = r"(^|/)(__MACOSX/|\._[^/]*$|\.DS_Store$|(?i:thumbs\.db|desktop\.ini)$)"
_FAULTS = (
    Reason.NOT_A_FILE,
    Reason.ENCRYPTED,
    Reason.UNSUPPORTED_COMPRESSION,
    Reason.EMPTY_FILE,
    Reason.TOO_MANY_BYTES,
    Reason.DAMAGED_ENTRY,
)
_METHOD_NAMES = {1: "shrink", 6: "implode", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstandard", 95: "xz"}


@dataclass(frozen=True)
class ArchiveLimits:
    """What is accepted, and how the index is cut into chunks; the settings of the same names."""

    max_entries: int
    max_entry_bytes: int
    max_unpacked_bytes: int
    chunk_images: int
    chunk_bytes: int


@dataclass(frozen=True, eq=False)
class ZipIndex:
    """The rows of an archive in the order of its directory; folders and the litter of desktops are only counted."""

    names: pa.ChunkedArray  # of large_string
    entries: NDArray[np.void]  # of _ENTRY
    ignored: int
    limits: ArchiveLimits

    @property
    def total(self) -> int:
        return len(self.entries)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """One batch of INDEX_SCHEMA a chunk: at most `chunk_images` rows, cut earlier where the next row would take the
        bytes to read, and the names, past `chunk_bytes`; at least one row."""
        readable = self.entries["fault"] == 0
        ends = np.cumsum(np.where(readable, self.entries["span"], 0) + self.entries["name_length"])
        first = 0
        while first < self.total:
            before = int(ends[first - 1]) if first else 0
            within = int(np.searchsorted(ends, before + self.limits.chunk_bytes, side="right"))
            last = max(first + 1, min(within, first + self.limits.chunk_images, self.total))
            yield self._batch(first, last)
            first = last

    def _batch(self, first: int, last: int) -> pa.RecordBatch:
        entries = self.entries[first:last]
        rejections: list[Rejection | None] = [None] * len(entries)
        for position in np.flatnonzero(entries["fault"]):
            rejections[position] = _rejection(entries[position], self.limits)
        names = self.names.slice(first, last - first).combine_chunks().cast(pa.string())
        return index_batch(first, names, entries, rejections)


def index_zip(file: BinaryIO, limits: ArchiveLimits, filename_encoding: str) -> ZipIndex:
    """The index of a whole, seekable zip; `filename_encoding` reads names that do not say what they are.

    Takes about 1 us an entry. Raises InvalidArchive, LimitExceeded ("max_entries", "max_unpacked_bytes"), or EmptyInput
    where there is no file in it.
    """
    end = _read_end(file)
    if end.entries > limits.max_entries:
        raise _too_many_entries(end.entries, limits)
    if end.directory_size > MAX_DIRECTORY_BYTES:
        raise InvalidArchive(
            f"The zip's directory alone has {end.directory_size:,} bytes; up to {MAX_DIRECTORY_BYTES:,} are read. "
            "Submit it in several parts."
        )
    directory = _read(file, end.directory_offset, end.directory_size)
    starts = _walk(directory, limits)
    if len(starts) != end.entries and (end.zip64 or len(starts) & _MAX16 != end.entries):
        # Without zip64 the count has 16 bits, and the macOS archiver lets it wrap around.
        raise InvalidArchive(
            f"The zip's end record counts {end.entries:,} entries, its directory lists {len(starts):,}. Zip it again."
        )
    if not len(starts):
        raise EmptyInput("The zip has no entries. Put the images into it and submit it again.")
    headers: NDArray[np.void] = np.ndarray((len(directory) - 45,), _CENTRAL, directory, strides=(1,))[starts]
    entries = _entries(headers, directory, starts, end.directory_offset)
    unix_type = np.where(np.isin(headers["made_by"] >> 8, _UNIX_HOSTS), headers["external"] >> 16, 0) & _UNIX_TYPE
    kept, kept_names = np.empty(len(starts), np.bool_), []
    for block in _blocks(starts):  # for names of 64 KB may fill the directory
        names = _names(directory, starts[block], headers[block], filename_encoding)
        folders = _is_folder(names, headers[block], entries[block], unix_type[block])
        kept[block] = ~(folders | _mask(pc.match_substring_regex(names, _LITTER)))
        kept_names.append(names.filter(pa.array(kept[block])))
    if not kept.any():
        raise EmptyInput(
            f"The zip has only folders and files that desktops leave behind ({len(kept):,} entries), no image. "
            "Put the images into it and submit it again."
        )
    entries["fault"] = _faults(headers, entries, unix_type, limits)
    entries = entries[kept]
    _check_unpacked(entries, limits)
    return ZipIndex(pa.chunked_array(kept_names), entries, len(kept) - len(entries), limits)


def is_litter(name: str) -> bool:
    """Whether a path ends in what desktops leave in folders and archives."""
    return re.search(_LITTER, name) is not None


class _End(NamedTuple):
    """What the end record says of the directory."""

    entries: int
    directory_size: int
    directory_offset: int
    zip64: bool


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    content = file.read(length)
    if len(content) != length:
        raise InvalidArchive("The zip ends before its directory does. Zip it again and submit it whole.")
    return content


def _read_end(file: BinaryIO) -> _End:
    """The one end record, checked against the place where it stands and against its zip64 twin."""
    length = file.seek(0, 2)
    tail = _read(file, max(0, length - _END.size - _MAX16), min(length, _END.size + _MAX16))
    signatures = [match.start() for match in re.finditer(rb"PK\x05\x06(?=.{18})", tail, re.DOTALL)]
    if not signatures:
        raise InvalidArchive("The zip has no end record: it was cut short, or is none. Submit the whole file.")
    closes = {at: at + _END.size + int.from_bytes(tail[at + 20 : at + 22], "little") for at in signatures}
    closing = [at for at in signatures if closes[at] == len(tail)]
    if not closing:
        short = closes[signatures[-1]] > len(tail)
        what = "is cut short within its comment" if short else "has data after its end"
        raise InvalidArchive(f"The zip {what}. Zip it again and submit it whole.")
    if len(closing) > 1 or closing[0] != signatures[-1]:
        raise InvalidArchive("The zip has two end records, so that programs read it differently. Zip it again.")
    at = length - len(tail) + closing[0]
    _, disk, first_disk, entries_here, entries, size, offset, _ = _END.unpack_from(tail, closing[0])
    told: tuple[int, ...] = (disk, first_disk, entries_here, entries, size, offset)
    locator_at = at - _ZIP64_LOCATOR.size
    locator = _read(file, locator_at, _ZIP64_LOCATOR.size) if locator_at >= 0 else b""
    zip64 = locator.startswith(b"PK\x06\x07")
    if zip64:
        told = _read_zip64_end(file, locator, locator_at, told)
        at = locator_at - _ZIP64_END.size
    disk, first_disk, entries_here, entries, size, offset = told
    if disk or first_disk or entries_here != entries:
        raise InvalidArchive("The zip is one part of a split archive. Join the parts and submit them as one file.")
    if offset + size != at:
        raise InvalidArchive(
            f"The zip's end record puts its directory at byte {offset:,} with {size:,} bytes, but it would have to end "
            f"at byte {at:,}: the file is cut, damaged, or has foreign data before it. Zip it again."
        )
    return _End(entries, size, offset, zip64)


def _read_zip64_end(file: BinaryIO, locator: bytes, locator_at: int, told: tuple[int, ...]) -> tuple[int, ...]:
    """The same six fields from the zip64 end record, which must stand right before its locator and agree."""
    _, disk, offset, disks = _ZIP64_LOCATOR.unpack(locator)
    if disk or disks > 1:
        raise InvalidArchive("The zip is one part of a split archive. Join the parts and submit them as one file.")
    if offset + _ZIP64_END.size != locator_at:
        raise InvalidArchive("The zip's zip64 end record is not where it should be. Zip it again.")
    signature, remaining, _, _, *fields = _ZIP64_END.unpack(_read(file, offset, _ZIP64_END.size))
    if signature != b"PK\x06\x06" or remaining != _ZIP64_END.size - 12:
        raise InvalidArchive("The zip's zip64 end record is damaged. Zip it again.")
    most = (_MAX16, _MAX16, _MAX16, _MAX16, _MAX32, _MAX32)
    if any(short not in (large, limit) for short, large, limit in zip(told, fields, most, strict=True)):
        raise InvalidArchive("The zip's two end records (plain and zip64) disagree. Zip it again.")
    return tuple(fields)


def _too_many_entries(entries: int, limits: ArchiveLimits) -> LimitExceeded:
    return LimitExceeded(
        "max_entries",
        entries,
        f"The zip has {entries:,} entries or more; up to {limits.max_entries:,} are accepted. "
        "Submit it in several parts.",
    )


def _walk(directory: bytes, limits: ArchiveLimits) -> NDArray[np.int64]:
    """Where each header of the directory starts. A plain loop takes 0.2 us an entry; the rest is done by column."""
    starts = array("q")
    unpack, append = _LENGTHS.unpack_from, starts.append
    at, last = 0, len(directory) - _CENTRAL.itemsize
    for _ in range(limits.max_entries + 1):
        if at > last:
            break
        signature, name_length, extra_length, comment_length = unpack(directory, at)
        if signature != b"PK\x01\x02":
            break
        append(at)
        at += 46 + name_length + extra_length + comment_length
    if len(starts) > limits.max_entries:
        raise _too_many_entries(len(starts), limits)
    if at != len(directory):
        raise InvalidArchive(f"The zip's directory is damaged after {len(starts):,} entries. Zip it again.")
    return np.array(starts, np.int64)


def _blocks(starts: NDArray[np.int64]) -> Iterator[slice]:
    """The entries in turn, as many at once as may have their names decoded; at least one."""
    first = 0
    while first < len(starts):
        within = int(np.searchsorted(starts, starts[first] + _BLOCK_BYTES))
        last = max(first + 1, min(within, first + _BLOCK))
        yield slice(first, last)
        first = last


def _entries(
    headers: NDArray[np.void], directory: bytes, starts: NDArray[np.int64], directory_offset: int
) -> NDArray[np.void]:
    """Sizes and places, with zip64 fields read, after checking that no two entries share a byte."""
    entries = np.zeros(len(headers), _ENTRY)
    for column in ("offset", "size", "compressed_size", "method", "crc", "name_length"):
        entries[column] = headers[column]
    disks = headers["disk"].astype(np.uint32)
    large = (headers["size"] == _MAX32) | (headers["compressed_size"] == _MAX32) | (headers["offset"] == _MAX32)
    for position in np.flatnonzero(large | (disks == _MAX16)):
        begin = int(starts[position]) + _CENTRAL.itemsize + int(headers["name_length"][position])
        field = _extra_field(directory[begin : begin + int(headers["extra_length"][position])], _ZIP64_FIELD) or b""
        at = 0
        for column in ("size", "compressed_size", "offset"):
            if headers[column][position] == _MAX32:
                entries[column][position] = _unsigned(field, at, 8)
                at += 8
        if disks[position] == _MAX16:
            disks[position] = _unsigned(field, at, 4)
    if disks.any():
        raise InvalidArchive("The zip is one part of a split archive. Join the parts and submit them as one file.")
    if max(int(entries["offset"].max()), int(entries["compressed_size"].max())) > directory_offset:
        raise InvalidArchive("The zip's directory points beyond the entries. Zip it again.")
    order = np.argsort(entries["offset"], kind="stable")
    begins = entries["offset"][order]
    rooms = np.append(begins[1:], np.uint64(directory_offset)) - begins
    compressed_sizes = entries["compressed_size"][order]
    if (rooms < compressed_sizes + LOCAL.size).any():
        raise InvalidArchive("Entries of the zip overlap, as they do in a zip bomb. Zip it again.")
    entries["span"][order] = np.minimum(rooms, compressed_sizes + (LOCAL.size + 2 * _MAX16))
    return entries


def _unsigned(field: bytes, at: int, length: int) -> int:
    if len(field) < at + length:
        raise InvalidArchive("An entry of the zip lacks the zip64 field that its directory promises. Zip it again.")
    return int.from_bytes(field[at : at + length], "little")


def _extra_field(extra: bytes, wanted: int) -> bytes | None:
    """The first extra field of that id (4.5.1); what follows a malformed field is not looked at."""
    at = 0
    while at + 4 <= len(extra):
        identity, length = struct.unpack_from("<HH", extra, at)
        if at + 4 + length > len(extra):
            return None
        if identity == wanted:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return None


def _names(
    directory: bytes, starts: NDArray[np.int64], headers: NDArray[np.void], filename_encoding: str
) -> pa.LargeStringArray:
    """Names as text. Most are ASCII and stay in columns; only the others are decoded one by one."""
    begins = starts + _CENTRAL.itemsize
    extra_begins = begins + headers["name_length"]
    raw = _slices(directory, begins, extra_begins)
    extras = _slices(directory, extra_begins, extra_begins + headers["extra_length"])
    text = raw.view(pa.large_string())
    is_utf8 = (headers["flags"] & _UTF8) != 0
    has_path = _mask(pc.match_substring(extras, _UNICODE_PATH_FIELD.to_bytes(2, "little"))) & ~is_utf8
    special = ~_mask(pc.string_is_ascii(text)) | has_path
    if not special.any():
        return text
    chosen = pa.array(special)
    decoded = [
        _decode(name, extra, "utf-8" if utf8 else filename_encoding, utf8)
        for name, extra, utf8 in zip(
            raw.filter(chosen).to_pylist(), extras.filter(chosen).to_pylist(), is_utf8[special], strict=True
        )
    ]
    return pc.replace_with_mask(text, chosen, pa.array(decoded, pa.large_string()))


def _slices(buffer: bytes, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> pa.LargeBinaryArray:
    """The pieces of `buffer` as one column: of an array whose elements are piece and gap in turn, every other one."""
    bounds = np.column_stack([begins, ends]).astype(np.int64).ravel()
    count = len(bounds) - 1
    pieces = pa.Array.from_buffers(pa.large_binary(), count, [None, pa.py_buffer(bounds), pa.py_buffer(buffer)])
    return pieces.take(pa.array(np.arange(0, count, 2)))


def _decode(name: bytes, extra: bytes, encoding: str, utf8: bool) -> str:
    """One name; the Unicode Path field (4.6.9) counts where it was made for this very name."""
    field = None if utf8 else _extra_field(extra, _UNICODE_PATH_FIELD)
    if field is not None and field[:5] == b"\x01" + zlib.crc32(name).to_bytes(4, "little"):
        return field[5:].decode("utf-8", "replace")
    return name.decode(encoding, "replace")


def _mask(array: pa.BooleanArray) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = array.to_numpy(zero_copy_only=False)
    return mask


def _is_folder(
    names: pa.LargeStringArray, headers: NDArray[np.void], entries: NDArray[np.void], unix_type: NDArray[Any]
) -> NDArray[np.bool_]:
    """Folders have a name that ends in a separator, or an attribute that says so, and no content."""
    named = _mask(pc.or_(pc.ends_with(names, "/"), pc.ends_with(names, "\\")))
    marked = (headers["external"] & _DOS_FOLDER != 0) | (unix_type == _UNIX_FOLDER)
    folders: NDArray[np.bool_] = (named | marked) & (entries["size"] == 0)
    return folders


def _faults(
    headers: NDArray[np.void], entries: NDArray[np.void], unix_type: NDArray[Any], limits: ArchiveLimits
) -> NDArray[np.int64]:
    """For each entry the number, counted from 1, of the first of _FAULTS that applies; 0 for none."""
    size, compressed_size, method = entries["size"], entries["compressed_size"], entries["method"]
    return np.select(
        [
            (unix_type != 0) & (unix_type != _UNIX_FILE),
            headers["flags"] & ENCRYPTED != 0,
            (method != STORED) & (method != DEFLATE),
            size == 0,
            np.maximum(size, compressed_size) > limits.max_entry_bytes,
            (method == STORED) & (size != compressed_size),
        ],
        range(1, len(_FAULTS) + 1),
        0,
    )


def _check_unpacked(entries: NDArray[np.void], limits: ArchiveLimits) -> None:
    size = entries["size"]
    unpacked = (int((size >> 32).sum()) << 32) + int((size & _MAX32).sum())  # in halves: 64-bit sums would wrap around
    if unpacked > limits.max_unpacked_bytes:
        raise LimitExceeded(
            "max_unpacked_bytes",
            unpacked,
            f"The zip would unpack to {unpacked:,} bytes; up to {limits.max_unpacked_bytes:,} are accepted. "
            "Submit it in several parts.",
        )


def _rejection(entry: np.void, limits: ArchiveLimits) -> Rejection:
    reason = _FAULTS[entry["fault"] - 1]
    if reason is Reason.UNSUPPORTED_COMPRESSION:
        method = int(entry["method"])
        named = f"{method} ({_METHOD_NAMES[method]})" if method in _METHOD_NAMES else str(method)
        return Rejection(reason, f"The entry's compression is method {named}; stored (0) and deflate (8) are read.")
    if reason is Reason.TOO_MANY_BYTES:
        largest = max(int(entry["size"]), int(entry["compressed_size"]))
        return Rejection(reason, f"The file has {largest:,} bytes; up to {limits.max_entry_bytes:,} are read.")
    if reason is Reason.DAMAGED_ENTRY:
        return Rejection(reason, "The entry is stored uncompressed, yet its two sizes differ.")
    return Rejection.of(reason)
