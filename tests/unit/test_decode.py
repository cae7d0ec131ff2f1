import io
import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from glyphq.jobs import Reason, Rejection
from glyphq.vision.decode import decode, prepare_process

MAX_PIXELS = 100_000
RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
COLOURS = np.stack([RAMP, RAMP[:, ::-1], 255 - RAMP // 2], axis=2)
LUMA = np.asarray(Image.fromarray(COLOURS).convert("L"))
MIRRORED = 2  # Exif orientations
UPSIDE_DOWN = 3
LYING = 6


@pytest.fixture(scope="module", autouse=True)
def _prepared() -> None:
    prepare_process()


def encoded(picture: NDArray[np.generic] | Image.Image, form: str, **options: object) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def pixels(data: bytes) -> NDArray[np.int64]:
    decoded = decode(data, MAX_PIXELS)
    assert not isinstance(decoded, Rejection), decoded
    assert decoded.dtype == np.uint8
    return decoded.astype(np.int64)


def reason(data: bytes, max_pixels: int = MAX_PIXELS) -> Reason:
    decoded = decode(data, max_pixels)
    assert isinstance(decoded, Rejection)
    assert decoded.detail
    return decoded.reason


def png(compressed: bytes, width: int = 64, height: int = 48) -> bytes:
    """A gray PNG around any IDAT, every CRC right."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


def with_alpha(alpha: int) -> Image.Image:
    return Image.fromarray(np.dstack([COLOURS, np.full_like(RAMP, alpha)]))


BILEVEL = (RAMP > 128) * np.uint8(255)
WIDE = RAMP.astype(np.uint16) << 8 | 7

FAITHFUL = {
    "gray png": (encoded(RAMP, "PNG"), RAMP),
    "rgb png": (encoded(COLOURS, "PNG"), LUMA),
    "1-bit png": (encoded(Image.fromarray(RAMP > 128), "PNG"), BILEVEL),
    "16-bit png": (encoded(WIDE, "PNG"), RAMP),
    "gray and alpha png": (encoded(Image.fromarray(RAMP).convert("LA"), "PNG"), RAMP),
    "opaque rgba png": (encoded(with_alpha(255), "PNG"), LUMA),
    "palette png": (encoded(Image.fromarray(BILEVEL).convert("P"), "PNG"), BILEVEL),
    "lossless webp": (encoded(COLOURS, "WEBP", lossless=True), LUMA),
    "rgb bmp": (encoded(COLOURS, "BMP"), LUMA),
    "1-bit bmp": (encoded(Image.fromarray(RAMP > 128), "BMP"), BILEVEL),
    "16-bit tiff": (encoded(WIDE, "TIFF"), RAMP),
    "float tiff": (encoded(RAMP.astype(np.float32) / 255, "TIFF"), RAMP),
    "32-bit tiff": (encoded(RAMP.astype(np.int32) * 257, "TIFF"), RAMP),
    "lzw tiff": (encoded(COLOURS, "TIFF", compression="tiff_lzw"), LUMA),
    "fax tiff": (encoded(Image.fromarray(RAMP > 128), "TIFF", compression="group4"), BILEVEL),
    "cmyk tiff": (encoded(Image.fromarray(COLOURS).convert("CMYK"), "TIFF"), LUMA),
    "two-page tiff": (encoded(RAMP, "TIFF", save_all=True, append_images=[Image.fromarray(255 - RAMP)]), RAMP),
    "gray jpeg": (encoded(RAMP, "JPEG", quality=95), RAMP),
    "rgb jpeg": (encoded(COLOURS, "JPEG", quality=95), LUMA),
    "progressive jpeg": (encoded(COLOURS, "JPEG", quality=95, progressive=True), LUMA),
    "cmyk jpeg": (encoded(Image.fromarray(COLOURS).convert("CMYK"), "JPEG", quality=95), LUMA),
}


@pytest.mark.parametrize("name", FAITHFUL)
def test_every_kind_of_image_becomes_the_same_gray_picture(name: str) -> None:
    data, expected = FAITHFUL[name]
    assert np.abs(pixels(data) - expected).max() <= 2


sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
pictures = sizes.flatmap(lambda size: arrays(np.uint8, st.sampled_from([size, (*size, 3)])))


@given(picture=pictures)
def test_cv2_and_pillow_read_the_same_from_any_png(picture: NDArray[np.uint8]) -> None:
    text = PngInfo()
    text.add_itxt("Comment", "it goes to Pillow by this chunk")
    assert np.abs(pixels(encoded(picture, "PNG")) - pixels(encoded(picture, "PNG", pnginfo=text))).max() <= 1


@given(picture=pictures, quality=st.integers(5, 95))
def test_cv2_and_pillow_read_the_same_from_any_jpeg(picture: NDArray[np.uint8], quality: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    by_pillow = pixels(encoded(picture, "JPEG", quality=quality, exif=exif))
    assert np.abs(pixels(encoded(picture, "JPEG", quality=quality)) - by_pillow).max() <= 1


def test_16_bit_tiff_with_white_as_zero_is_turned_over() -> None:
    data = encoded(WIDE, "TIFF")
    black_is_zero, white_is_zero = (struct.pack("<HHIH", 262, 3, 1, value) for value in (1, 0))
    assert np.array_equal(pixels(data.replace(black_is_zero, white_is_zero)), 255 - RAMP)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_what_is_transparent_is_white(form: str) -> None:
    assert (pixels(encoded(with_alpha(0), form)) == 255).all()


def test_half_transparent_ink_is_half_as_dark() -> None:
    black = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert (np.abs(pixels(encoded(black, "PNG")) - 127) <= 1).all()


def test_a_transparent_palette_entry_is_white() -> None:
    black = Image.new("P", (8, 8), 0)
    assert (pixels(encoded(black, "PNG", transparency=0)) == 255).all()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(MIRRORED, RAMP[:, ::-1]), (UPSIDE_DOWN, RAMP[::-1, ::-1]), (LYING, np.rot90(RAMP, -1))],
)
def test_exif_orientation_is_applied(form: str, orientation: int, upright: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = pixels(encoded(RAMP, form, exif=exif, lossless=True, quality=95))  # a format ignores what is not its own
    assert shown.shape == upright.shape
    assert np.abs(shown - upright).max() <= 2


def test_no_bytes_are_an_empty_file() -> None:
    assert reason(b"") is Reason.EMPTY_FILE


@pytest.mark.parametrize(
    "data",
    [b"hello, world", b"\x00", b"BM is how this text begins", encoded(RAMP, "GIF"), encoded(COLOURS, "EPS")],
    ids=["text", "nul", "text like bmp", "gif", "postscript"],
)
def test_other_bytes_are_not_an_image(data: bytes) -> None:
    assert reason(data) is Reason.NOT_AN_IMAGE


@pytest.mark.parametrize(
    "magic", [b"PK\x03\x04", b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b\x08", bytes(257) + b"ustar"]
)
def test_an_archive_among_the_images_is_said_to_be_one(magic: bytes) -> None:
    assert reason(magic + bytes(100)) is Reason.NESTED_ARCHIVE


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_dimensions_are_checked_against_the_limit(form: str) -> None:
    data = encoded(RAMP, form)
    assert reason(data, max_pixels=64 * 48 - 1) is Reason.TOO_MANY_PIXELS
    assert not isinstance(decode(data, max_pixels=64 * 48), Rejection)


def test_a_bomb_is_refused_by_its_header_before_its_pixels_are_read() -> None:
    assert reason(png(zlib.compress(bytes(100)), 50_000, 50_000), max_pixels=100_000_000) is Reason.TOO_MANY_PIXELS


@pytest.mark.parametrize("name", [name for name in FAITHFUL if "tiff" not in name])
def test_an_image_cut_anywhere_is_rejected(name: str) -> None:
    data, _ = FAITHFUL[name]
    step = max(1, len(data) // 60)
    for length in (*range(20, len(data), step), *range(max(20, len(data) - 20), len(data))):
        assert reason(data[:length]) in (Reason.DAMAGED_IMAGE, Reason.TOO_MANY_PIXELS), length


def test_a_png_with_a_flipped_bit_anywhere_in_its_pixels_is_rejected() -> None:
    data = encoded(COLOURS, "PNG")
    for position in range(data.index(b"IDAT") + 4, len(data) - 12):
        damaged = bytearray(data)
        damaged[position] ^= 1
        assert reason(bytes(damaged)) is Reason.DAMAGED_IMAGE


@pytest.mark.parametrize(
    "compressed",
    [
        b"",
        b"not zlib",
        zlib.compress(bytes(1000)),
        zlib.compress(bytes(65 * 48))[:10],
        zlib.compress(b"\x09" * 65 * 48),
    ],
    ids=["nothing", "garbage", "too few rows", "cut stream", "unknown filter"],
)
def test_a_png_whose_checksums_are_right_but_whose_pixels_are_not_is_rejected(compressed: bytes) -> None:
    assert reason(png(compressed)) is Reason.DAMAGED_IMAGE


def test_what_a_phone_appends_to_a_photo_is_not_looked_at() -> None:
    film = b"\xff\xda\x00\x02" * 1000
    assert np.abs(pixels(encoded(RAMP, "JPEG", quality=95) + film) - RAMP).max() <= 2


def test_a_png_without_its_end_says_so() -> None:
    rejection = decode(encoded(RAMP, "PNG")[:-12], MAX_PIXELS)
    assert isinstance(rejection, Rejection)
    assert rejection.detail == "The PNG image is truncated or damaged (it ends before its IEND chunk)."


def test_no_bytes_whatever_make_it_raise() -> None:
    chance = random.Random(3)
    seeds = [data for data, _ in FAITHFUL.values()]
    for _ in range(6000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        decoded = decode(bytes(data[: chance.choice((len(data), chance.randrange(len(data))))]), MAX_PIXELS)
        assert isinstance(decoded, Rejection) or (decoded.dtype == np.uint8 and decoded.ndim == 2)
