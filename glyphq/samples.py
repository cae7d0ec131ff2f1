"""Drawn sample scans with known truth, for the demo, the load and the tests. Knows pens and paper; nothing of jobs.

Each is one character in a plain single-stroke font (A. V. Hershey 1967, "futural"), written by an unsteady hand: its
strokes are slanted, bent and shifted, drawn with a round pen on paper with a tone, a shade and grain. They are far
easier than handwriting: they show that the whole service works, not how well it reads.
"""

import csv
import io
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, BinaryIO

from glyphq.errors import InvalidOption, SetupError
from glyphq.labels import label_of

if TYPE_CHECKING:
    from PIL.Image import Image

Point = tuple[float, float]
Strokes = list[list[Point]]

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FONT = "futural"
SERIFS: Strokes = [[(0.0, -12.0), (8.0, -12.0)], [(0.0, 9.0), (8.0, 9.0)]]

LONGER_SIDE_PIXELS = 32.0, 64.0
MARGINS_PIXELS = 12, 24  # both sides together
SMALLEST_SIDE_PIXELS = 40
PEN_WIDTH = 0.07, 0.10  # of the longer side
LIGHT_ON_DARK = 0.2  # of all scans
OVERSAMPLING = 3
PIECES_PER_SEGMENT = 5  # short enough that a bent segment looks curved


@dataclass(frozen=True)
class Sample:
    """One drawn scan and what it shows: the character, and the EMNIST Balanced label it should get."""

    filename: str
    character: str
    label: str
    png: bytes


def draw(count: int, seed: int = 1) -> Iterator[Sample]:
    """`count` scans; the same seed gives the same bytes. Every 62 in a row show each of the 62 characters once.

    Raises SetupError, at once, where the extra `embedded`, which draws, is not installed.
    """
    glyphs = _load_glyphs()
    rng = Random(seed)  # noqa: S311  # samples are to be the same again, not to be secret
    digits = max(5, len(str(count - 1)))
    return (
        Sample(
            filename=f"scan-{number:0{digits}}.png",
            character=character,
            label=label_of(character),
            png=_scan(_write_by_hand(glyphs[character], rng), rng),
        )
        for number, character in enumerate(islice(_shuffled_characters(rng), count))
    )


def write_zip(target: Path | BinaryIO, count: int, seed: int = 1, truth: Path | BinaryIO | None = None) -> None:
    """Write `count` scans as a zip and, with `truth`, a CSV of filename, character, emnist_label.

    Raises SetupError, before anything is written, where the extra `embedded` is not installed.
    """
    samples = draw(count, seed)
    rows = [("filename", "character", "emnist_label")]
    with zipfile.ZipFile(target, "w") as archive:
        for sample in samples:
            archive.writestr(zipfile.ZipInfo(sample.filename), sample.png)  # a fixed date: the same bytes each time
            rows.append((sample.filename, sample.character, sample.label))
    if truth is None:
        return
    table = io.StringIO(newline="")
    csv.writer(table).writerows(rows)
    content = table.getvalue().encode()
    truth.write_bytes(content) if isinstance(truth, Path) else truth.write(content)


