import io

import numpy as np
import pytest
from PIL import Image

from glyphq.vision.picture import from_pixels, to_png


@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (3, 200)])
def test_a_png_holds_the_picture_as_it_is(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    image = Image.open(io.BytesIO(to_png(picture)))
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), picture)


def test_a_pixel_row_goes_down_the_columns() -> None:
    picture = from_pixels(bytes(range(28)) + bytes(756))
    assert picture[:, 0].tolist() == list(range(28))
    assert not picture[:, 1:].any()
