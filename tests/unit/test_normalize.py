import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from glyphq.jobs import Invert, Rejection
from glyphq.vision.decode import decode
from glyphq.vision.normalize import is_inverted, normalize

Gray = NDArray[np.uint8]

SEVEN = ((0.1, 0.1), (0.9, 0.1), (0.4, 0.9))
BAR = ((0.5, 0.0), (0.5, 1.0))


def scan(
    width: int,
    height: int,
    stroke: int,
    points: tuple[tuple[float, float], ...] = SEVEN,
    ink: int = 30,
    paper: int = 235,
) -> Gray:
    """A drawn line with an empty margin of a fifth around it."""
    image = Image.new("L", (width, height), paper)
    line = [(width * (0.2 + 0.6 * x), height * (0.2 + 0.6 * y)) for x, y in points]
    ImageDraw.Draw(image).line(line, fill=ink, width=stroke, joint="curve")
    return np.array(image)


def picture(of: Gray, invert: Invert = Invert.AUTO) -> NDArray[np.int64]:
    normalized = normalize(of, invert)
    assert normalized is not None
    assert normalized.shape == (28, 28)
    assert normalized.dtype == np.uint8
    return normalized.astype(np.int64)


def inked(picture: NDArray[np.int64]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is at least half bright."""
    rows, columns = np.nonzero(picture > 127)
    return rows.min(), rows.max(), columns.min(), columns.max()


def stroke_width(picture: NDArray[np.int64]) -> float:
    """Of a vertical bar, in pixels."""
    return float(picture[10:18].sum() / 255 / 8)


def grain(deviation: float, shape: tuple[int, int] = (60, 60), paper: float = 215) -> Gray:
    noise = np.random.default_rng(4).normal(paper, deviation, shape)
    return noise.clip(0, 255).astype(np.uint8)


def written(letter: str) -> Gray:
    """A letter of a font, 100 pixels of 120."""
    image = Image.new("L", (120, 120), 235)
    ImageDraw.Draw(image).text((60, 60), letter, fill=30, font=ImageFont.load_default(80), anchor="mm")
    return np.array(image)


def inked_rows(picture: NDArray[np.int64]) -> int:
    """How many runs of rows have ink."""
    rows = (picture > 127).any(axis=1).astype(int)
    return int((np.diff(rows, prepend=0) == 1).sum())


def alike(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_a_picture_as_emnists_passes_unchanged() -> None:
    emnist = picture(scan(60, 60, 6)).astype(np.uint8)
    assert normalize(emnist) is emnist
    assert normalize(emnist, Invert.YES) is emnist


def test_emnists_test_set_passes_unchanged(shared_data: Path) -> None:
    with zipfile.ZipFile(shared_data / "scans" / "emnist-test.zip") as archive:
        for name in archive.namelist():
            scanned = decode(archive.read(name), 784)
            assert not isinstance(scanned, Rejection)
            assert normalize(scanned) is scanned, name


@pytest.mark.parametrize("archive", ["pen-on-paper", "tablet-pen"])
def test_no_real_scan_is_taken_for_blank_or_damaged(archive: str, shared_data: Path) -> None:
    with (shared_data / "scans" / f"{archive}.csv").open() as file:
        names = [row["filename"] for row in csv.DictReader(file)][::14]
    with zipfile.ZipFile(shared_data / "scans" / f"{archive}.zip") as scans:
        for name in names:
            scanned = decode(scans.read(name), 2_000_000)
            assert not isinstance(scanned, Rejection), name
            assert normalize(scanned) is not None, name


@pytest.mark.parametrize(("width", "height", "stroke"), [(28, 28, 3), (60, 60, 6), (40, 90, 7), (1200, 900, 60)])
def test_ink_is_light_on_dark_with_a_border_of_about_three_pixels(width: int, height: int, stroke: int) -> None:
    normalized = picture(scan(width, height, stroke))
    assert normalized.max() == 255
    assert normalized[[0, -1]].max() < 40
    assert normalized[:, [0, -1]].max() < 40
    top, bottom, left, right = inked(normalized)
    assert 20 <= max(bottom - top, right - left) + 1 <= 23
    assert abs((27 - bottom) - top) <= 1
    assert abs((27 - right) - left) <= 1


def test_the_aspect_is_kept() -> None:
    top, bottom, left, right = inked(picture(scan(60, 60, 6, BAR)))
    assert bottom - top + 1 >= 22
    assert right - left + 1 <= 7


@pytest.mark.parametrize("size", [30, 60, 300])
def test_polarity_does_not_matter(size: int) -> None:
    dark_ink = scan(size, size, max(3, size // 10))
    assert np.abs(picture(dark_ink) - picture(255 - dark_ink)).max() <= 2


def test_a_tight_crop_of_a_bold_stroke_keeps_its_polarity() -> None:
    bold = scan(60, 60, 16)[7:53, 7:53]
    assert np.abs(picture(bold) - picture(255 - bold)).max() <= 2
    assert alike(picture(bold), picture(bold, Invert.NO)) > 0.99


def test_a_polarity_that_is_said_wrongly_is_noticed() -> None:
    dark = scan(60, 60, 6)
    assert [is_inverted(dark, invert) for invert in (Invert.AUTO, Invert.YES, Invert.NO)] == [False, True, False]
    assert [is_inverted(~dark, invert) for invert in (Invert.AUTO, Invert.YES, Invert.NO)] == [False, False, True]


def test_polarity_can_be_said() -> None:
    dark_ink = scan(60, 60, 6)
    assert np.array_equal(picture(dark_ink), picture(dark_ink, Invert.NO))
    assert np.array_equal(picture(255 - dark_ink), picture(255 - dark_ink, Invert.YES))


@pytest.mark.parametrize(("size", "stroke"), [(60, 1), (900, 10), (900, 20), (900, 50)])
def test_thin_strokes_become_as_wide_as_emnists(size: int, stroke: int) -> None:
    assert 1.5 <= stroke_width(picture(scan(size, size, stroke, BAR))) <= 3.5


def test_size_does_not_matter() -> None:
    small, large = picture(scan(90, 90, 9)), picture(scan(900, 900, 90))
    assert alike(small, large) > 0.97


def test_a_small_letter_on_a_large_page_is_found() -> None:
    page = np.full((900, 1200), 240, np.uint8)
    letter = scan(90, 90, 9, paper=240)
    page[700:790, 100:190] = letter
    assert alike(picture(page), picture(letter)) > 0.95


def test_uneven_light_and_grain_do_not_matter() -> None:
    plain = scan(60, 60, 6, ink=110, paper=200).astype(np.float64)
    shade = np.linspace(-50, 30, 60)[None, :] + np.linspace(-15, 15, 60)[:, None]
    noise = np.random.default_rng(5).normal(0, 2, plain.shape)
    shaded = (plain + shade + noise).clip(0, 255).astype(np.uint8)
    assert alike(picture(shaded), picture(plain.astype(np.uint8))) > 0.95


def test_specks_do_not_widen_the_box() -> None:
    clean = scan(80, 80, 8)
    specked = clean.copy()
    specked[3:5, 74:76] = 30
    specked[72:74, 20] = 30
    assert alike(picture(specked), picture(clean)) > 0.99


def test_a_line_or_a_neighbour_cut_by_the_edge_is_left_out() -> None:
    clean = scan(80, 80, 8)
    crowded = clean.copy()
    crowded[-3:] = 40
    crowded[:20, :4] = 40
    assert alike(picture(crowded), picture(clean)) > 0.98


def test_ink_that_fills_the_crop_to_its_edge_is_kept() -> None:
    assert normalize(scan(60, 60, 8, BAR)[15:45]) is not None


@pytest.mark.parametrize("letter", ["T", "Z", "O", "S", "e"])
@pytest.mark.parametrize("invert", [0, 255])
def test_a_letter_cut_out_to_its_ink_is_as_with_a_margin(letter: str, invert: int) -> None:
    page = written(letter)
    rows, columns = (np.flatnonzero((page < 128).any(axis)) for axis in (1, 0))
    cut = page[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert alike(picture(cut ^ np.uint8(invert)), picture(page)) > 0.97


@pytest.mark.parametrize("letter", ["A", "E", "g", "4"])
@pytest.mark.parametrize("height", [0.3, 0.5, 0.68, 0.9])
@pytest.mark.parametrize("upright", [True, False])
def test_a_ruled_line_through_or_under_a_letter_is_left_out(letter: str, height: float, upright: bool) -> None:
    page = written(letter)
    ruled = page.copy()
    line = ruled if upright else ruled.T
    line[round(len(line) * height) :][:2] = 90
    assert alike(picture(ruled), picture(page)) > 0.9


def test_a_frame_around_a_letter_is_left_out() -> None:
    page = written("R")
    framed = np.pad(page[3:-3, 3:-3], 3, constant_values=40)
    assert alike(picture(framed), picture(page)) > 0.98


def test_what_is_below_is_left_out_and_a_dot_above_is_kept() -> None:
    letter = written("i")
    below = letter.copy()
    below[-12:-6, 55:61] = 30
    assert alike(picture(below), picture(letter)) > 0.98
    assert inked_rows(picture(letter)) == 2


@pytest.mark.parametrize("level", [0, 100, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (28, 28), (60, 40), (900, 1200)])
def test_one_even_gray_is_blank(level: int, shape: tuple[int, int]) -> None:
    assert normalize(np.full(shape, level, np.uint8)) is None


@pytest.mark.parametrize("deviation", [1, 3, 8])
@pytest.mark.parametrize("shape", [(60, 60), (200, 300)])
def test_grain_alone_is_blank(deviation: float, shape: tuple[int, int]) -> None:
    assert normalize(grain(deviation, shape)) is None


def test_a_shadow_alone_is_blank() -> None:
    shadow = np.tile(np.linspace(120, 230, 100).astype(np.uint8), (80, 1))
    assert normalize(shadow) is None


def test_faint_pencil_is_not_blank() -> None:
    faint = np.minimum(grain(1.5), scan(60, 60, 5, ink=190, paper=255))
    assert normalize(faint) is not None


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 2), (3, 1000), (1000, 3), (5000, 1), (28, 29)])
def test_any_shape_of_noise_is_answered(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(6).integers(0, 256, shape, dtype=np.uint8)
    for invert in Invert:
        normalized = normalize(noise, invert)
        assert normalized is None or normalized.shape == (28, 28)


def test_the_scan_itself_is_not_changed() -> None:
    original = scan(60, 60, 6)
    handed_in = original.copy()
    normalize(handed_in)
    assert np.array_equal(handed_in, original)


@pytest.mark.parametrize(
    ("of", "names"),
    [
        (scan(60, 60, 6), ["dark on light", "evenly lit", "kept", "28x28"]),
        (
            scan(600, 400, 30),
            ["dark on light", "evenly lit", "kept", "looked at closer", "evenly lit", "kept", "28x28"],
        ),
        (np.full((60, 60), 230, np.uint8), ["dark on light"]),
        (np.pad(np.full((20, 20), 255, np.uint8), 4), ["28x28"]),
    ],
    ids=["small", "large", "blank", "as EMNIST's"],
)
def test_steps_are_told_and_change_nothing(of: Gray, names: list[str]) -> None:
    told: list[tuple[str, Gray]] = []
    seen = normalize(of, Invert.AUTO, lambda name, step: told.append((name, step)))
    assert [name for name, _ in told] == names
    assert {step.dtype for _, step in told} == {np.dtype(np.uint8)}
    plain = normalize(of)
    assert (seen is None and plain is None) or np.array_equal(seen, plain)
    assert seen is None or np.array_equal(seen, told[-1][1])


def test_the_first_step_is_dark_on_light_whichever_way_the_scan_is() -> None:
    told: list[Gray] = []
    for of in (scan(60, 60, 6), ~scan(60, 60, 6)):
        normalize(of, steps=lambda name, step: told.append(step) if name == "dark on light" else None)
    assert np.array_equal(*told)


def test_png_and_jpeg_of_a_scan_give_nearly_the_same_picture() -> None:
    pictures = []
    for form in ("PNG", "JPEG"):
        file = io.BytesIO()
        Image.fromarray(scan(120, 120, 12)).save(file, form)
        decoded = decode(file.getvalue(), 100_000)
        assert not isinstance(decoded, Rejection)
        pictures.append(picture(decoded))
    assert alike(*pictures) > 0.99
