import numpy as np
import pytest
from numpy.typing import NDArray

from glyphq.jobs import Sign
from glyphq.vision.signs import signs_of


def picture(*bars: tuple[int, int]) -> NDArray[np.uint8]:
    """Light bars on a dark ground, each from a column up to another."""
    pixels = np.zeros((28, 28), np.uint8)
    for left, right in bars:
        pixels[4:24, left:right] = 255
    return pixels


@pytest.mark.parametrize(
    ("pixels", "sign"),
    [
        (picture((10, 14)), Sign.NONE),
        (picture((4, 9), (15, 20)), Sign.SEVERAL),
        (picture((0, 5), (8, 12), (23, 28)), Sign.SEVERAL),
        (picture((4, 20), (22, 24)), Sign.NONE),  # a dot
        (picture(), Sign.NONE),
        (255 - picture((10, 14)), Sign.INVERTED),
        (255 - picture((4, 9), (15, 20)), Sign.INVERTED),
    ],
)
def test_a_sign_is_told_from_the_pixels(pixels: NDArray[np.uint8], sign: Sign) -> None:
    assert signs_of(np.stack([pixels, picture((2, 6))])).tolist() == [sign, Sign.NONE]


def test_no_pictures_have_no_signs() -> None:
    assert signs_of(np.empty((0, 28, 28), np.uint8)).shape == (0,)
