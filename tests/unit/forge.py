"""Zips as a forger writes them, and honest ones."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from glyphq.index import DEFLATE, STORED

UTF8_FLAG, ENCRYPTED_FLAG, DESCRIPTOR_FLAG = 0x800, 0x1, 0x8


@dataclass(frozen=True)
class Entry:
    """One entry as a forger writes it: whatever is None is told honestly."""

    name: bytes = b"a.png"
    content: bytes = b"picture"
    method: int = STORED
    flags: int = 0
    made_by: int = 20
    external: int = 0
    extra: bytes = b""
    local_extra: bytes = b""
    local_method: int | None = None
    local_flags: int | None = None
    size: int | None = None
    compressed_size: int | None = None
    crc: int | None = None
    disk: int = 0
    offset: int | None = None
    gap: bytes = b""  # between its data and what follows


def forge(
    *entries: Entry,
    prefix: bytes = b"",
    comment: bytes = b"",
    before_end: Callable[[int, int, int], bytes] = lambda *_: b"",
    **end: int,
) -> bytes:
    """A zip of `entries`; `end` overrides fields of its end record, `before_end` (count, size, offset) precedes it."""
    body, directory = bytearray(prefix), bytearray()
    for entry in entries:
        offset = len(body) if entry.offset is None else entry.offset
        deflated = entry.method == DEFLATE
        data = zlib.compress(entry.content, wbits=-15) if deflated else entry.content
        crc = zlib.crc32(entry.content) if entry.crc is None else entry.crc
        size = len(entry.content) if entry.size is None else entry.size
        packed = len(data) if entry.compressed_size is None else entry.compressed_size
        local_flags = entry.flags if entry.local_flags is None else entry.local_flags
        local_method = entry.method if entry.local_method is None else entry.local_method
        zeroed = local_flags & DESCRIPTOR_FLAG
        sizes = (0, 0, 0) if zeroed else (crc, packed, size)
        body += struct.pack("<4s5H3I", b"PK\3\4", 20, local_flags, local_method, 0, 0, *sizes)
        body += struct.pack("<2H", len(entry.name), len(entry.local_extra))
        body += entry.name + entry.local_extra + data + entry.gap
        directory += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", entry.made_by, 20, entry.flags, entry.method, 0, 0, crc, packed, size,
            len(entry.name), len(entry.extra), 0, entry.disk, 0, entry.external, offset,
        )  # fmt: skip
        directory += entry.name + entry.extra
    told = {"disk": 0, "first_disk": 0, "here": len(entries), "total": len(entries)}
    told |= {"size": len(directory), "offset": len(body), "comment": len(comment)} | end
    middle = before_end(len(entries), len(directory), len(body))
    return bytes(body + directory) + middle + struct.pack("<4s4H2IH", b"PK\5\6", *told.values()) + comment


def zip64_end(at: int, told: tuple[int, int, int], record_size: int = 44, disks: int = 1) -> bytes:
    """A zip64 end record that tells count, size and offset of the directory, and a locator that says it is at `at`."""
    count, size, offset = told
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", record_size, 45, 45, 0, 0, count, count, size, offset)
    return record + struct.pack("<4sIQI", b"PK\6\7", 0, at, disks)


def honest_zip64_end(count: int, size: int, offset: int) -> bytes:
    return zip64_end(offset + size, (count, size, offset))


def zip_of(files: Sequence[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()
