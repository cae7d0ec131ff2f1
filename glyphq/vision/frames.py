"""Whether an image file has more than the first frame or page, the only one that is read. Knows file formats alone.

Told from a few bytes of the headers, where the formats say so: APNG's chunk acTL, WebP's animation flag, TIFF's link
from the first directory to a second. Nothing is raised whatever the bytes.
"""

import struct

FIRST_ONLY = "The file has several frames or pages; the first was read."

_ANIMATION = b"\x00\x00\x00\x08acTL"  # the chunk's length and name; it comes before the pixels
_WEBP_ANIMATED = 0x02
_TIFF = {b"II*\x00": "<", b"MM\x00*": ">"}
_BIG_TIFF = {b"II+\x00": "<", b"MM\x00+": ">"}


def has_more_frames(data: bytes) -> bool:
    """Of a whole file."""
    if data.startswith(b"\x89PNG"):
        return data.find(_ANIMATION, 0, max(0, data.find(b"IDAT"))) > 0
    if data[8:16] == b"WEBPVP8X":
        return bool(data[20:21] and data[20] & _WEBP_ANIMATED)
    try:
        if order := _TIFF.get(data[:4]):
            return _has_second_directory(data, order, start="I", at=4, count="H", entry=12)
        if order := _BIG_TIFF.get(data[:4]):
            return _has_second_directory(data, order, start="Q", at=8, count="Q", entry=20)
    except (struct.error, OverflowError):  # an offset beyond the file
        return False
    return False


def _has_second_directory(data: bytes, order: str, *, start: str, at: int, count: str, entry: int) -> bool:
    """Offsets are of type `start`, the first `at` so many bytes; `count` entries of `entry` bytes precede the next."""
    (first,) = struct.unpack_from(order + start, data, at)
    (entries,) = struct.unpack_from(order + count, data, first)
    (second,) = struct.unpack_from(order + start, data, first + struct.calcsize(order + count) + entries * entry)
    return bool(second)
