"""The 28x28 picture that the network is given: from a pixel row, and as PNG. Knows numpy and zlib, no cv2 or Pillow."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]

_SIDE = 28


def from_pixels(content: bytes | memoryview) -> Gray:
    """784 bytes in EMNIST's column-major order -> uint8[28, 28], upright."""
    return np.ascontiguousarray(np.frombuffer(content, np.uint8).reshape(_SIDE, _SIDE).T)


def to_png(picture: Gray) -> bytes:
    """uint8[H, W] -> a PNG of 8-bit gray (ISO/IEC 15948), its rows unfiltered."""
    height, width = picture.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = np.insert(picture, 0, 0, axis=1)  # before each row the number of its filter
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
