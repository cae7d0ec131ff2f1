import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from glyphq.errors import SetupError
from glyphq.jobs import Invert, Reason, Rejection
from glyphq.vision.decode import decode
from glyphq.vision.isolated import IsolatedDecoder
from glyphq.vision.normalize import normalize

MAX_PIXELS = 1_000_000
DYING = """
import os, signal, sys
from pathlib import Path
from glyphq.vision.decode import decode
from glyphq.vision.isolated import serve

def read(data, max_pixels):
    deaths = Path(sys.argv[1])
    if data == b"kills always" or (data.startswith(b"\\x89PNG") and not deaths.exists()):
        deaths.open("a").write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    while data == b"never ends":
        pass
    if data == b"takes all memory":
        return bytes(1 << 40)
    print("what a library prints")
    return decode(data, max_pixels)

serve(sys.argv, read)
"""


def drawn() -> bytes:
    image = Image.new("L", (60, 80), 240)
    ImageDraw.Draw(image).line((15, 10, 45, 70), fill=20, width=7)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def decoder() -> Iterator[IsolatedDecoder]:
    with IsolatedDecoder(MAX_PIXELS) as isolated:
        yield isolated


@pytest.fixture
def deaths(tmp_path: Path) -> Path:
    return tmp_path / "deaths"


@pytest.fixture
def dying(deaths: Path) -> Iterator[IsolatedDecoder]:
    """Its child dies of some images; `deaths` counts them."""
    command = (sys.executable, "-c", DYING, str(deaths))
    with IsolatedDecoder(MAX_PIXELS, timeout_seconds=1, command=command) as isolated:
        yield isolated


@pytest.mark.parametrize("invert", [Invert.AUTO, Invert.NO])
def test_a_picture_comes_back_as_it_would_in_this_process(decoder: IsolatedDecoder, invert: Invert) -> None:
    scan = decode(drawn(), MAX_PIXELS)
    assert not isinstance(scan, Rejection)
    isolated, here = decoder.picture(drawn(), invert), normalize(scan, invert)
    assert isinstance(isolated, np.ndarray)
    assert here is not None
    assert np.array_equal(isolated, here)


def test_a_blank_and_a_rejection_come_back_as_such(decoder: IsolatedDecoder) -> None:
    file = io.BytesIO()
    Image.new("L", (40, 40), 200).save(file, "PNG")
    assert decoder.picture(file.getvalue()) is None
    assert decoder.picture(b"") == Rejection.of(Reason.EMPTY_FILE)
    rejection = decoder.picture(drawn()[:-20])
    assert isinstance(rejection, Rejection)
    assert rejection.reason is Reason.DAMAGED_IMAGE


def test_megabytes_that_do_not_fit_the_pipe_come_through(decoder: IsolatedDecoder) -> None:
    assert decoder.picture(b"no image" * 1_000_000) == Rejection.of(Reason.NOT_AN_IMAGE)


def test_an_image_that_kills_its_child_twice_is_rejected_and_the_next_is_read(
    dying: IsolatedDecoder, deaths: Path
) -> None:
    assert dying.picture(b"kills always") == Rejection.of(Reason.DECODER_CRASHED)
    assert deaths.read_text() == "xx"
    assert isinstance(dying.picture(drawn()), np.ndarray)


def test_a_child_killed_once_costs_no_row(dying: IsolatedDecoder, deaths: Path) -> None:
    assert isinstance(dying.picture(drawn()), np.ndarray)
    assert deaths.read_text() == "x"


def test_an_image_that_never_ends_is_rejected_in_time(dying: IsolatedDecoder) -> None:
    assert dying.picture(b"never ends") == Rejection.of(Reason.DECODER_CRASHED)


def test_what_the_pulse_raises_is_no_death_of_the_child(deaths: Path) -> None:
    def pulse() -> None:
        raise FileNotFoundError("an object that somebody has deleted")

    command = (sys.executable, "-c", DYING, str(deaths))
    with (
        IsolatedDecoder(MAX_PIXELS, timeout_seconds=30, command=command, pulse=pulse) as isolated,
        pytest.raises(FileNotFoundError),
    ):
        isolated.picture(b"never ends")


def test_an_image_that_takes_all_memory_is_rejected(dying: IsolatedDecoder) -> None:
    assert dying.picture(b"takes all memory") == Rejection.of(Reason.DECODER_CRASHED)


def test_an_idle_child_that_was_killed_is_replaced(decoder: IsolatedDecoder) -> None:
    assert isinstance(decoder.picture(drawn()), np.ndarray)
    assert decoder._child is not None
    decoder._child.kill()
    assert isinstance(decoder.picture(drawn()), np.ndarray)


def test_nothing_runs_on_after_the_decoder_is_closed() -> None:
    with IsolatedDecoder(MAX_PIXELS) as isolated:
        assert isinstance(isolated.picture(drawn()), np.ndarray)
        process = isolated._child
    assert process is not None
    assert process.returncode is not None


def test_a_child_that_does_not_start_is_a_setup_error() -> None:
    with IsolatedDecoder(MAX_PIXELS, command=("false",)) as isolated, pytest.raises(SetupError, match="does not start"):
        isolated.picture(drawn())


def test_holding_a_decoder_imports_neither_cv2_nor_pillow() -> None:
    program = "import sys, glyphq.vision.isolated; sys.exit(bool({'cv2', 'PIL', 'torch'} & set(sys.modules)))"
    assert subprocess.run((sys.executable, "-c", program), check=False).returncode == 0
