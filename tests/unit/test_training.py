"""Training on tiny files of EMNIST's format: what is read, how an interrupted run goes on, what is shipped.

The step runs as it is written: compiling it takes half a minute and changes nothing that is looked at here.
"""

import gzip
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from glyphq.errors import SetupError
from glyphq.labels import LABELS
from glyphq.vision.checkpoint import load_network
from glyphq.vision.network import Architecture, Network, parameters
from training import export as export_module
from training import train as train_module
from training.data import Pictures, hold_out, load_emnist
from training.export import export, fit_temperature, measure
from training.train import Recipe, Stage, evaluate, read_recipe, train

ROOT = Path(__file__).parents[2]
ARCHITECTURE = Architecture((2, 2, 2), 4)
TINY = Recipe("tiny", ARCHITECTURE, batch_size=8, seed=3, stages=(Stage(2, 0.01), Stage(2, 0.001)))
TINY_TOML = """
channels = [2, 2, 2]
hidden = 4
dropout = 0.5
batch_size = 8
seed = 3
[[stages]]
epochs = 2
learning_rate = 0.01
[[stages]]
epochs = 2
learning_rate = 0.001
"""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As the killed process has; on pictures so few, more threads only get in each other's way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and unpacked data are kept below the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)


@pytest.fixture
def tiny_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of recipes with `tiny` in it."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "tiny.toml").write_text(TINY_TOML)
    monkeypatch.setattr(train_module, "_RECIPES", folder)
    return folder


