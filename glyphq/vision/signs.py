"""What is off with a picture, told from its 28x28 pixels. Knows numpy; nothing of scans or networks.

Cheap, and wrong now and then: a sign says something of a batch in which most pictures have it.
"""

import numpy as np
from numpy.typing import NDArray

from glyphq.jobs import Sign
from glyphq.vision.picture import PICTURE_SIZE

_INK = 100  # of 255


def signs_of(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8[N, 28, 28], as the network is given them -> uint8[N] of `Sign`."""
    frame = np.concatenate((pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]), axis=1)
    inverted = frame.mean(axis=1) > _INK
    columns = np.pad((pictures > _INK).any(axis=1), ((0, 0), (1, 2)))
    left, first, second, third = (columns[:, by : by + PICTURE_SIZE] for by in range(4))
    several = (~left & first & second & third).sum(axis=1) > 1  # narrower ones are dots, or strokes that came off
    found: NDArray[np.uint8] = np.where(inverted, Sign.INVERTED, several * Sign.SEVERAL).astype(np.uint8)
    return found
