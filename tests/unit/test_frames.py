import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from glyphq.vision.frames import has_more_frames

FORMS = ["PNG", "WEBP", "TIFF"]
HEADS = [b"", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8X", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]


def image(form: str, frames: int, **options: object) -> bytes:
    """Frames of different grays."""
    first, *others = (Image.new("L", (20, 20), 10 * number) for number in range(frames))
    file = io.BytesIO()
    first.save(file, form, save_all=True, append_images=others, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_it_is_told_from_the_headers(form: str, frames: int) -> None:
    assert has_more_frames(image(form, frames)) == (frames > 1)


def test_of_a_big_tiff_too() -> None:
    assert has_more_frames(image("TIFF", 2, big_tiff=True))
    assert not has_more_frames(image("TIFF", 1, big_tiff=True))


@pytest.mark.parametrize("form", ["JPEG", "BMP"])
def test_other_formats_have_one(form: str) -> None:
    file = io.BytesIO()
    Image.new("L", (20, 20)).save(file, form)
    assert not has_more_frames(file.getvalue())


@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=60))
def test_no_bytes_whatever_make_it_raise(head: bytes, rest: bytes) -> None:
    assert has_more_frames(head + rest) in (True, False)
