"""What a file is, from its first bytes."""

from typing import Literal

Sniffed = Literal["zip", "png", "jpeg", "webp", "tiff", "bmp", "archive"]

HEAD_BYTES = 262
"""That `sniff` looks at."""
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # lengths of the header that follows the 14 bytes of every BMP
_MAGIC: tuple[tuple[bytes, Sniffed], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # an empty one
    (b"PK\x07\x08", "zip"),  # a split one, back in one piece
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),  # BigTIFF
    (b"MM\x00+", "tiff"),
    (b"\x1f\x8b\x08", "archive"),  # gzip
    (b"7z\xbc\xaf\x27\x1c", "archive"),
    (b"Rar!\x1a\x07", "archive"),
    (b"\xfd7zXZ\x00", "archive"),
    (b"BZh", "archive"),
    (b"\x28\xb5\x2f\xfd", "archive"),  # zstandard
)


def sniff(head: bytes) -> Sniffed | None:
    """What a file is by its first HEAD_BYTES, or by all of it; None for neither archive nor image."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    if head[257:262] == b"ustar":
        return "archive"
    return None
