"""The drawn scans: balanced, repeatable, of the promised size, and nameless."""

import csv
import io
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from glyphq.errors import SetupError
from glyphq.labels import LABELS
from glyphq.samples import CHARACTERS, Sample, draw, write_zip


def picture(sample: Sample) -> Image.Image:
    return Image.open(io.BytesIO(sample.png))


def test_the_same_seed_draws_the_same_bytes() -> None:
    assert list(draw(70, seed=5)) == list(draw(70, seed=5))


def test_another_seed_draws_other_bytes() -> None:
    assert {sample.png for sample in draw(70, seed=5)}.isdisjoint(sample.png for sample in draw(70, seed=6))


def test_a_shorter_draw_is_the_beginning_of_a_longer_one() -> None:
    assert list(draw(70))[:30] == list(draw(30))


def test_every_character_is_drawn_equally_often() -> None:
    assert Counter(sample.character for sample in draw(3 * 62)) == dict.fromkeys(CHARACTERS, 3)


def test_every_label_is_a_class_of_emnist_balanced() -> None:
    assert {sample.label for sample in draw(62)} == set(LABELS)


def test_names_are_unique_in_order_and_do_not_tell_the_truth() -> None:
    assert [sample.filename for sample in draw(3)] == ["scan-00000.png", "scan-00001.png", "scan-00002.png"]


def test_scans_are_grayscale_and_of_the_size_of_a_scanned_character() -> None:
    for sample in draw(124):
        scan = picture(sample)
        assert scan.mode == "L"
        assert all(40 <= side <= 90 for side in scan.size)


def test_ink_stands_clear_of_the_edge_and_of_the_paper() -> None:
    for sample in draw(124):
        scan = picture(sample)
        tones = scan.histogram()
        paper = max(range(256), key=tones.__getitem__)
        different = scan.point([255 * (abs(tone - paper) > 60) for tone in range(256)])
        left, top, right, bottom = different.getbbox() or (0, 0, 0, 0)
        assert max(right - left, bottom - top) >= 25
        assert left > 0
        assert top > 0
        assert right < scan.width
        assert bottom < scan.height


def test_some_scans_are_light_on_dark_and_most_dark_on_light() -> None:
    dark = sum(scan.resize((1, 1)).getpixel((0, 0)) < 128 for scan in map(picture, draw(200)))  # type: ignore[operator]
    assert 15 <= dark <= 80


def test_the_zip_and_its_truth_agree(tmp_path: Path) -> None:
    write_zip(tmp_path / "scans.zip", 65, seed=2, truth=tmp_path / "scans.csv")
    drawn = list(draw(65, seed=2))
    with zipfile.ZipFile(tmp_path / "scans.zip") as archive:
        assert [(name, archive.read(name)) for name in archive.namelist()] == [(s.filename, s.png) for s in drawn]
    with (tmp_path / "scans.csv").open(newline="") as table:
        assert list(csv.reader(table)) == [
            ["filename", "character", "emnist_label"],
            *([s.filename, s.character, s.label] for s in drawn),
        ]


def test_the_zip_has_the_same_bytes_each_time() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    write_zip(first, 5)
    write_zip(second, 5)
    assert first.getvalue() == second.getvalue()


def test_without_the_extra_drawing_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "HersheyFonts", None)
    with pytest.raises(SetupError, match=r"pip install -e '.\[embedded\]'"):
        write_zip(tmp_path / "scans.zip", 5)
    assert list(tmp_path.iterdir()) == []
