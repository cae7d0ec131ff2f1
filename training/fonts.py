"""Characters of handwriting fonts as pictures to train on: forms that EMNIST's writers seldom use, a 1 with a foot.

`fonts.txt` names packages of free fonts (SIL Open Font License or Apache License) as `npm pack` takes them. Left out
of it were fonts of which a network trained on EMNIST reads less than three in five characters, as few people could,
and packages of more than 6 MB.
"""

import io
import shutil
import string
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageFont
from rich.progress import Progress

from glyphq.errors import SetupError
from glyphq.labels import LABELS, label_of
from glyphq.vision.normalize import normalize
from training.data import CACHE, Pictures

PACKAGES = tuple(Path(__file__).with_name("fonts.txt").read_text().split())
FOLDER = CACHE / "fonts"
CHARACTERS = string.digits + string.ascii_letters

_PACKAGES_A_CALL = 20
_SIZE = 120  # pixels an em: thin strokes have several
_MARGIN = 20  # pixels of paper around the character
_UNICODE_NONE = "\uffff"  # drawn as what a font shows for a character that it lacks
_SAME = 0.85  # correlation of a small letter with its capital from which it is drawn as one


def load_fonts(packages: Sequence[str] = PACKAGES) -> Pictures:
    """Every character of every font, normalized as scans are; packages are fetched once.

    Raises SetupError when npm is missing or fails, or when a package is damaged or has no Latin font.
    """
    with Progress(transient=True) as progress:
        _fetch([package for package in packages if not _file(package).exists()], progress)
        drawn = [
            (picture, LABELS.index(label_of(character)))
            for package in progress.track(packages, description="drawing fonts")
            for character, picture in _pictures(_font(package))
        ]
    pixels, classes = zip(*drawn, strict=True)
    return Pictures(torch.from_numpy(np.stack(pixels)), torch.tensor(classes))


def _file(package: str) -> Path:
    """As npm names it: `@scope/name@1.2.3` -> `scope-name-1.2.3.tgz`."""
    return FOLDER / (package.removeprefix("@").replace("/", "-").replace("@", "-") + ".tgz")


def _fetch(packages: Sequence[str], progress: Progress) -> None:
    if not packages:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise SetupError("The recipe takes pictures from fonts that npm fetches. Install npm, or train another recipe.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    parts = [packages[first : first + _PACKAGES_A_CALL] for first in range(0, len(packages), _PACKAGES_A_CALL)]
    for part in progress.track(parts, description="fetching fonts"):
        with TemporaryDirectory(dir=FOLDER) as folder:
            command = [npm, "pack", "--silent", "--pack-destination", folder, *part]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            missing = [package for package in part if not (Path(folder) / _file(package).name).exists()]
            if ended.returncode or missing:
                raise SetupError(
                    f"npm could not fetch all of {part[0]} to {part[-1]} (exit status {ended.returncode}). "
                    f"See what it says: npm pack {(missing or part)[0]}"
                )
            for package in part:
                (Path(folder) / _file(package).name).replace(_file(package))


def _font(package: str) -> ImageFont.FreeTypeFont:
    """The upright Latin one of regular weight."""
    path = _file(package)
    try:
        with tarfile.open(path) as archive:
            name = next(name for name in archive.getnames() if name.endswith("-latin-400-normal.woff"))
            content = archive.extractfile(name)
            return ImageFont.truetype(io.BytesIO(content.read() if content else b""), _SIZE)
    except (tarfile.TarError, EOFError, StopIteration, OSError) as error:
        raise SetupError(f"{path} has no Latin font that can be read. Remove it, and it is fetched again.") from error


def _pictures(font: ImageFont.FreeTypeFont) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Of each character the font has; a small letter drawn as its capital would be trained on as what it is not."""
    drawn = {character: picture for character in CHARACTERS if (picture := _drawn(font, character)) is not None}
    for character, picture in drawn.items():
        capital = drawn.get(character.upper())
        if label_of(character) == character.upper() or capital is None or not _alike(picture, capital):
            yield character, picture


def _drawn(font: ImageFont.FreeTypeFont, character: str) -> NDArray[np.uint8] | None:
    """None where the font lacks the character."""
    mask, lacking = font.getmask(character), font.getmask(_UNICODE_NONE)
    if bytes(mask) == bytes(lacking):
        return None
    ink = np.asarray(mask, np.uint8).reshape(mask.size[::-1])
    return normalize(np.pad(255 - ink, _MARGIN, constant_values=255))


def _alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    return bool(np.corrcoef(one.ravel(), other.ravel())[0, 1] > _SAME)
