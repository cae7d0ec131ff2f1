"""Bytes of an image file -> one grayscale array, or why not. Knows formats and their faults; nothing of ink.

The format is told by the bytes, the dimensions are read before any pixel is decoded, and nothing is raised whatever the
bytes. Plain 8-bit PNG and JPEG go through cv2 (4 us for a 28x28 PNG, 8 for a JPEG, where Pillow takes 24 and 44); all
else, and all that cv2 refuses, through Pillow, whose word on damage is final. cv2 is handed a PNG only when every CRC
is right, and a JPEG only when it ends as one does. What neither notices is noise inside a JPEG's scan: any bits mean
some pixels.

Time and memory are bounded by the pixels, not by what the file promises: see `_MAX_SIDE` and what follows it.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from glyphq.jobs import Reason, Rejection
from glyphq.sniff import sniff

Gray = NDArray[np.uint8]

_MAX_SIDE = 65_535  # JPEG's; Pillow takes 12 bytes a line besides the pixels, so that 1x100,000,000 takes 1.9 GB
_MOST_FOR_LIBPNG = 1 << 20  # bytes: libpng inflates what follows the last row too, at 1,032 to 1; Pillow stops
_MAX_CHUNKS = 1 << 17  # of a PNG, or segments of a JPEG: Pillow takes 6 us for each; encoders make them 8 KB long
_MAX_SCANS = 100  # of a JPEG: each goes over all pixels, and may be 14 bytes long; encoders write about ten
_MAX_TILES = 1 << 19  # strips or tiles of a TIFF: Pillow takes 300 bytes for each; 100 megapixels in 16x16 have 400,000
_MAX_BANDS = 6  # Pillow's MAX_SAMPLESPERPIXEL: a TIFF may keep the tiles of each band apart

_PNG = b"\x89PNG\r\n\x1a\n"
# Chunks that do not change what the samples mean; any other (transparency, palette, orientation) is for Pillow.
_PLAIN_CHUNKS = frozenset((b"IHDR", b"IDAT", b"IEND", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"tEXt", b"tIME"))
_GRAY, _RGB = 0, 2  # PNG colour types
_PNG_CHUNK, _PNG_CHECKSUM, _PNG_HEADER = (struct.Struct(form) for form in (">I4s", ">I", ">IIBBBBB"))
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # none of those that stand within a scan's data
_EXIF_ORIENTATION = 0x0112
_PHOTOMETRIC = 262  # TIFF tag; 0 is WhiteIsZero
_OFFSETS = (273, 324)  # TIFF tags: where its strips or tiles are
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def prepare_process() -> None:
    """Once in each process that decodes: one thread, and no diagnostics on standard error for each damaged image."""
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    Image.MAX_IMAGE_PIXELS = None  # decode() has a limit of its own
    warnings.filterwarnings("ignore", module=r"PIL\.")


def decode(data: bytes, max_pixels: int) -> Gray | Rejection:
    """uint8[H, W], 0 black to 255 white, upright, transparency over white, the first frame; or a Rejection.

    Never raises. `max_pixels` is the largest width times height; no side may be longer than 65,535.
    """
    kind = sniff(data)
    if kind is None:
        return Rejection.of(Reason.NOT_AN_IMAGE if data else Reason.EMPTY_FILE)
    if kind in ("zip", "archive"):
        return Rejection.of(Reason.NESTED_ARCHIVE)
    form = kind.upper()  # as Pillow calls it
    try:
        plain = _plain_png(data) if form == "PNG" else _plain_jpeg(data) if form == "JPEG" else None
        if plain is not None and (rejection := _too_many(*plain, max_pixels)):
            return rejection
        picture = None if plain is None else _by_cv2(data)
        return _by_pillow(data, form, max_pixels) if picture is None else picture
    except MemoryError:
        return Rejection.of(Reason.DAMAGED_IMAGE, "Decoding the image takes more memory than there is.")
    except Exception as error:  # noqa: BLE001 - hostile bytes make Pillow raise nearly anything: KeyError, struct.error
        return Rejection.of(Reason.DAMAGED_IMAGE, f"The {form} image is truncated or damaged ({_sentence(error)}).")


def _too_many(width: int, height: int, max_pixels: int) -> Rejection | None:
    """A Rejection where the pixels are too many or all in a row."""
    if width * height > max_pixels:
        detail = f"The image is {width}x{height} = {width * height:,} pixels; the limit is {max_pixels:,}."
    elif max(width, height) > _MAX_SIDE:
        detail = f"The image is {width}x{height} pixels; no side may be longer than {_MAX_SIDE:,}."
    else:
        return None
    return Rejection.of(Reason.TOO_MANY_PIXELS, detail)


def _sentence(error: Exception) -> str:
    """What Pillow says, on one line and short: it may quote the file's own bytes."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    return text[:120] or type(error).__name__