def read_truth(path: Path) -> dict[str, str]:
    """filename -> EMNIST label, from such a CSV. Raises InvalidOption for what is none, and OSError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as table:
            lines = csv.DictReader(table, restval="")
            if {"filename", "emnist_label"} <= set(lines.fieldnames or ()):
                return {line["filename"]: line["emnist_label"] for line in lines}
    except (UnicodeDecodeError, csv.Error):
        pass
    raise InvalidOption("truth", f"{path} is not a CSV in UTF-8 with columns filename and emnist_label.")


def _shuffled_characters(rng: Random) -> Iterator[str]:
    while True:
        yield from rng.sample(CHARACTERS, len(CHARACTERS))


def _load_glyphs() -> dict[str, Strokes]:
    """The strokes of each character in font units: about 21 high, y downwards."""
    try:
        import PIL.Image  # noqa: F401 - not used here: missed here, before anything is written
        from HersheyFonts import HersheyFonts
    except ImportError as error:
        raise SetupError(f"Drawing needs {error.name}; in a clone: pip install -e '.[embedded]'.") from error
    font = HersheyFonts()
    font.load_default_font(FONT)
    glyphs = {character: [list(stroke) for stroke in font.strokes_for_text(character)] for character in CHARACTERS}
    glyphs["I"] += SERIFS  # without them the font's I and l are the same stroke
    return glyphs


def _write_by_hand(strokes: Strokes, rng: Random) -> Strokes:
    """Slant, turn, stretch and bend the strokes, and shift each a little, all within what keeps a character legible."""
    slant, turn, width = rng.gauss(0.08, 0.10), rng.gauss(0, 0.05), rng.uniform(0.85, 1.1)
    bend = _bend(rng)
    written = []
    for stroke in strokes:
        shift_x, shift_y = rng.gauss(0, 0.35), rng.gauss(0, 0.35)
        bent = (bend(x, y) for x, y in _refine(stroke))
        written.append([(width * x - slant * y - turn * y + shift_x, y + turn * x + shift_y) for x, y in bent])
    return written


def _bend(rng: Random) -> Callable[[float, float], Point]:
    """A smooth random displacement of the plane, by about one unit over a distance of about one character."""
    waves = [(rng.gauss(0, 0.15), rng.gauss(0, 0.15), rng.uniform(0, math.tau), rng.gauss(0, 0.6)) for _ in range(4)]

    def bend(x: float, y: float) -> Point:
        across, along = (
            sum(size * math.sin(x * wave_x + y * wave_y + phase) for wave_x, wave_y, phase, size in half)
            for half in (waves[:2], waves[2:])
        )
        return x + across, y + along

    return bend


def _refine(stroke: list[Point]) -> Iterator[Point]:
    """The same line with more points."""
    for (x0, y0), (x1, y1) in pairwise(stroke):
        for piece in range(PIECES_PER_SEGMENT):
            part = piece / PIECES_PER_SEGMENT
            yield x0 + (x1 - x0) * part, y0 + (y1 - y0) * part
    yield stroke[-1]


def _scan(strokes: Strokes, rng: Random) -> bytes:
    """Draw the strokes with a round pen on paper: a grayscale PNG of 40 to 90 pixels a side."""
    from PIL import Image

    mask = _ink(strokes, rng)
    paper, ink = rng.uniform(190, 250), rng.uniform(15, 90)
    if rng.random() < LIGHT_ON_DARK:
        paper, ink = 255 - paper, 255 - ink
    shade = Image.linear_gradient("L").rotate(rng.choice((0, 90, 180, 270))).resize(mask.size)
    page = Image.blend(Image.new("L", mask.size, round(paper)), shade, rng.uniform(0, 0.08))
    page.paste(round(ink), mask=mask)
    grain = Image.frombytes("L", mask.size, rng.randbytes(mask.width * mask.height))
    png = io.BytesIO()
    Image.blend(page, grain, rng.uniform(0.01, 0.05)).save(png, "PNG")
    return png.getvalue()


def _ink(strokes: Strokes, rng: Random) -> "Image":
    """How much ink lies on each pixel (mode L), the character placed with a margin that varies."""
    from PIL import Image, ImageDraw

    left, top = (min(point[axis] for stroke in strokes for point in stroke) for axis in (0, 1))
    right, bottom = (max(point[axis] for stroke in strokes for point in stroke) for axis in (0, 1))
    longer_side = rng.uniform(*LONGER_SIDE_PIXELS)
    pen = longer_side * rng.uniform(*PEN_WIDTH)
    scale = (longer_side - pen) / max(right - left, bottom - top)
    margins = rng.uniform(*MARGINS_PIXELS), rng.uniform(*MARGINS_PIXELS)
    width, height = (
        max(SMALLEST_SIDE_PIXELS, round(extent * scale + pen + margin))
        for extent, margin in zip((right - left, bottom - top), margins, strict=True)
    )
    drift_x, drift_y = rng.uniform(-3, 3), rng.uniform(-3, 3)
    canvas = Image.new("L", (width * OVERSAMPLING, height * OVERSAMPLING))
    pencil = ImageDraw.Draw(canvas)
    radius = pen * OVERSAMPLING / 2
    for stroke in strokes:
        line = [
            (
                ((x - (left + right) / 2) * scale + width / 2 + drift_x) * OVERSAMPLING,
                ((y - (top + bottom) / 2) * scale + height / 2 + drift_y) * OVERSAMPLING,
            )
            for x, y in stroke
        ]
        pencil.line(line, fill=255, width=round(2 * radius), joint="curve")
        for x, y in (line[0], line[-1]):
            pencil.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return canvas.reduce(OVERSAMPLING)
