"""Characters of fonts: what is drawn and left out, and how packages come. matplotlib's font stands in for theirs."""

import io
import tarfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from fontTools.ttLib import TTFont

from glyphq.labels import LABELS, label_of
from training.data import Pictures
from training.fonts import CHARACTERS, FOLDER, PACKAGES, load_fonts

from .training_files import refused

pytestmark = pytest.mark.usefixtures("own_folder")

PACKAGE = "@fonts/sans@1.2.3"
SANS = Path(mpl.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"


def pack(package: str, font: bytes, name: str = "sans-latin-400-normal.woff") -> Path:
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / (package.removeprefix("@").replace("/", "-").replace("@", "-") + ".tgz")
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(f"package/files/{name}")
        entry.size = len(font)
        archive.addfile(entry, io.BytesIO(font))
    return path


def changed(shown_as: dict[str, str | None]) -> bytes:
    """The font, with some characters drawn as others, or lacking."""
    font = TTFont(SANS)
    for table in font["cmap"].tables:
        for character, other in shown_as.items():
            if other is None:
                table.cmap.pop(ord(character), None)
            elif ord(other) in table.cmap:
                table.cmap[ord(character)] = table.cmap[ord(other)]
    content = io.BytesIO()
    font.save(content)
    return content.getvalue()


def of_class(pictures: Pictures, label: str) -> int:
    return int((pictures.classes == LABELS.index(label)).sum())


class TestLoadFonts:
    def test_every_character_is_a_normalized_picture_of_its_class(self) -> None:
        pack(PACKAGE, SANS.read_bytes())
        pictures = load_fonts([PACKAGE])
        assert pictures.pixels.shape == (62, 28, 28)
        assert [LABELS[index] for index in pictures.classes] == [label_of(character) for character in CHARACTERS]
        pixels = pictures.pixels.numpy()
        assert pixels.dtype == np.uint8
        assert pixels.max(axis=(1, 2)).min() > 200  # light ink
        assert pixels[:, 0].max() == pixels[:, -1].max() == 0  # on a dark ground
        one, letter_l = pixels[CHARACTERS.index("1")], pixels[CHARACTERS.index("l")]
        assert one[22:26].any(axis=0).sum() > letter_l[22:26].any(axis=0).sum() + 3  # a 1 with a foot

    def test_a_character_that_the_font_lacks_is_left_out(self) -> None:
        pack(PACKAGE, changed({"7": None, "c": None}))
        pictures = load_fonts([PACKAGE])
        assert len(pictures) == 60
        assert (of_class(pictures, "7"), of_class(pictures, "C")) == (0, 1)

    def test_a_small_letter_drawn_as_its_capital_is_left_out_unless_they_are_one_class(self) -> None:
        pack(PACKAGE, changed({"a": "A", "c": "C"}))
        pictures = load_fonts([PACKAGE])
        assert len(pictures) == 61
        assert (of_class(pictures, "a"), of_class(pictures, "A"), of_class(pictures, "C")) == (0, 1, 2)

    @pytest.mark.parametrize("damage", ["no archive", "half", "no font", "other font"])
    def test_a_damaged_package_is_named(self, damage: str) -> None:
        path = pack(PACKAGE, SANS.read_bytes() if damage == "half" else b"", "sans-latin-700-normal.woff")
        if damage == "no archive":
            path.write_bytes(b"none")
        elif damage == "half":
            path.write_bytes(path.read_bytes()[:5000])
        elif damage == "no font":
            pack(PACKAGE, b"none")
        with refused(f"{path} has no Latin font"):
            load_fonts([PACKAGE])

    def test_the_list_names_each_package_once_with_its_version(self) -> None:
        assert len({package.rpartition("@")[0] for package in PACKAGES}) == len(PACKAGES) > 300


class TestFetching:
    """`npm` is a script here: it writes what it is asked for, and notes that it was."""

    @pytest.fixture
    def npm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        pack(PACKAGE, SANS.read_bytes()).rename(tmp_path / "package.tgz")
        script = tmp_path / "bin" / "npm"
        script.parent.mkdir()
        script.write_text(
            f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ -e {tmp_path}/broken ] && exit 7\n'
            f'cp {tmp_path}/package.tgz "$4/fonts-sans-1.2.3.tgz"\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
        return tmp_path

    def test_packages_are_fetched_once(self, npm: Path) -> None:
        assert len(load_fonts([PACKAGE])) == len(load_fonts([PACKAGE])) == 62
        asked = (npm / "asked").read_text().splitlines()
        assert [line.split()[-1] for line in asked] == [PACKAGE]
        assert [path.name for path in FOLDER.iterdir()] == ["fonts-sans-1.2.3.tgz"]

    def test_what_npm_cannot_fetch_is_said_and_nothing_is_left(self, npm: Path) -> None:
        (npm / "broken").touch()
        with refused(rf"exit status 7\). See what it says: npm pack {PACKAGE}"):
            load_fonts([PACKAGE])
        assert list(FOLDER.iterdir()) == []

    @pytest.mark.usefixtures("npm")
    def test_a_package_that_npm_did_not_write_is_named(self) -> None:
        with refused("npm pack @fonts/other@1.0.0"):
            load_fonts([PACKAGE, "@fonts/other@1.0.0"])

    def test_without_npm_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        with refused("Install npm"):
            load_fonts([PACKAGE])
