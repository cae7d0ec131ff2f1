"""Training on tiny files of EMNIST's format: what is read, what a recipe says, how an interrupted run goes on.

The step runs as it is written: compiling it takes half a minute and changes nothing that is looked at here.
"""

import gzip
import io
import math
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typer.testing import CliRunner

from glyphq.errors import SetupError
from glyphq.labels import LABELS
from glyphq.vision.network import Architecture, Network, parameters
from training import recipes as recipes_module
from training import train as train_module
from training.augment import Augmentation
from training.data import Pictures, Split, hold_out, load_emnist
from training.recipes import Recipe, Stage, read_recipe
from training.train import CHECKPOINT, LossOf, Run, batches, evaluate, loss_function, train

ROOT = Path(__file__).parents[2]
PLAIN = Recipe(
    name="plain",
    split="balanced",
    architecture=Architecture((2, 2, 2), 4),
    batch_size=8,
    seed=3,
    stages=(Stage(2, 0.01, 0.01), Stage(2, 0.001, 0.001)),
)
FULL = Recipe(
    name="full",
    split="bymerge",
    architecture=Architecture((2, 2, 2), 4, dropout=0.25),
    batch_size=8,
    seed=3,
    stages=(Stage(2, 0.01, 0.02), Stage(2, 0.02, 0.0, augmentation=0.4)),
    class_balanced=True,
    images_per_epoch=45,
    weight_decay=0.05,
    label_smoothing=0.1,
    averaging=0.9,
    augmentation=Augmentation(rotation=10, shear=0.2, scale=0.15, shift=1.5, elastic=1.2, pen_width=0.4, blur=0.8),
)
STEPS = 5  # an epoch, of both
BOTH = pytest.mark.parametrize("recipe", [PLAIN, FULL], ids=["plain", "full"])
PLAIN_TOML = """
split = "balanced"
batch_size = 8
seed = 3
[architecture]
channels = [2, 2, 2]
hidden = 4
dropout = 0.5
[[stages]]
epochs = 2
learning_rate = 0.01
[[stages]]
epochs = 2
learning_rate = 0.001
"""
FULL_TOML = """
split = "bymerge"
batch_size = 8
seed = 3
class_balanced = true
images_per_epoch = 45
weight_decay = 0.05
label_smoothing = 0.1
averaging = 0.9
[architecture]
channels = [2, 2, 2]
hidden = 4
dropout = 0.25
[augmentation]
rotation = 10
shear = 0.2
scale = 0.15
shift = 1.5
elastic = 1.2
pen_width = 0.4
blur = 0.8
[[stages]]
epochs = 2
learning_rate = 0.01
final_learning_rate = 0.02
[[stages]]
epochs = 2
learning_rate = 0.02
final_learning_rate = 0.0
augmentation = 0.4
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
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of recipes, with `plain` and `full` in it."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "plain.toml").write_text(PLAIN_TOML)
    (folder / "full.toml").write_text(FULL_TOML)
    monkeypatch.setattr(recipes_module, "FOLDER", folder)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Files of the split that `full` names, and of no other."""
    write_emnist(tmp_path / "root", noise(140), in_turn(140, 2), split="bymerge", packed=True)
    return tmp_path / "root"


def idx(values: NDArray[Any], kind: int = 8) -> bytes:
    """The format of MNIST's files: two zeros, type (8 is bytes), dimensions, their sizes, the values."""
    return struct.pack(f">HBB{values.ndim}I", 0, kind, values.ndim, *values.shape) + values.tobytes()


def write_emnist(
    root: Path,
    pixels: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    *,
    split: Split = "balanced",
    part: str = "train",
    packed: bool = False,
) -> Path:
    """Upright pictures as EMNIST stores them, column by column; answers the folder of the files."""
    raw = root / "EMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for kind, values in (("images-idx3", pixels.transpose(0, 2, 1)), ("labels-idx1", classes)):
        name, content = f"emnist-{split}-{part}-{kind}-ubyte", idx(np.ascontiguousarray(values))
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


TRAINING, VALIDATION = pictures(44, seed=1), pictures(10, seed=2)


def sentence(caught: pytest.ExceptionInfo[SetupError]) -> str:
    """What the person at the terminal reads: one line, with something said wherever something is announced."""
    said = caught.value.detail
    assert "\n" not in said
    assert " ()" not in said
    assert not said.rstrip().endswith(":")
    assert len(said) < 400
    return said


def numbers(value: Any) -> Any:
    """Tensors as lists, which compare bit for bit."""
    if isinstance(value, Tensor):
        return value.flatten().tolist()
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    return [numbers(item) for item in value] if isinstance(value, list) else value


def weights(network: Network) -> dict[str, list[float]]:
    return {name: numbers(tensor) for name, tensor in network.state_dict().items()}


def saved(folder: Path) -> dict[str, Any]:
    """All that the checkpoint keeps, but for the one number that is of the machine."""
    state: dict[str, Any] = torch.load(folder / CHECKPOINT, weights_only=True)
    for epoch in state["history"]:
        del epoch["images_per_second"]
    return {name: numbers(value) for name, value in state.items()}


def unbroken(recipe: Recipe) -> dict[str, Any]:
    train(recipe, TRAINING, VALIDATION, Path("runs/unbroken"))
    return saved(Path("runs/unbroken"))


def epochs_logged(folder: Path) -> list[str]:
    lines = (folder / "log.txt").read_text().splitlines()
    assert all(line.count("epoch") == 1 and line.endswith("images/s") for line in lines)
    return [line.split("  ")[0] for line in lines]


