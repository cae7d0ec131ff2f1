"""A picture in gray as PNG (ISO/IEC 15948), by zlib alone."""

import struct
import zlib


def gray_png(pixels: bytes, width: int, height: int) -> bytes:
    """`height` rows of `width` bytes, 0 is black -> a PNG of 8-bit gray, its rows unfiltered."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + pixels[start : start + width] for start in range(0, width * height, width))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