def _plain_png(data: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG of 8-bit RGB, or of gray up to 8 bits, with nothing unusual in it and not too much of
    it; None for others.

    Raises ValueError when it is cut short, a checksum is wrong or its chunks are too many: Pillow would accept one that
    lost only its end.
    """
    position, kind, plain, length, chunks = len(_PNG), b"", len(data) <= _MOST_FOR_LIBPNG, len(data), 0
    while kind != b"IEND":
        size, kind = _PNG_CHUNK.unpack_from(data, position) if position + 8 <= length else (length, b"")
        end = position + 8 + size
        if end + 4 > length:
            raise ValueError("it ends before its IEND chunk")
        if zlib.crc32(data[position + 4 : end]) != _PNG_CHECKSUM.unpack_from(data, end)[0]:
            raise ValueError("a checksum is wrong")
        plain = plain and kind in _PLAIN_CHUNKS
        chunks += 1
        if chunks > _MAX_CHUNKS:
            raise ValueError(f"it has more than {_MAX_CHUNKS:,} chunks")
        position = end + 4
    if not plain or data[12:16] != b"IHDR":
        return None
    width, height, depth, colour, _, _, interlace = _PNG_HEADER.unpack_from(data, 16)
    usual = interlace == 0 and depth <= 8 and (colour == _GRAY or (colour == _RGB and depth == 8))
    return (width, height) if usual and width and height else None


def _plain_jpeg(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG that ends with EOI, is 8-bit gray or YCbCr and has no Exif; None for any other.

    Raises ValueError for one with more scans than any encoder makes.
    """
    if len(data) > 4 * _MAX_CHUNKS or data.count(b"\xff\xda") > _MAX_SCANS:  # else it cannot have too many
        _check_scans(data)
    if not data.endswith(b"\xff\xd9"):
        return None
    for marker, body in _jpeg_segments(data):
        if marker in (0xC0, 0xC1, 0xC2) and len(body) >= 6:  # baseline, extended, progressive
            depth, height, width, components = struct.unpack_from(">BHHB", body)
            return (width, height) if depth == 8 and components in (1, 3) and width and height else None
        if (marker == 0xE1 and body[:4] == b"Exif") or marker == 0xEE:  # orientation; Adobe's other colour spaces
            return None
    return None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment before the first scan."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA or length < 2:
            return
        yield marker, data[position + 4 : position + 2 + length]
        position += 2 + length


def _check_scans(data: bytes) -> None:
    """Raise ValueError where a JPEG has too many scans or segments before its end; what a phone appends is its own."""
    scans, segments, position = 0, 0, 2
    while (found := _JPEG_MARKER.search(data, position)) and found[0] != b"\xff\xd9":
        scans += found[0] == b"\xff\xda"
        segments += 1
        if scans > _MAX_SCANS or segments > _MAX_CHUNKS:
            raise ValueError(f"it has more than {_MAX_SCANS} scans or {_MAX_CHUNKS:,} segments")
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")


def _by_cv2(data: bytes) -> Gray | None:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if picture is None else picture.astype(np.uint8, copy=False)


def _by_pillow(data: bytes, form: str, max_pixels: int) -> Gray | Rejection:
    size = _webp_size(data) if form == "WEBP" else None  # Pillow allocates WebP's canvas on opening
    if size is not None and (rejection := _too_many(*size, max_pixels)):
        return rejection
    if form == "TIFF" and _tiff_tiles(data) > _MAX_TILES:
        raise ValueError("it has more strips or tiles than pixels need")
    try:
        image = Image.open(io.BytesIO(data), formats=[form])
    except UnidentifiedImageError:
        detail = f"The {form} image is truncated or damaged (its header cannot be read)."
        return Rejection.of(Reason.DAMAGED_IMAGE, detail)
    with image:
        if rejection := _too_many(image.width, image.height, max_pixels):
            return rejection
        if isinstance(image, TiffImageFile):
            _check_tiles(image)
        if form == "JPEG":
            image.draft("L", image.size)  # the luma as it is, like cv2, not by way of RGB
        image.load()
        gray = _gray(image)
        turn = _UPRIGHT.get(_orientation(image))
        return np.array(gray if turn is None else gray.transpose(turn))


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """From the first chunk's header: https://developers.google.com/speed/webp/docs/riff_container"""
    if len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _tiff_tiles(data: bytes) -> int:
    """How many strips or tiles the first directory of a TIFF or BigTIFF lists. Raises struct.error where it is cut."""
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    length, entry = (struct.Struct(order + form) for form in (("Q", "HHQ8x") if big else ("H", "HHI4x")))
    (entries,) = length.unpack_from(data, at)
    if at + length.size + entries * entry.size > len(data):
        raise ValueError("its directory is cut short")
    listed = entry.iter_unpack(memoryview(data)[at + length.size :][: entries * entry.size])
    return max((count for tag, _, count in listed if tag in _OFFSETS), default=0)


def _check_tiles(image: TiffImageFile) -> None:
    """Raise ValueError where strips or tiles cover the image again and again: Pillow would decode them all."""
    boxes = [tile.extents or (0, 0, *image.size) for tile in image.tile]
    covered = sum((right - left) * (lower - upper) for left, upper, right, lower in boxes)
    if covered > _MAX_BANDS * image.width * image.height:
        raise ValueError("its strips or tiles cover it more than once")


def _orientation(image: Image.Image) -> int:
    """Exif's, 1..8; 1 where there is none or the Exif is damaged, which says nothing against the pixels."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - as in decode()
        return 1


def _gray(image: Image.Image) -> Image.Image:
    """Mode L, transparency over white."""
    if image.mode.startswith("I;16"):
        gray = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        # Pillow heeds it in the narrower modes only.
        white_is_zero = isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0
        return ImageOps.invert(gray) if white_is_zero else gray
    if image.mode in ("I", "F"):
        return Image.fromarray(_eight_bits(np.asarray(image)))
    if image.mode == "LAB":
        return image.getchannel("L")
    if image.has_transparency_data:
        if image.mode != "RGBA":
            image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        return Image.composite(image.convert("L"), Image.new("L", image.size, 255), image.getchannel("A"))
    return image.convert("L")


def _eight_bits(samples: NDArray[np.generic]) -> Gray:
    """Wide samples, whose white no header states: it is the smallest of 1 (floats), 255, 65535 that holds them all.

    Where none does, it is their largest.
    """
    values = np.nan_to_num(samples.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    largest = float(values.max())
    whites = (1.0, 255.0, 65535.0) if samples.dtype.kind == "f" else (255.0, 65535.0)
    white = next((white for white in whites if largest <= white), largest)
    values.clip(0, white, out=values)  # in place, for a large image has hundreds of megabytes of them
    values *= 255 / white
    values += 0.5
    return values.astype(np.uint8)