def after_step(number: int, act: Callable[[], object], patched: pytest.MonkeyPatch) -> None:
    take_step = Run.take_step

    def acting(run: Run, *given: Any) -> None:
        take_step(run, *given)
        if run.step == number:
            act()

    patched.setattr(Run, "take_step", acting)


def control_c() -> None:
    signal.raise_signal(signal.SIGINT)


class TestData:
    @pytest.mark.parametrize("split", ["balanced", "bymerge"])
    @pytest.mark.parametrize("packed", [False, True])
    def test_pictures_come_out_upright_with_their_classes(self, tmp_path: Path, split: Split, packed: bool) -> None:
        pixels, classes = noise(50), in_turn(50)
        write_emnist(tmp_path / "root", pixels, classes, split=split, packed=packed)
        read = load_emnist(tmp_path / "root", split, train=True)
        assert torch.equal(read.pixels, torch.from_numpy(pixels))
        assert read.pixels.is_contiguous()
        assert read.classes.tolist() == classes.tolist()
        assert (read.pixels.dtype, read.classes.dtype) == (torch.uint8, torch.int64)
        assert len(read) == 50

    def test_splits_and_parts_are_told_apart(self, tmp_path: Path) -> None:
        write_emnist(tmp_path, noise(5), in_turn(5))
        write_emnist(tmp_path, noise(3, seed=1), in_turn(3), part="test", packed=True)
        write_emnist(tmp_path, noise(4, seed=2), in_turn(4), split="bymerge")
        assert len(load_emnist(tmp_path, "balanced", train=True)) == 5
        assert len(load_emnist(tmp_path, "balanced", train=False)) == 3
        assert len(load_emnist(tmp_path, "bymerge", train=True)) == 4

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

    def test_what_was_downloaded_is_not_downloaded_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._without_network(monkeypatch)
        write_emnist(Path("runs/data/official"), noise(5), in_turn(5))
        assert len(load_emnist(None, "balanced", train=True)) == 5

    def test_without_a_network_it_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._without_network(monkeypatch)
        with pytest.raises(SetupError, match="no such host") as caught:
            load_emnist(None, "balanced", train=True)
        assert "truncated" not in sentence(caught)

    @staticmethod
    def _without_network(monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*_: object, **__: object) -> None:
            raise URLError("no such host")

        monkeypatch.setattr("urllib.request.urlopen", refused)

    @pytest.mark.parametrize("split", ["balanced", "bymerge"])
    @pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
    def test_a_missing_file_is_named(self, tmp_path: Path, split: Split, kind: str) -> None:
        raw = write_emnist(tmp_path, noise(5), in_turn(5), split=split)
        (raw / f"emnist-{split}-train-{kind}-ubyte").unlink()
        with pytest.raises(SetupError, match="is missing") as caught:
            load_emnist(tmp_path, split, train=True)
        assert f"emnist-{split}-train-{kind}-ubyte.gz is missing. Point --data at" in sentence(caught)

    @pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
    @pytest.mark.parametrize("end", [0, 1, 3, 4, 7, 8, 12, -1])
    def test_a_truncated_file_is_refused(self, tmp_path: Path, kind: str, end: int) -> None:
        raw = write_emnist(tmp_path, noise(5), in_turn(5))
        path = raw / f"emnist-balanced-train-{kind}-ubyte"
        path.write_bytes(path.read_bytes()[:end])
        with pytest.raises(SetupError, match="EMNIST balanced cannot be read") as caught:
            load_emnist(tmp_path, "balanced", train=True)
        sentence(caught)

    @pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
    @pytest.mark.parametrize(
        "content",
        [
            b"<html>not found</html>",
            bytes(100),
            idx(noise(5)) + b"more",
            idx(np.zeros((5, 28, 28), np.float32), 13),
            idx(np.zeros(5, np.int16), 11),
            idx(noise(5), 10),
            idx(noise(5)[:, 0]),
        ],
        ids=["html", "zeros", "longer", "floats", "shorts", "unknown type", "two dimensions"],
    )
    def test_what_is_not_of_the_format_is_refused(self, tmp_path: Path, kind: str, content: bytes) -> None:
        raw = write_emnist(tmp_path, noise(5), in_turn(5))
        (raw / f"emnist-balanced-train-{kind}-ubyte").write_bytes(content)
        with pytest.raises(SetupError, match="EMNIST balanced cannot be read") as caught:
            load_emnist(tmp_path, "balanced", train=True)
        sentence(caught)

    @pytest.mark.parametrize("end", [0, 1, 10, 100, -8, -1])
    def test_a_truncated_gzip_is_refused(self, tmp_path: Path, end: int) -> None:
        raw = write_emnist(tmp_path, noise(5), in_turn(5), packed=True)
        path = raw / "emnist-balanced-train-images-idx3-ubyte.gz"
        path.write_bytes(path.read_bytes()[:end])
        # An empty gzip unpacks to nothing, and nothing is no EMNIST.
        with pytest.raises(SetupError, match="cannot be unpacked" if end else "cannot be read") as caught:
            load_emnist(tmp_path, "balanced", train=True)
        sentence(caught)

    def test_what_is_no_gzip_is_refused(self, tmp_path: Path) -> None:
        raw = write_emnist(tmp_path, noise(5), in_turn(5), packed=True)
        (raw / "emnist-balanced-train-images-idx3-ubyte.gz").write_bytes(b"<html>not found</html>")
        with pytest.raises(SetupError, match="cannot be unpacked") as caught:
            load_emnist(tmp_path, "balanced", train=True)
        sentence(caught)

    @pytest.mark.parametrize("labels", [4, 6])
    def test_images_and_labels_of_two_parts_are_refused(self, tmp_path: Path, labels: int) -> None:
        write_emnist(tmp_path, noise(5), in_turn(labels))
        with pytest.raises(SetupError, match=f"balanced has 5 images and {labels} labels; they are of two") as caught:
            load_emnist(tmp_path, "balanced", train=True)
        sentence(caught)

    @pytest.mark.parametrize("classes", [48, 62])
    def test_files_of_another_split_under_this_name_are_refused(self, tmp_path: Path, classes: int) -> None:
        write_emnist(tmp_path, noise(62), in_turn(62, classes), split="bymerge")
        said = f"bymerge has labels up to {classes - 1}, but 47 classes: these are the files of another split"
        with pytest.raises(SetupError, match=said) as caught:
            load_emnist(tmp_path, "bymerge", train=True)
        sentence(caught)

    @pytest.mark.parametrize("size", [(32, 32), (28, 27)])
    def test_images_of_another_size_are_refused(self, tmp_path: Path, size: tuple[int, int]) -> None:
        write_emnist(tmp_path, np.zeros((5, *size), np.uint8), in_turn(5))
        with pytest.raises(SetupError, match=r"has images of \(\d+, \d+\) pixels, not 28x28") as caught:
            load_emnist(tmp_path, "balanced", train=True)
        sentence(caught)

    def test_the_real_test_set_is_read_upright(self, shared_data: Path) -> None:
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
    def test_the_published_one_is_as_published(self) -> None:
        assert read_recipe("published") == Recipe(
            name="published",
            split="balanced",
            architecture=Architecture(channels=(32, 64, 128), hidden=256, dropout=0.5),
            batch_size=64,
            seed=1,
            stages=(Stage(30, 0.001, 0.001), Stage(20, 0.0005, 0.0005), Stage(20, 0.0001, 0.0001)),
            class_balanced=False,
            images_per_epoch=0,
            weight_decay=0,
            label_smoothing=0,
            averaging=0,
            augmentation=Augmentation(0, 0, 0, 0, 0, 0, 0),
        )

    @pytest.mark.parametrize("path", sorted((ROOT / "training/recipes").glob("*.toml")), ids=lambda path: path.stem)
    def test_every_one_can_be_built(self, path: Path) -> None:
        recipe = read_recipe(path.stem)
        assert recipe.name == path.stem
        assert parameters(Network(recipe.architecture)) > 0
        assert recipe.epochs > 0
        assert recipe.learning_rate(0) > 0

    @pytest.mark.usefixtures("recipes")
    def test_what_a_file_says_is_read_and_what_it_leaves_out_is_not_done(self) -> None:
        assert read_recipe("plain") == PLAIN
        assert read_recipe("full") == FULL

    def test_a_rate_without_a_final_one_is_constant(self) -> None:
        assert PLAIN.epochs == 4
        assert [PLAIN.learning_rate(done) for done in (0, 1, 1.999, 2, 3.5, 3.999)] == [0.01] * 3 + [0.001] * 3

    def test_a_rate_with_a_final_one_goes_there_along_half_a_cosine(self) -> None:
        recipe = replace(PLAIN, stages=(Stage(4, 0.1, 0.3), Stage(8, 0.3, 0.0)))
        rates = [recipe.learning_rate(done) for done in range(12)]
        rising = [0.2 - 0.1 * math.cos(math.pi * done / 4) for done in range(4)]
        falling = [0.15 + 0.15 * math.cos(math.pi * done / 8) for done in range(8)]
        assert rates == pytest.approx(rising + falling)
        assert rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)

    def test_at_its_end_the_rate_is_the_final_one(self) -> None:
        assert FULL.learning_rate(4) == 0.0
        assert FULL.learning_rate(3.9999) == pytest.approx(0, abs=1e-6)
        assert FULL.learning_rate(1.9999) == pytest.approx(0.02, abs=1e-6)
        assert PLAIN.learning_rate(4) == 0.001

    def test_a_stage_can_go_less_far_with_the_augmentation(self) -> None:
        assert [FULL.stage(done)[0].augmentation for done in (0, 1.999, 2, 3.999, 4)] == [1, 1, 0.4, 0.4, 0.4]
        assert [FULL.stage(done)[1] for done in (0, 0.5, 1, 2, 3, 4)] == [0, 0.25, 0.5, 0, 0.5, 1]

    def test_an_unknown_name_is_answered_with_the_known_ones(self) -> None:
        with pytest.raises(SetupError, match=r"no recipe 'famous'; there are: best, .*published") as caught:
            read_recipe("famous")
        sentence(caught)

    @pytest.mark.parametrize(
        ("before", "after", "reason"),
        [
            ("seed = 3", "seed = 3\nmomentum = 0.9", "'momentum'"),
            ("hidden = 4", "hidden = 4\nlayers = 9", "'layers'"),
            ("epochs = 2", "epochs = 2\nwarmup = 1", "'warmup'"),
            ("[[stages]]", "[augmentation]\nflip = 1\n[[stages]]", "'flip'"),
            ('split = "balanced"', 'split = "letters"', "'letters', not one of balanced, bymerge"),
            ('split = "balanced"', "", "'split'"),
            ("batch_size = 8", "", "'batch_size'"),
            ("channels = [2, 2, 2]", "", "'channels'"),
            ("learning_rate = 0.01", "", "'learning_rate'"),
            ("seed = 3", "seed = ", "line 4"),
            ("[[stages]]", "[[stages", "line"),
            (PLAIN_TOML, "", "'architecture'"),
            ("seed = 3", 'seed = 3\nname = "another"', "'name'"),
        ],
    )
    def test_a_file_that_is_no_recipe_is_named_with_the_reason(
        self, recipes: Path, before: str, after: str, reason: str
    ) -> None:
        path = recipes / "plain.toml"
        path.write_text(PLAIN_TOML.replace(before, after, 1))
        with pytest.raises(SetupError) as caught:
            read_recipe("plain")
        said = sentence(caught)
        assert said.startswith(f"{path} is no recipe (")
        assert reason in said.removeprefix(str(path))

    def test_a_file_that_is_no_text_is_no_recipe(self, recipes: Path) -> None:
        (recipes / "plain.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(SetupError, match="is no recipe") as caught:
            read_recipe("plain")
        sentence(caught)


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

    def test_the_network_is_not_changed_by_it(self) -> None:
        network = Network(PLAIN.architecture)
        before = weights(network)
        evaluate(network.train(), VALIDATION)
        assert weights(network) == before


@pytest.mark.usefixtures("uncompiled")
class TestStep:
    @pytest.mark.parametrize("weight_decay", [0, 0.05])
    def test_without_weight_decay_it_is_adam(self, weight_decay: float) -> None:
        run = Run(replace(PLAIN, weight_decay=weight_decay), torch.device("cpu"), STEPS)
        reference = deepcopy(run.network)
        kind = torch.optim.AdamW(reference.parameters(), weight_decay=weight_decay)
        optimizer = kind if weight_decay else torch.optim.Adam(reference.parameters())

        def loss_of(network: nn.Module, pixels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
            return nn.functional.cross_entropy(network.eval()(pixels), classes), torch.tensor(0.0)

        for _ in range(3):
            run.take_step(lambda pixels, classes: loss_of(run.network, pixels, classes), TRAINING)
            optimizer.param_groups[0]["lr"] = 0.01
            optimizer.zero_grad()
            loss_of(reference, TRAINING.pixels, TRAINING.classes)[0].backward()
            optimizer.step()
        for ours, theirs in zip(run.network.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)

    def test_the_rate_is_the_recipes_at_every_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rates = []
        take_step = Run.take_step

        def noted(run: Run, *given: Any) -> None:
            take_step(run, *given)
            rates.append(run.optimizer.param_groups[0]["lr"])

        monkeypatch.setattr(Run, "take_step", noted)
        history = unbroken(FULL)["history"]
        assert rates == [FULL.learning_rate(step / STEPS) for step in range(4 * STEPS)]
        assert [epoch["learning_rate"] for epoch in history] == rates[STEPS - 1 :: STEPS]

    @pytest.mark.parametrize(("step", "strength"), [(0, 1), (2 * STEPS - 1, 1), (2 * STEPS, 0.4), (4 * STEPS - 1, 0.4)])
    def test_the_network_is_fed_augmented_pictures_and_its_labels_are_smoothed(
        self, step: int, strength: float
    ) -> None:
        class Noted(nn.Module):
            logits = torch.randn(44, 47, generator=torch.Generator().manual_seed(1))

            def forward(self, fed: Tensor) -> Tensor:
                assert self.training
                self.fed = fed
                return self.logits

        run = Run(FULL, torch.device("cpu"), STEPS)
        noted = Noted().eval()
        run.network = noted  # type: ignore[assignment]
        run.step = step
        torch.manual_seed(1)
        loss, right = loss_function(run)(TRAINING.pixels, TRAINING.classes)
        torch.manual_seed(1)
        assert torch.equal(noted.fed, FULL.augmentation.scaled(strength)(TRAINING.pixels))
        expected = nn.functional.cross_entropy(noted.logits, TRAINING.classes, label_smoothing=0.1)
        assert loss.item() == pytest.approx(expected.item())
        assert right.item() == (noted.logits.argmax(1) == TRAINING.classes).sum()

    def test_the_chance_of_each_step_is_its_own_and_follows_from_the_seed(self) -> None:
        def drawn(seed: int) -> list[float]:
            run = Run(replace(PLAIN, seed=seed), torch.device("cpu"), STEPS)
            chances = []

            def loss_of(pixels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
                chances.append(torch.rand(()).item())
                return run.network(pixels)[:, classes].mean(), torch.tensor(0.0)

            for _ in range(10):
                torch.rand(())  # what else draws does not matter
                run.take_step(loss_of, TRAINING)
            return chances

        assert drawn(3) == drawn(3)
        assert len({*drawn(3), *drawn(4)}) == 20

    def test_an_epoch_sees_every_picture_once_but_the_last_smaller_batch(self) -> None:
        numbered = Pictures(torch.arange(44), torch.arange(44) % 47)
        run = Run(PLAIN, torch.device("cpu"), STEPS)
        orders = []
        for epoch in range(2):
            run.step = epoch * STEPS
            seen = [batch.pixels.tolist() for batch in batches(run, numbered)]
            assert [len(batch) for batch in seen] == [8] * STEPS
            orders.append([number for batch in seen for number in batch])
            assert len(set(orders[-1])) == 40
        assert orders[0] != orders[1]

    def test_balanced_sampling_draws_each_class_about_as_often(self) -> None:
        classes = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
        run = Run(replace(FULL, images_per_epoch=3000), torch.device("cpu"), 3000 // FULL.batch_size)
        drawn = [batch.classes for batch in batches(run, Pictures(classes, classes))]
        counts = torch.bincount(torch.cat(drawn))
        # The standard deviation of each is 26.
        assert counts.sum() == 3000
        assert counts.tolist() == pytest.approx([1000] * 3, abs=130)

    def test_balanced_sampling_draws_within_a_class_from_all(self) -> None:
        run = Run(replace(FULL, images_per_epoch=3000), torch.device("cpu"), 3000 // FULL.batch_size)
        numbered = Pictures(torch.arange(110), torch.tensor([0] * 100 + [1] * 10))
        drawn = torch.cat([batch.pixels for batch in batches(run, numbered)])
        times = torch.bincount(drawn, minlength=110).float()
        # Expected are 15 of the first class's and 150 of the second's.
        assert times[:100].min() > 0
        assert times[:100].max() < 45
        assert 90 < times[100:].min() < times[100:].max() < 210


@pytest.mark.usefixtures("uncompiled")
class TestTrain:
    @BOTH
    def test_the_same_recipe_gives_the_same_weights(self, recipe: Recipe) -> None:
        first = unbroken(recipe)
        torch.manual_seed(99)
        again = train(recipe, TRAINING, VALIDATION, Path("runs/again"))
        assert saved(Path("runs/again")) == first
        assert not again.training

    @BOTH
    def test_another_seed_gives_others(self, recipe: Recipe) -> None:
        first = train(recipe, TRAINING, VALIDATION, Path("runs/first"))
        other = train(replace(recipe, seed=4), TRAINING, VALIDATION, Path("runs/other"))
        assert weights(first) != weights(other)

    def test_training_changes_every_weight(self) -> None:
        torch.manual_seed(PLAIN.seed)
        before = weights(Network(PLAIN.architecture))
        after = unbroken(PLAIN)["network"]
        assert [name for name in before if after[name] == before[name]] == []

    @pytest.mark.parametrize("part", ["class_balanced", "weight_decay", "label_smoothing", "averaging", "augmentation"])
    def test_each_part_of_a_recipe_makes_a_difference(self, part: str) -> None:
        base = replace(PLAIN, images_per_epoch=40)
        changed = replace(base, **{part: getattr(FULL, part)})
        uneven = Pictures(TRAINING.pixels, torch.tensor([0] * 30 + [1] * 14))
        results = [train(recipe, uneven, VALIDATION, Path(f"runs/{n}")) for n, recipe in enumerate((base, changed))]
        assert weights(results[0]) != weights(results[1])

    @BOTH
    def test_validation_never_changes_the_weights(self, recipe: Recipe) -> None:
        first = unbroken(recipe)
        train(recipe, TRAINING, pictures(30, seed=9), Path("runs/other"))
        other = saved(Path("runs/other"))
        assert other.pop("history") != first.pop("history")
        assert other == first

    def test_the_result_is_the_average_of_the_weights_over_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        averages: dict[str, Tensor] = {}
        take_step = Run.take_step

        def noted(run: Run, *given: Any) -> None:
            take_step(run, *given)
            for name, tensor in run.network.state_dict().items():
                value = tensor.double()
                averages[name] = averages.get(name, value) * FULL.averaging + value * (1 - FULL.averaging)

        monkeypatch.setattr(Run, "take_step", noted)
        result = train(FULL, TRAINING, VALIDATION, Path("runs/full"))
        for name, tensor in result.state_dict().items():
            if tensor.is_floating_point():
                torch.testing.assert_close(tensor.double(), averages[name], rtol=1e-4, atol=1e-6)
        state = saved(Path("runs/full"))
        assert weights(result) != state["network"]
        accuracy, loss = evaluate(result, VALIDATION)
        assert state["history"][-1]["validation_loss"] == round(loss, 4)
        assert state["history"][-1]["validation_accuracy"] == round(accuracy, 4)

    def test_without_averaging_the_result_is_the_last_weights(self) -> None:
        result = train(PLAIN, TRAINING, VALIDATION, Path("runs/plain"))
        assert weights(result) == saved(Path("runs/plain"))["network"]

    def test_the_history_is_of_every_epoch_what_was_trained_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[tuple[float, float]] = []
        make = train_module.loss_function

        def noting(run: Run) -> LossOf:
            loss_of = make(run)

            def noted(pixels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
                loss, right = loss_of(pixels, classes)
                seen.append((loss.item(), right.item()))
                return loss, right

            return noted

        monkeypatch.setattr(train_module, "loss_function", noting)
        history = unbroken(FULL)["history"]
        assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
        losses, right = torch.tensor(seen, dtype=torch.float64).T.reshape(2, 4, STEPS)
        assert [epoch["loss"] for epoch in history] == pytest.approx(losses.mean(1).tolist(), abs=1e-4)
        assert [epoch["accuracy"] for epoch in history] == pytest.approx((right.sum(1) / 40).tolist(), abs=1e-4)

    @pytest.mark.parametrize("images_per_epoch", [0, 7, 24, 40])
    def test_with_too_few_images_for_an_epoch_it_says_so(self, images_per_epoch: int) -> None:
        recipe, few = replace(PLAIN, images_per_epoch=images_per_epoch), pictures(7 if images_per_epoch < 8 else 20)
        with pytest.raises(SetupError) as caught:
            train(recipe, few, VALIDATION, Path("runs/few"))
        assert "images" in sentence(caught)

    def test_every_epoch_has_a_line_in_the_log_and_at_the_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        unbroken(FULL)
        log = Path("runs/unbroken/log.txt").read_text()
        said = capsys.readouterr().out.splitlines()
        assert [line.rpartition("  ")[0] for line in said] == log.splitlines()
        assert [line.rpartition("  ")[2] for line in said] == ["0 min left"] * 4
        history = torch.load(Path("runs/unbroken") / CHECKPOINT, weights_only=True)["history"]
        for epoch, line in zip(history, log.splitlines(), strict=True):
            assert line == (
                f"epoch {epoch['epoch']}/4  rate {epoch['learning_rate']:.3g}  "
                f"loss {epoch['loss']:.4f} accuracy {epoch['accuracy']:.4f}  "
                f"validation loss {epoch['validation_loss']:.4f} accuracy {epoch['validation_accuracy']:.4f}  "
                f"{epoch['images_per_second']:,.0f} images/s"
            )


@pytest.mark.usefixtures("uncompiled")
class TestGoingOn:
    """A run that was interrupted gives bit for bit what it would have given."""

    FOLDER = Path("runs/tiny")

    def go_on(self, recipe: Recipe) -> dict[str, Any]:
        train(recipe, TRAINING, VALIDATION, self.FOLDER)
        return saved(self.FOLDER)

    @BOTH
    @pytest.mark.parametrize("epochs", [1, 2, 3, 4])
    def test_after_each_epoch(self, recipe: Recipe, epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
        save = train_module._save

        def interrupted(folder: Path, run: Run) -> None:
            save(folder, run)
            if run.step == epochs * STEPS:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(train_module, "_save", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train(recipe, TRAINING, VALIDATION, self.FOLDER)
        assert len(saved(self.FOLDER)["history"]) == epochs
        assert self.go_on(recipe) == unbroken(recipe)

    @BOTH
    @pytest.mark.parametrize("step", [1, 2 * STEPS - 1, 2 * STEPS + 1, 3 * STEPS + 2])
    def test_after_control_c_within_an_epoch(self, recipe: Recipe, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patched:
            after_step(step, control_c, patched)
            with pytest.raises(KeyboardInterrupt):
                train(recipe, TRAINING, VALIDATION, self.FOLDER)
        state = saved(self.FOLDER)
        assert (state["step"], len(state["history"])) == (step, step // STEPS)
        assert self.go_on(recipe) == unbroken(recipe)

    @BOTH
    @pytest.mark.parametrize("epochs", [1, 2, 4])
    def test_after_control_c_at_the_last_step_of_an_epoch(
        self, recipe: Recipe, epochs: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            after_step(epochs * STEPS, control_c, patched)
            # With the last epoch the run has ended, and there is nothing left to stop.
            with suppress(KeyboardInterrupt):
                train(recipe, TRAINING, VALIDATION, self.FOLDER)
        assert saved(self.FOLDER)["step"] == epochs * STEPS
        assert self.go_on(recipe) == unbroken(recipe)

    def test_after_control_c_at_every_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for step in (1, 2, 3, 4, 6, 7, 8, 9, 11):
            with monkeypatch.context() as patched:
                after_step(step, control_c, patched)
                with pytest.raises(KeyboardInterrupt):
                    train(FULL, TRAINING, VALIDATION, self.FOLDER)
                assert saved(self.FOLDER)["step"] == step
        assert self.go_on(FULL) == unbroken(FULL)

    def test_after_control_c_while_an_epoch_is_judged(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(network: nn.Module, seen: Pictures) -> tuple[float, float]:
            if (self.FOLDER / CHECKPOINT).exists():
                control_c()
            return evaluate(network, seen)

        with monkeypatch.context() as patched:
            patched.setattr(train_module, "evaluate", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train(FULL, TRAINING, VALIDATION, self.FOLDER)
        assert len(saved(self.FOLDER)["history"]) == 2
        assert self.go_on(FULL) == unbroken(FULL)

    def test_a_second_control_c_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def twice() -> None:
            control_c()
            control_c()

        with monkeypatch.context() as patched:
            after_step(2 * STEPS + 3, twice, patched)
            with pytest.raises(KeyboardInterrupt):
                train(FULL, TRAINING, VALIDATION, self.FOLDER)
        assert saved(self.FOLDER)["step"] == 2 * STEPS
        assert self.go_on(FULL) == unbroken(FULL)

    @pytest.mark.parametrize("stopped", [False, True])
    def test_control_c_is_as_it_was_when_training_has_ended(
        self, stopped: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = signal.getsignal(signal.SIGINT)
        with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
            if stopped:
                after_step(3, control_c, patched)
            train(FULL, TRAINING, VALIDATION, self.FOLDER)
        assert (saved(self.FOLDER)["step"] == 3) is stopped
        assert signal.getsignal(signal.SIGINT) is before

    def test_after_an_error_between_an_epochs_line_and_its_checkpoint(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._fail_to_save_the_second_epoch(monkeypatch)
        assert self.go_on(FULL) == unbroken(FULL)

    def test_a_half_written_checkpoint_does_not_count(self) -> None:
        self.FOLDER.mkdir(parents=True)
        (self.FOLDER / f"{CHECKPOINT}.tmp").write_bytes(b"half")
        assert self.go_on(FULL) == unbroken(FULL)

    @BOTH
    def test_a_finished_run_is_left_as_it_is(self, recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
        result = train(recipe, TRAINING, VALIDATION, self.FOLDER)
        before = {path: path.read_bytes() for path in self.FOLDER.rglob("*") if path.is_file()}
        capsys.readouterr()
        again = train(recipe, TRAINING, VALIDATION, self.FOLDER)
        assert weights(again) == weights(result)
        assert not again.training
        assert capsys.readouterr().out == ""
        assert {path: path.read_bytes() for path in self.FOLDER.rglob("*") if path.is_file()} == before

    @pytest.mark.parametrize("torn", [False, True])
    def test_every_epoch_is_in_the_log_once(self, torn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        self._fail_to_save_the_second_epoch(monkeypatch)
        if torn:
            log = self.FOLDER / "log.txt"
            log.write_text(log.read_text()[:-40])
            assert log.read_text().count("\n") == 1
        with monkeypatch.context() as patched:
            after_step(3 * STEPS + 2, control_c, patched)
            with pytest.raises(KeyboardInterrupt):
                train(FULL, TRAINING, VALIDATION, self.FOLDER)
        train(FULL, TRAINING, VALIDATION, self.FOLDER)
        assert epochs_logged(self.FOLDER) == [f"epoch {number}/4" for number in (1, 2, 3, 4)]

    def test_every_epoch_is_in_tensorboard_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.summary.writer import event_file_writer

        # Files are read in the order of their names, which end in the process and its count of files, unpadded.
        monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(100))
        self._fail_to_save_the_second_epoch(monkeypatch)
        with monkeypatch.context() as patched:
            after_step(3 * STEPS + 2, control_c, patched)
            with pytest.raises(KeyboardInterrupt):
                train(FULL, TRAINING, VALIDATION, self.FOLDER)
        train(FULL, TRAINING, VALIDATION, self.FOLDER)
        read = EventAccumulator(str(self.FOLDER / "tensorboard"))
        read.Reload()
        history = torch.load(self.FOLDER / CHECKPOINT, weights_only=True)["history"]
        assert sorted(["epoch", *read.Tags()["scalars"]]) == sorted(history[0])
        for name in read.Tags()["scalars"]:
            assert [event.step for event in read.Scalars(name)] == [1, 2, 3, 4]
            values = [event.value for event in read.Scalars(name)]
            assert values == pytest.approx([epoch[name] for epoch in history])

    def _fail_to_save_the_second_epoch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        save = train_module._save

        def failing(folder: Path, run: Run) -> None:
            if run.step == 2 * STEPS:
                raise OSError(28, "No space left on device")
            save(folder, run)

        with monkeypatch.context() as patched:
            patched.setattr(train_module, "_save", failing)
            with pytest.raises(SetupError, match="No space left"):
                train(FULL, TRAINING, VALIDATION, self.FOLDER)
        assert saved(self.FOLDER)["step"] == STEPS

    @pytest.mark.parametrize(
        "other",
        [
            replace(FULL, batch_size=4),
            replace(FULL, seed=4),
            replace(FULL, split="balanced"),
            replace(FULL, architecture=replace(FULL.architecture, dropout=0.5)),
            replace(FULL, augmentation=replace(FULL.augmentation, blur=0)),
            replace(FULL, stages=(*FULL.stages, Stage(1, 0.1, 0.1))),
        ],
        ids=["batch", "seed", "split", "architecture", "augmentation", "stages"],
    )
    def test_a_run_of_another_recipe_is_not_continued(self, other: Recipe) -> None:
        train(FULL, TRAINING, VALIDATION, self.FOLDER)
        before = (self.FOLDER / CHECKPOINT).read_bytes()
        with pytest.raises(SetupError, match="is of another recipe than full is now") as caught:
            train(other, TRAINING, VALIDATION, self.FOLDER)
        sentence(caught)
        assert (self.FOLDER / CHECKPOINT).read_bytes() == before

    @pytest.mark.parametrize("end", [0, 1, 100, 0.5, -1])
    def test_a_truncated_checkpoint_is_one_sentence(self, end: float) -> None:
        train(FULL, TRAINING, VALIDATION, self.FOLDER)
        whole = (self.FOLDER / CHECKPOINT).read_bytes()
        self._is_damaged(whole[: int(len(whole) * end) if 0 < end < 1 else int(end)])

    @pytest.mark.parametrize("content", [b"no checkpoint\n" * 50, bytes(5000)], ids=["text", "zeros"])
    def test_what_is_no_checkpoint_is_one_sentence(self, content: bytes) -> None:
        self._is_damaged(content)

    @pytest.mark.parametrize("value", [[1, 2], {"step": 3}, torch.ones(2)], ids=["list", "dictionary", "tensor"])
    def test_what_torch_reads_and_is_no_run_is_one_sentence(self, value: object) -> None:
        content = io.BytesIO()
        torch.save(value, content)
        self._is_damaged(content.getvalue())

    def _is_damaged(self, content: bytes) -> None:
        self.FOLDER.mkdir(parents=True, exist_ok=True)
        (self.FOLDER / CHECKPOINT).write_bytes(content)
        with pytest.raises(SetupError, match=rf"{CHECKPOINT}.* Remove it") as caught:
            train(FULL, TRAINING, VALIDATION, self.FOLDER)
        sentence(caught)
        assert (self.FOLDER / CHECKPOINT).read_bytes() == content


def run_until(what: str, recipes: Path, root: Path) -> subprocess.CompletedProcess[str]:
    """`full` in a process of its own; `what` is lines of Python that say how it is disturbed."""
    script = f"""
import os, resource, signal, sys
from pathlib import Path

import torch

from training import recipes, train

torch.compile = lambda function: function
recipes.FOLDER = Path(sys.argv[1])
take_step, save, write_bytes = train.Run.take_step, train._save, Path.write_bytes

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def room(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

{what}

train.main("full", Path(sys.argv[2]))
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, str(recipes), str(root)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


KILLED_WITHIN_AN_EPOCH = f"""
def step(run, *given):
    take_step(run, *given)
    if run.step == {2 * STEPS + 3}:
        kill()
train.Run.take_step = step
"""
KILLED_WITHIN_WRITING = f"""
def write(path, content):
    if torch.load(train.io.BytesIO(content))["step"] == {3 * STEPS}:
        write_bytes(path, content[: len(content) // 2])
        kill()
    write_bytes(path, content)
Path.write_bytes = write
"""
NO_ROOM = f"""
def step(run, *given):
    take_step(run, *given)
    if run.step == {2 * STEPS + 3}:
        room(%d)
train.Run.take_step = step
"""


@pytest.mark.usefixtures("uncompiled")
class TestDisturbed:
    """The command in a process that is really killed, or really cannot write."""

    FOLDER = Path("runs/full")

    def go_on_and_compare(self, root: Path) -> None:
        train_module.main("full", root)
        training, validation = hold_out(load_emnist(root, "bymerge", train=True), seed=FULL.seed)
        train(FULL, training, validation, Path("runs/unbroken"))
        assert saved(self.FOLDER) == saved(Path("runs/unbroken"))

    @pytest.mark.parametrize("what", [KILLED_WITHIN_AN_EPOCH, KILLED_WITHIN_WRITING], ids=["in an epoch", "in writing"])
    def test_killed_it_goes_on_as_if_it_had_not_been(self, what: str, recipes: Path, root: Path) -> None:
        assert run_until(what, recipes, root).returncode == -signal.SIGKILL
        assert saved(self.FOLDER)["step"] == 2 * STEPS
        self.go_on_and_compare(root)

    # Of these sizes, the first is less than two epochs' scalars, the second than three lines of the log, the third
    # than a checkpoint.
    @pytest.mark.parametrize("size", [600, 280, 20_000], ids=["scalars", "log", "checkpoint"])
    def test_a_full_disk_is_one_sentence_and_with_room_again_it_goes_on(
        self, size: int, recipes: Path, root: Path
    ) -> None:
        ended = run_until(NO_ROOM % size, recipes, root)
        assert ended.returncode == 1
        assert ended.stderr == (
            "error: runs/full cannot be written (File too large). Make room and run the same command: "
            "it goes on after the last epoch that was saved.\n"
        )
        assert saved(self.FOLDER)["step"] == 2 * STEPS
        self.go_on_and_compare(root)


@pytest.mark.usefixtures("uncompiled")
class TestCommand:
    FOLDER = Path("runs/full")

    @pytest.mark.usefixtures("recipes")
    def test_it_trains_the_recipe_on_its_split_less_what_is_held_out(
        self, root: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        train_module.main("full", root)
        said = capsys.readouterr().out.splitlines()
        size = parameters(Network(FULL.architecture))
        assert said[0] == f"40 images to train on, 100 held out; {size} parameters"
        assert [line.split("  ")[0] for line in said[1:]] == [f"epoch {number}/4" for number in (1, 2, 3, 4)]
        assert saved(self.FOLDER)["step"] == 4 * STEPS

    @pytest.mark.usefixtures("recipes")
    def test_after_control_c_it_says_what_was_saved_and_exits_130(
        self, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            after_step(STEPS + 2, control_c, patched)
            with pytest.raises(SystemExit) as ended:
                train_module.main("full", root)
        assert ended.value.code == 130
        assert capsys.readouterr().err == "Stopped. What was done is saved; the same command goes on.\n"
        assert saved(self.FOLDER)["step"] == STEPS + 2
        train_module.main("full", root)
        assert saved(self.FOLDER)["step"] == 4 * STEPS

    @pytest.mark.usefixtures("recipes")
    def test_begun_anew_it_is_a_run_like_the_first(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        train_module.main("full", root)
        first = saved(self.FOLDER)
        capsys.readouterr()
        train_module.main("full", root, resume=False)
        assert "epoch 1/4" in capsys.readouterr().out
        assert saved(self.FOLDER) == first

    @pytest.mark.usefixtures("recipes")
    def test_begun_anew_its_log_is_too(self, root: Path) -> None:
        for _ in range(2):
            train_module.main("full", root, resume=False)
        assert epochs_logged(self.FOLDER) == [f"epoch {number}/4" for number in (1, 2, 3, 4)]

    @pytest.mark.usefixtures("recipes")
    def test_to_begin_anew_is_the_way_out_of_a_damaged_checkpoint(self, root: Path) -> None:
        self.FOLDER.mkdir(parents=True)
        (self.FOLDER / CHECKPOINT).write_bytes(b"damaged")
        train_module.main("full", root, resume=False)
        assert saved(self.FOLDER)["step"] == 4 * STEPS

    @pytest.mark.usefixtures("recipes")
    def test_its_options_are_read(self, root: Path) -> None:
        from typer import Typer

        app = Typer()
        app.command()(train_module.main)
        ended = CliRunner().invoke(app, ["--recipe", "full", "--data", str(root), "--threads", "1", "--no-resume"])
        assert (ended.exit_code, ended.stderr) == (0, "")
        assert saved(self.FOLDER)["step"] == 4 * STEPS

    @pytest.mark.usefixtures("recipes")
    def test_what_is_wrong_is_one_line_and_exit_status_1(
        self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.FOLDER.mkdir(parents=True)
        (self.FOLDER / CHECKPOINT).write_bytes(b"")
        for recipe, data, reason in (
            ("famous", root, "There is no recipe 'famous'"),
            ("full", tmp_path / "nowhere", f"{tmp_path / 'nowhere'}"),
            ("full", root, f"{self.FOLDER / CHECKPOINT} "),
        ):
            with pytest.raises(SystemExit) as ended:
                train_module.main(recipe, data)
            assert ended.value.code == 1
            said = capsys.readouterr().err
            assert said.startswith(f"error: {reason}")
            assert said.count("\n") == 1