def idx(values: NDArray[np.uint8]) -> bytes:
    """The format of MNIST's files: two zeros, type, dimensions, their sizes, the bytes."""
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def write_emnist(
    root: Path, pixels: NDArray[np.uint8], classes: NDArray[np.uint8], *, part: str = "train", packed: bool = False
) -> Path:
    """Upright pictures as EMNIST stores them, column by column; answers the folder of the files."""
    raw = root / "EMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for kind, values in (("images-idx3", pixels.transpose(0, 2, 1)), ("labels-idx1", classes)):
        name, content = f"emnist-balanced-{part}-{kind}-ubyte", idx(np.ascontiguousarray(values))
        if packed:
            (raw / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (raw / name).write_bytes(content)
    return raw


def noise(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def in_turn(count: int, classes: int = 47) -> NDArray[np.uint8]:
    return (np.arange(count) % classes).astype(np.uint8)


def pictures(count: int, classes: int = 47, seed: int = 0) -> Pictures:
    return Pictures(torch.from_numpy(noise(count, seed)), torch.from_numpy(in_turn(count, classes)).long())


TRAINING, VALIDATION, TEST = pictures(40, seed=1), pictures(10, seed=2), pictures(20, seed=3)


def weights(network: Network) -> dict[str, list[float]]:
    return {name: tensor.flatten().tolist() for name, tensor in network.state_dict().items()}


def unbroken() -> dict[str, list[float]]:
    return weights(train(TINY, TRAINING, VALIDATION, Path("runs/unbroken")))


class TestData:
    @pytest.mark.parametrize("packed", [False, True])
    def test_pictures_come_out_upright_with_their_classes(self, tmp_path: Path, packed: bool) -> None:
        pixels, classes = noise(5), in_turn(5)
        write_emnist(tmp_path / "root", pixels, classes, packed=packed)
        read = load_emnist(tmp_path / "root", "balanced", train=True)
        assert torch.equal(read.pixels, torch.from_numpy(pixels))
        assert read.pixels.is_contiguous()
        assert read.classes.tolist() == classes.tolist()
        assert (read.pixels.dtype, read.classes.dtype) == (torch.uint8, torch.int64)
        assert len(read) == 5

    def test_training_and_test_part_are_two(self, tmp_path: Path) -> None:
        write_emnist(tmp_path, noise(5), in_turn(5))
        write_emnist(tmp_path, noise(3, seed=1), in_turn(3), part="test", packed=True)
        assert len(load_emnist(tmp_path, "balanced", train=True)) == 5
        assert len(load_emnist(tmp_path, "balanced", train=False)) == 3

    @pytest.mark.parametrize("packed", [False, True])
    def test_nothing_is_written_beside_the_originals(self, tmp_path: Path, packed: bool) -> None:
        raw = write_emnist(tmp_path / "root", noise(5), in_turn(5), packed=packed)
        before = {path.name: path.read_bytes() for path in raw.iterdir()}
        load_emnist(tmp_path / "root", "balanced", train=True)
        assert {path.name: path.read_bytes() for path in raw.iterdir()} == before

    def test_another_root_is_read_anew(self, tmp_path: Path) -> None:
        write_emnist(tmp_path / "one", noise(5), in_turn(5))
        write_emnist(tmp_path / "two", noise(7), in_turn(7))
        assert len(load_emnist(tmp_path / "one", "balanced", train=True)) == 5
        assert len(load_emnist(tmp_path / "two", "balanced", train=True)) == 7

    @pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
    def test_a_missing_file_is_named(self, tmp_path: Path, kind: str) -> None:
        raw = write_emnist(tmp_path, noise(5), in_turn(5))
        (raw / f"emnist-balanced-train-{kind}-ubyte").unlink()
        with pytest.raises(SetupError, match=rf"{kind}-ubyte\.gz is missing. Point --data"):
            load_emnist(tmp_path, "balanced", train=True)

    @pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
    @pytest.mark.parametrize("end", [0, 1, 3, 4, 7, 8, 12, -1])
    def test_a_truncated_file_is_refused(self, tmp_path: Path, kind: str, end: int) -> None:
        raw = write_emnist(tmp_path, noise(5), in_turn(5))
        path = raw / f"emnist-balanced-train-{kind}-ubyte"
        path.write_bytes(path.read_bytes()[:end])
        with pytest.raises(SetupError, match="EMNIST balanced cannot be read"):
            load_emnist(tmp_path, "balanced", train=True)

    @pytest.mark.parametrize("end", [1, 10, 100, -8, -1])
    def test_a_truncated_gzip_is_refused(self, tmp_path: Path, end: int) -> None:
        raw = write_emnist(tmp_path, noise(5), in_turn(5), packed=True)
        path = raw / "emnist-balanced-train-images-idx3-ubyte.gz"
        path.write_bytes(path.read_bytes()[:end])
        with pytest.raises(SetupError, match="cannot be unpacked"):
            load_emnist(tmp_path, "balanced", train=True)

    def test_what_is_no_gzip_is_refused(self, tmp_path: Path) -> None:
        raw = write_emnist(tmp_path, noise(5), in_turn(5), packed=True)
        (raw / "emnist-balanced-train-images-idx3-ubyte.gz").write_bytes(b"<html>not found</html>")
        with pytest.raises(SetupError, match="cannot be unpacked"):
            load_emnist(tmp_path, "balanced", train=True)

    def test_the_real_files_are_read_upright(self, shared_data: Path) -> None:
        test = load_emnist(shared_data / "emnist", "balanced", train=False)
        assert len(test) == 4700
        assert torch.bincount(test.classes).tolist() == [100] * 47
        # A written 7 has its bar above: stored column by column and read by rows, it would lie on its side.
        seven = test.pixels[test.classes == LABELS.index("7")].float().mean(0)
        assert seven[:14].sum() > 1.2 * seven[14:].sum()


class TestHoldOut:
    def test_nothing_is_in_both_and_nothing_is_lost(self) -> None:
        everything = Pictures(torch.arange(500), torch.arange(500) % 7)
        rest, held = hold_out(everything, 10, seed=1)
        assert sorted([*rest.pixels.tolist(), *held.pixels.tolist()]) == list(range(500))
        assert torch.equal(rest.classes, rest.pixels % 7)
        assert torch.equal(held.classes, held.pixels % 7)

    def test_of_each_class_so_many_are_held(self) -> None:
        _, held = hold_out(Pictures(torch.arange(500), torch.arange(500) % 7), 10, seed=1)
        assert torch.bincount(held.classes).tolist() == [10] * 7

    def test_a_class_with_fewer_is_held_whole(self) -> None:
        classes = torch.tensor([0] * 20 + [1] * 3)
        rest, held = hold_out(Pictures(torch.arange(23), classes), 5, seed=1)
        assert torch.bincount(held.classes).tolist() == [5, 3]
        assert set(rest.classes.tolist()) == {0}

    def test_the_seed_alone_decides(self) -> None:
        everything = Pictures(torch.arange(500), torch.arange(500) % 7)
        torch.manual_seed(1)
        first = hold_out(everything, 10, seed=1)[1].pixels
        torch.manual_seed(2)
        assert torch.equal(hold_out(everything, 10, seed=1)[1].pixels, first)
        assert not torch.equal(hold_out(everything, 10, seed=2)[1].pixels, first)


class TestRecipe:
    def test_the_published_one_has_three_stages(self) -> None:
        published = read_recipe("published")
        assert published.stages == (Stage(30, 0.001), Stage(20, 0.0005), Stage(20, 0.0001))
        assert published.learning_rates == [0.001] * 30 + [0.0005] * 20 + [0.0001] * 20

    @pytest.mark.parametrize("path", sorted((ROOT / "training/recipes").glob("*.toml")), ids=lambda path: path.stem)
    def test_every_one_can_be_built(self, path: Path) -> None:
        recipe = read_recipe(path.stem)
        assert recipe.name == path.stem
        assert parameters(Network(recipe.architecture)) > 0

    def test_an_unknown_name_is_answered_with_the_known_ones(self) -> None:
        with pytest.raises(SetupError, match=r"no recipe 'famous'; there are: .*published"):
            read_recipe("famous")


class TestEvaluate:
    def test_it_says_accuracy_and_mean_loss(self) -> None:
        class Certain(nn.Module):
            """Sure of the class that the first pixel names."""

            def forward(self, pixels: Tensor) -> Tensor:
                return nn.functional.one_hot(pixels[:, 0, 0].long(), 47).float() * 100

        seen = pictures(8)
        seen.pixels[:, 0, 0] = seen.classes.to(torch.uint8)
        seen.pixels[:2, 0, 0] = 46
        accuracy, loss = evaluate(Certain(), seen)
        assert accuracy == 0.75
        assert loss == pytest.approx(25)


@pytest.mark.usefixtures("uncompiled")
class TestTrain:
    def test_the_same_recipe_gives_the_same_weights(self) -> None:
        first = unbroken()
        torch.manual_seed(99)
        again = train(TINY, TRAINING, VALIDATION, Path("runs/again"))
        assert weights(again) == first
        assert not again.training

    def test_training_changes_every_weight(self) -> None:
        torch.manual_seed(TINY.seed)
        before = weights(Network(ARCHITECTURE))
        after = unbroken()
        assert [name for name in before if after[name] == before[name]] == []

    @pytest.mark.parametrize("epochs", [1, 2, 3])
    def test_interrupted_between_epochs_it_goes_on_as_if_it_had_not_been(
        self, epochs: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save = train_module._save

        def interrupted(path: Path, recipe: Recipe, network: Network, optimizer: Any, done: int, loss: float) -> None:
            save(path, recipe, network, optimizer, done, loss)
            if done == epochs:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(train_module, "_save", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train(TINY, TRAINING, VALIDATION, Path("runs/tiny"))
        assert weights(train(TINY, TRAINING, VALIDATION, Path("runs/tiny"))) == unbroken()

    def test_interrupted_within_an_epoch_it_does_that_epoch_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(network: nn.Module, seen: Pictures) -> tuple[float, float]:
            if Path("runs/tiny/checkpoint.pt").exists():
                raise KeyboardInterrupt
            return evaluate(network, seen)

        with monkeypatch.context() as patched:
            patched.setattr(train_module, "evaluate", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train(TINY, TRAINING, VALIDATION, Path("runs/tiny"))
        assert weights(train(TINY, TRAINING, VALIDATION, Path("runs/tiny"))) == unbroken()

    def test_killed_it_goes_on_as_if_it_had_not_been(self, tiny_recipe: Path, tmp_path: Path) -> None:
        root = tmp_path / "root"
        write_emnist(root, noise(200), in_turn(200, 2), packed=True)
        script = (
            "import torch; from pathlib import Path; from training import train; "
            f"torch.compile = lambda function: function; train._RECIPES = Path({str(tiny_recipe)!r}); "
            f"train.main('tiny', Path({str(root)!r}))"
        )
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", script]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert any(line.startswith("epoch 2/4") for line in process.stdout)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert Path("runs/tiny/checkpoint.pt").exists()
        train_module.main("tiny", root)
        saved = torch.load("runs/tiny/checkpoint.pt", weights_only=True)
        assert saved["epochs"] == 4
        training, validation = hold_out(load_emnist(root, "balanced", train=True), seed=TINY.seed)
        whole = train(TINY, training, validation, Path("runs/unbroken"))
        assert {name: tensor.flatten().tolist() for name, tensor in saved["network"].items()} == weights(whole)

    def test_a_checkpoint_half_written_does_not_count(self) -> None:
        Path("runs/tiny").mkdir(parents=True)
        Path("runs/tiny/checkpoint.tmp").write_bytes(b"half")
        assert weights(train(TINY, TRAINING, VALIDATION, Path("runs/tiny"))) == unbroken()

    def test_a_finished_run_is_left_as_it_is(self) -> None:
        first = unbroken()
        log = Path("runs/unbroken/log.txt").read_text()
        assert unbroken() == first
        assert Path("runs/unbroken/log.txt").read_text() == log

    def test_every_epoch_has_a_line(self) -> None:
        unbroken()
        lines = Path("runs/unbroken/log.txt").read_text().splitlines()
        assert [line.split("  ")[0] for line in lines] == [f"epoch {epoch}/4" for epoch in (1, 2, 3, 4)]
        assert [line.split("  ")[1] for line in lines] == ["rate 0.01"] * 2 + ["rate 0.001"] * 2

    def test_a_run_of_another_recipe_is_not_continued(self) -> None:
        unbroken()
        other = Recipe("tiny", ARCHITECTURE, batch_size=4, seed=3, stages=TINY.stages)
        with pytest.raises(SetupError, match="is of another recipe"):
            train(other, TRAINING, VALIDATION, Path("runs/unbroken"))

    def test_the_command_says_what_is_wrong_and_exits_1(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit, match="1"):
            train_module.main("published", tmp_path / "nowhere")
        assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.usefixtures("uncompiled")
class TestExport:
    @pytest.fixture
    def run(self) -> Path:
        folder = Path("runs/tiny")
        train(TINY, TRAINING, VALIDATION, folder)
        return folder

    def test_a_finished_run_becomes_a_model_that_can_be_loaded(self, run: Path) -> None:
        fields = export(TINY, run, TRAINING, VALIDATION, TEST, Path("model"))
        network, card = load_network(Path("model"))
        assert card.fields == fields
        trained = torch.load(run / "checkpoint.pt", weights_only=True)["network"]
        assert {name: tensor.flatten().tolist() for name, tensor in trained.items()} == weights(network)

    def test_the_card_says_how_it_was_made_and_measured(self, run: Path) -> None:
        fields = export(TINY, run, TRAINING, VALIDATION, TEST, Path("model"))
        network, card = load_network(Path("model"))
        assert fields["recipe"] == TINY.as_dict()
        assert fields["parameters"] == parameters(network)
        assert (fields["data"]["trained_on"], fields["data"]["held_out"]) == (40, 10)
        assert fields["measured"]["emnist-balanced-test"]["images"] == len(TEST)
        assert fields["measured"]["emnist-balanced-test"]["accuracy"] == round(evaluate(network, TEST)[0], 4)
        assert fields["measured"]["held_out"]["loss"] == round(evaluate(network, VALIDATION)[1], 4)
        assert fields["classes"] == LABELS
        assert card.temperature > 0

    def test_without_a_run_it_says_to_train_first(self) -> None:
        with pytest.raises(SetupError, match="Train first"):
            export(TINY, Path("runs/none"), TRAINING, VALIDATION, TEST, Path("model"))
        assert not Path("model").exists()

    def test_an_unfinished_run_is_refused(self, run: Path) -> None:
        saved = torch.load(run / "checkpoint.pt", weights_only=True)
        torch.save({**saved, "epochs": 3}, run / "checkpoint.pt")
        with pytest.raises(SetupError, match=r"not a finished run of recipe tiny \(3 of 4 epochs\)"):
            export(TINY, run, TRAINING, VALIDATION, TEST, Path("model"))
        assert not Path("model").exists()

    def test_a_run_of_another_recipe_is_refused(self, run: Path) -> None:
        other = Recipe("tiny", ARCHITECTURE, batch_size=4, seed=3, stages=TINY.stages)
        with pytest.raises(SetupError, match="not a finished run"):
            export(other, run, TRAINING, VALIDATION, TEST, Path("model"))

    @pytest.mark.usefixtures("tiny_recipe")
    def test_the_commands_lead_from_files_to_a_model(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_emnist(tmp_path, noise(200), in_turn(200, 2))
        write_emnist(tmp_path, noise(20, seed=1), in_turn(20, 2), part="test")
        train_module.main("tiny", tmp_path)
        export_module.main("tiny", tmp_path, Path("model"))
        said = capsys.readouterr().out
        assert said.startswith("100 images to train on, 100 held out; ")
        assert f"written to model: {load_network(Path('model'))[1].digest}" in said

    def test_the_command_says_what_is_wrong_and_exits_1(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit, match="1"):
            export_module.main("famous", tmp_path)
        assert capsys.readouterr().err.startswith("error: There is no recipe 'famous'")


class TestCalibration:
    LOGITS = torch.randn(2000, 47, generator=torch.Generator().manual_seed(1)) * 2
    CLASSES = torch.multinomial(LOGITS.softmax(1), 1, generator=torch.Generator().manual_seed(2)).flatten()

    def test_honest_logits_need_no_temperature(self) -> None:
        assert fit_temperature(self.LOGITS, self.CLASSES) == pytest.approx(1, abs=0.05)

    @pytest.mark.parametrize("factor", [0.5, 3.0])
    def test_it_undoes_what_scaled_the_logits(self, factor: float) -> None:
        honest = fit_temperature(self.LOGITS, self.CLASSES)
        assert fit_temperature(self.LOGITS * factor, self.CLASSES) == pytest.approx(factor * honest, rel=1e-3)

    def test_an_accuracy_comes_with_its_wilson_interval(self) -> None:
        classes = torch.zeros(100, dtype=torch.int64)
        logits = torch.zeros(100, 47)
        logits[:90, 0] = logits[90:, 1] = 10
        measured = measure(logits, classes)
        # Newcombe 1998, table I, method 3, gives 0.8256 to 0.9448 for 90 of 100.
        assert measured == {"images": 100, "accuracy": 0.9, "interval_95": [0.8256, 0.9448], "loss": measured["loss"]}
