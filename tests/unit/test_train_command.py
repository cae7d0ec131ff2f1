"""The command: what it says, how it begins anew, and how it goes on where it was killed or could not write."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from glyphq.vision.network import Network, parameters
from training import train as train_module
from training.data import hold_out, load_emnist
from training.train import CHECKPOINT

from .training_files import FULL, FULL_TOML, in_turn, noise, pictures, write_emnist
from .training_runs import STEPS, after_step, control_c, epochs_logged, saved, unbroken

pytestmark = pytest.mark.usefixtures("own_folder", "one_thread", "uncompiled", "recipes")

ROOT = Path(__file__).parents[2]
FOLDER = Path("runs/full")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Files of the split that `full` names, and of no other."""
    write_emnist(tmp_path / "root", noise(140), in_turn(140, 2), split="bymerge", packed=True)
    return tmp_path / "root"


class TestCommand:
    def test_it_trains_the_recipe_on_its_split_less_what_is_held_out(
        self, root: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        train_module.main("full", root)
        said = capsys.readouterr().out.splitlines()
        size = parameters(Network(FULL.architecture))
        assert said[0] == f"40 images to train on, 100 held out; {size} parameters"
        assert [line.split("  ")[0] for line in said[1:]] == [f"epoch {number}/4" for number in (1, 2, 3, 4)]
        assert saved(FOLDER)["step"] == 4 * STEPS

    def test_fonts_are_loaded_for_a_recipe_that_takes_them(
        self, root: Path, recipes: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loaded: list[str] = []
        monkeypatch.setattr(train_module, "load_fonts", lambda: loaded.append("fonts") or pictures(30))
        train_module.main("full", root)
        assert loaded == []
        (recipes / "full.toml").write_text(FULL_TOML + "fonts = 0.25\n")
        train_module.main("full", root, resume=False)
        assert loaded == ["fonts"]
        assert saved(FOLDER)["step"] == 4 * STEPS

    def test_after_control_c_it_says_how_to_go_on_and_exits_130(
        self, root: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with after_step(STEPS + 2, control_c), pytest.raises(SystemExit) as ended:
            train_module.main("full", root)
        assert ended.value.code == 130
        assert capsys.readouterr().err == "Stopped. The same command goes on from what was saved last.\n"
        assert saved(FOLDER)["step"] == STEPS + 2
        train_module.main("full", root)
        assert saved(FOLDER)["step"] == 4 * STEPS

    def test_begun_anew_it_is_a_run_like_the_first(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        train_module.main("full", root)
        first = saved(FOLDER)
        capsys.readouterr()
        train_module.main("full", root, resume=False)
        assert "epoch 1/4" in capsys.readouterr().out
        assert saved(FOLDER) == first

    def test_begun_anew_its_log_is_too(self, root: Path) -> None:
        for _ in range(2):
            train_module.main("full", root, resume=False)
        assert epochs_logged(FOLDER) == [f"epoch {number}/4" for number in (1, 2, 3, 4)]

    def test_to_begin_anew_is_the_way_out_of_a_damaged_checkpoint(self, root: Path) -> None:
        FOLDER.mkdir(parents=True)
        (FOLDER / CHECKPOINT).write_bytes(b"damaged")
        train_module.main("full", root, resume=False)
        assert saved(FOLDER)["step"] == 4 * STEPS

    def test_its_options_are_read(self, root: Path) -> None:
        app = Typer()
        app.command()(train_module.main)
        ended = CliRunner().invoke(app, ["--recipe", "full", "--data", str(root), "--threads", "1", "--no-resume"])
        assert (ended.exit_code, ended.stderr) == (0, "")
        assert saved(FOLDER)["step"] == 4 * STEPS

    def test_what_is_wrong_is_one_line_and_exit_status_1(
        self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        FOLDER.mkdir(parents=True)
        (FOLDER / CHECKPOINT).write_bytes(b"")
        for recipe, data, reason in (
            ("famous", root, "There is no recipe 'famous'"),
            ("full", tmp_path / "nowhere", f"{tmp_path / 'nowhere'}"),
            ("full", root, f"{FOLDER / CHECKPOINT} "),
        ):
            with pytest.raises(SystemExit) as ended:
                train_module.main(recipe, data)
            assert ended.value.code == 1
            said = capsys.readouterr().err
            assert said.startswith(f"error: {reason}")
            assert said.count("\n") == 1


def run_until(what: str, recipes: Path, root: Path) -> subprocess.CompletedProcess[str]:
    """`full` in a process of its own; `what` is lines of Python that say how it is disturbed."""
    script = f"""
import os, resource, signal, sys
from pathlib import Path

import torch

from training import recipes, train

torch.compile = lambda function: function
recipes.FOLDER = Path(sys.argv[1])
take_step, write_bytes = train.Run.take_step, Path.write_bytes

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


def within_the_third_epoch(act: str) -> str:
    return f"""
def step(run, *given):
    take_step(run, *given)
    if run.step == {2 * STEPS + 3}:
        {act}
train.Run.take_step = step
"""


KILLED_WITHIN_AN_EPOCH = within_the_third_epoch("kill()")
KILLED_WITHIN_WRITING = f"""
def write(path, content):
    if torch.load(train.io.BytesIO(content))["step"] == {3 * STEPS}:
        write_bytes(path, content[: len(content) // 2])
        kill()
    write_bytes(path, content)
Path.write_bytes = write
"""


class TestDisturbed:
    """The command in a process that is really killed, or really cannot write."""

    def go_on_and_compare(self, root: Path) -> None:
        train_module.main("full", root)
        training, validation = hold_out(load_emnist(root, "bymerge", train=True), seed=FULL.seed)
        assert saved(FOLDER) == unbroken(FULL, training, validation)

    @pytest.mark.parametrize("what", [KILLED_WITHIN_AN_EPOCH, KILLED_WITHIN_WRITING], ids=["in an epoch", "in writing"])
    def test_killed_it_goes_on_as_if_it_had_not_been(self, what: str, recipes: Path, root: Path) -> None:
        assert run_until(what, recipes, root).returncode == -signal.SIGKILL
        assert saved(FOLDER)["step"] == 2 * STEPS
        self.go_on_and_compare(root)

    # Of these sizes, the first is less than two epochs' scalars, the second than three lines of the log, the third
    # than a checkpoint.
    @pytest.mark.parametrize("size", [600, 280, 20_000], ids=["scalars", "log", "checkpoint"])
    def test_a_full_disk_is_one_sentence_and_with_room_again_it_goes_on(
        self, size: int, recipes: Path, root: Path
    ) -> None:
        ended = run_until(within_the_third_epoch(f"room({size})"), recipes, root)
        assert ended.returncode == 1
        assert ended.stderr == (
            "error: runs/full cannot be written (File too large). Make room and run the same command: "
            "it goes on after the last epoch that was saved.\n"
        )
        assert saved(FOLDER)["step"] == 2 * STEPS
        self.go_on_and_compare(root)
