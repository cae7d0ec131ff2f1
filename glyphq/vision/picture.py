"""The 28x28 picture that the network is given: from a pixel row, and as PNG. Knows numpy, no cv2 or Pillow."""

import numpy as np
from numpy.typing import NDArray

from glyphq.png import gray_png

Gray = NDArray[np.uint8]

PICTURE_SIZE = 28


def from_pixels(content: bytes | memoryview) -> Gray:
    """784 bytes in EMNIST's column-major order -> uint8[28, 28], upright."""
    return np.ascontiguousarray(np.frombuffer(content, np.uint8).reshape(PICTURE_SIZE, PICTURE_SIZE).T)


def to_png(picture: Gray) -> bytes:
    """uint8[H, W] -> a PNG of 8-bit gray."""
    height, width = picture.shape
    return gray_png(picture.tobytes(), width, height)
