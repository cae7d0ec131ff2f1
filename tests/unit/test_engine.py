import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from glyphq.errors import ModelError
from glyphq.labels import LABELS, charset_classes
from glyphq.vision import engine as engine_module
from glyphq.vision.checkpoint import save_network
from glyphq.vision.engine import BATCH, Engine, Logits, Pictures, answers, open_engine
from glyphq.vision.network import Architecture, Network

ALL = charset_classes("all")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with random weights, stored."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(7)
    architecture = {"channels": [32, 64, 128], "hidden": 256, "dropout": 0.5}
    network = Network(Architecture((32, 64, 128), 256, 0.5))
    save_network(folder, network, {"architecture": architecture, "temperature": 1.0})
    return folder


@pytest.fixture(scope="module", params=["torch", "openvino"])
def engine(request: pytest.FixtureRequest, model: Path) -> Engine:
    return open_engine(request.param, model)


def noise(count: int, seed: int = 0) -> Pictures:
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


class Fixed:
    """An engine whose logits are given."""

    name = "fixed"

    def __init__(self, *rows: dict[int, float]) -> None:
        self.rows = np.zeros((len(rows), len(LABELS)), np.float32)
        for row, values in zip(self.rows, rows, strict=True):
            for label, value in values.items():
                row[label] = value

    def logits(self, pictures: Pictures) -> Logits:
        return self.rows[: len(pictures)]


def test_an_engine_names_its_library_version_and_precision(engine: Engine) -> None:
    library, version, precision, device = engine.name.split()
    assert library in ("torch", "openvino")
    assert version[0].isdigit()
    assert precision in ("f32", "bf16", "f16")
    assert device == "cpu"


@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH + 1])
def test_any_number_of_pictures_gives_a_row_each(engine: Engine, count: int) -> None:
    logits = engine.logits(noise(count))
    assert logits.shape == (count, len(LABELS))
    assert logits.dtype == np.float32


def test_neither_place_in_the_batch_nor_neighbours_change_a_bit_of_the_logits(engine: Engine) -> None:
    pictures = noise(BATCH + 30)
    together = engine.logits(pictures)
    shuffled = np.random.default_rng(1).permutation(len(pictures))
    assert np.array_equal(engine.logits(pictures[shuffled]), together[shuffled])
    for row in (0, 5, BATCH - 1, BATCH, BATCH + 29):
        assert np.array_equal(engine.logits(pictures[row : row + 1])[0], together[row])


def test_a_shape_that_gives_other_bits_is_not_used() -> None:
    def exact(batch: Pictures) -> Logits:
        return batch.reshape(len(batch), -1)[:, : len(LABELS)].astype(np.float32)

    kept = engine_module._same_to_the_bit({1: lambda batch: np.nextafter(exact(batch), 999), 8: exact, BATCH: exact})
    assert list(kept) == [8, BATCH]


def test_earlier_logits_are_not_overwritten_by_the_next_call(engine: Engine) -> None:
    first = engine.logits(noise(3))
    kept = first.copy()
    engine.logits(noise(3, seed=9))
    assert np.array_equal(first, kept)


def test_pictures_need_not_be_contiguous(engine: Engine) -> None:
    pictures = noise(6)
    assert np.array_equal(engine.logits(pictures[::2]), engine.logits(pictures[::2].copy()))


def test_openvino_agrees_with_torch(model: Path) -> None:
    pictures = noise(BATCH)
    by_torch, by_openvino = (open_engine(choice, model).logits(pictures) for choice in ("torch", "openvino"))
    assert np.abs(by_torch - by_openvino).max() < 0.02 * np.abs(by_torch).max()  # bf16 has 8 bits of mantissa


def test_auto_takes_openvino_where_it_is_installed(model: Path) -> None:
    assert open_engine("auto", model).name.startswith("openvino")


def test_a_folder_without_a_model_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model card"):
        open_engine("torch", tmp_path)


@pytest.mark.parametrize("choice", ["torch", "openvino"])
def test_an_engine_opens_after_a_fork_and_leaves_the_home_directory_alone(
    choice: str, model: Path, tmp_path: Path
) -> None:
    program = (
        "import os, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from glyphq.vision.engine import open_engine\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    engine = open_engine(sys.argv[1], Path(sys.argv[2]))\n"
        "    os._exit(0 if engine.logits(np.zeros((2, 28, 28), np.uint8)).shape == (2, 47) else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", program, choice, str(model)]
    done = subprocess.run(command, env=environment, timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_confidences_fall_and_are_the_softmax_at_the_temperature() -> None:
    classes, confidences = answers(Fixed({3: 2.0, 10: 4.0}).logits(noise(1)), 2.0, ALL, 3)
    weights = np.exp(np.array([2.0, 1.0, 0.0]))
    assert classes.tolist() == [[10, 3, 0]]
    assert classes.dtype == np.uint8
    assert confidences.dtype == np.float32
    assert confidences[0] == pytest.approx(weights / (weights[:2].sum() + len(LABELS) - 2))


def test_a_charset_masks_the_other_classes_before_the_softmax() -> None:
    classes, confidences = answers(Fixed({3: 2.0, 10: 9.0}).logits(noise(1)), 1.0, charset_classes("digits"), 10)
    assert classes[0, 0] == 3
    assert set(classes[0]) == set(range(10))
    assert confidences.sum() == pytest.approx(1.0)


def test_of_equal_logits_the_lower_class_comes_first() -> None:
    classes, _ = answers(Fixed({40: 1.0, 7: 1.0, 23: 1.0}, {}).logits(noise(2)), 1.0, ALL, 5)
    assert classes.tolist() == [[7, 23, 40, 0, 1], [0, 1, 2, 3, 4]]


def test_a_charset_of_two_has_two_answers_that_share_all_confidence() -> None:
    classes, confidences = answers(Fixed({5: 1.0}).logits(noise(1)), 1.0, (2, 5), 2)
    assert classes.tolist() == [[5, 2]]
    assert confidences.sum() == pytest.approx(1.0)


def test_huge_logits_do_not_overflow() -> None:
    classes, confidences = answers(Fixed({5: 1e6}).logits(noise(1)), 0.5, ALL, 1)
    assert classes.tolist() == [[5]]
    assert confidences.tolist() == [[1.0]]


def test_a_model_that_computes_no_numbers_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="NaN"):
        answers(Fixed({5: float("nan")}).logits(noise(1)), 1.0, ALL, 1)


SIGNALLED_AFTERWARDS = """
import gc, os, signal, sys
from pathlib import Path
from glyphq.vision.engine import open_engine

engines = [open_engine("openvino", Path(sys.argv[1])) for _ in range(2)]
engines.reverse()
while engines:
    engines.pop()
    gc.collect()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_process_that_closed_two_openvino_engines_still_handles_signals(model: Path) -> None:
    command = [sys.executable, "-c", SIGNALLED_AFTERWARDS, str(model)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=100, check=False)
    assert (ended.returncode, ended.stdout) == (0, "handled\n")


def test_no_pictures_give_no_rows() -> None:
    classes, confidences = answers(Fixed().logits(noise(0)), 1.0, ALL, 3)
    assert classes.shape == confidences.shape == (0, 3)
