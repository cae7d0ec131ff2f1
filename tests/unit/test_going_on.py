"""A run that was interrupted gives bit for bit what it would have given; one that is not the recipe's is refused."""

import io
import signal
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from training import train as train_module
from training.data import Pictures
from training.recipes import Recipe, Stage
from training.train import CHECKPOINT, Run, accuracy_and_loss, train

from .training_files import FULL, TRAINING, VALIDATION, refused
from .training_runs import BOTH, STEPS, after_step, control_c, epochs_logged, saved, unbroken, weights

pytestmark = pytest.mark.usefixtures("own_folder", "one_thread", "uncompiled")

FOLDER = Path("runs/tiny")


def go_on(recipe: Recipe) -> dict[str, Any]:
    train(recipe, TRAINING, VALIDATION, FOLDER)
    return saved(FOLDER)


def fail_to_save_the_second_epoch() -> None:
    save = train_module._save

    def failing(folder: Path, run: Run) -> None:
        if run.step == 2 * STEPS:
            raise OSError(28, "No space left on device")
        save(folder, run)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(train_module, "_save", failing)
        with refused("No space left"):
            train(FULL, TRAINING, VALIDATION, FOLDER)
    assert saved(FOLDER)["step"] == STEPS


class TestGoingOn:
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
                train(recipe, TRAINING, VALIDATION, FOLDER)
        assert len(saved(FOLDER)["history"]) == epochs
        assert go_on(recipe) == unbroken(recipe)

    @BOTH
    @pytest.mark.parametrize("step", [1, 2 * STEPS - 1, 2 * STEPS + 1, 3 * STEPS + 2])
    def test_after_control_c_within_an_epoch(self, recipe: Recipe, step: int) -> None:
        with after_step(step, control_c), pytest.raises(KeyboardInterrupt):
            train(recipe, TRAINING, VALIDATION, FOLDER)
        state = saved(FOLDER)
        assert (state["step"], len(state["history"])) == (step, step // STEPS)
        assert go_on(recipe) == unbroken(recipe)

    @BOTH
    @pytest.mark.parametrize("epochs", [1, 2, 4])
    def test_after_control_c_at_the_last_step_of_an_epoch(self, recipe: Recipe, epochs: int) -> None:
        over = nullcontext()  # with the last epoch the run has ended, and there is nothing left to stop
        with after_step(epochs * STEPS, control_c), over if epochs == 4 else pytest.raises(KeyboardInterrupt):
            train(recipe, TRAINING, VALIDATION, FOLDER)
        assert saved(FOLDER)["step"] == epochs * STEPS
        assert go_on(recipe) == unbroken(recipe)

    def test_after_control_c_at_every_step(self) -> None:
        for step in (1, 2, 3, 4, 6, 7, 8, 9, 11):
            with after_step(step, control_c), pytest.raises(KeyboardInterrupt):
                train(FULL, TRAINING, VALIDATION, FOLDER)
            assert saved(FOLDER)["step"] == step
        assert go_on(FULL) == unbroken(FULL)

    def test_after_control_c_while_an_epoch_is_judged(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(network: nn.Module, seen: Pictures) -> tuple[float, float]:
            if (FOLDER / CHECKPOINT).exists():
                control_c()
            return accuracy_and_loss(network, seen)

        with monkeypatch.context() as patched:
            patched.setattr(train_module, "accuracy_and_loss", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train(FULL, TRAINING, VALIDATION, FOLDER)
        assert len(saved(FOLDER)["history"]) == 2
        assert go_on(FULL) == unbroken(FULL)

    def test_a_second_control_c_is_not_waited_for(self) -> None:
        def twice() -> None:
            control_c()
            control_c()

        with after_step(2 * STEPS + 3, twice), pytest.raises(KeyboardInterrupt):
            train(FULL, TRAINING, VALIDATION, FOLDER)
        assert saved(FOLDER)["step"] == 2 * STEPS
        assert go_on(FULL) == unbroken(FULL)

    @pytest.mark.parametrize("stopped", [False, True])
    def test_control_c_is_as_it_was_when_training_has_ended(self, stopped: bool) -> None:
        before = signal.getsignal(signal.SIGINT)
        with after_step(3, control_c) if stopped else nullcontext(), suppress(KeyboardInterrupt):
            train(FULL, TRAINING, VALIDATION, FOLDER)
        assert (saved(FOLDER)["step"] == 3) is stopped
        assert signal.getsignal(signal.SIGINT) is before

    def test_after_an_error_between_an_epochs_line_and_its_checkpoint(self) -> None:
        fail_to_save_the_second_epoch()
        assert go_on(FULL) == unbroken(FULL)

    def test_a_half_written_checkpoint_does_not_count(self) -> None:
        FOLDER.mkdir(parents=True)
        (FOLDER / f"{CHECKPOINT}.tmp").write_bytes(b"half")
        assert go_on(FULL) == unbroken(FULL)

    @BOTH
    def test_a_finished_run_is_left_as_it_is(self, recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
        result = train(recipe, TRAINING, VALIDATION, FOLDER)
        before = {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
        capsys.readouterr()
        again = train(recipe, TRAINING, VALIDATION, FOLDER)
        assert weights(again) == weights(result)
        assert not again.training
        assert capsys.readouterr().out == ""
        assert {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()} == before

    @pytest.mark.parametrize("torn", [False, True])
    def test_every_epoch_is_in_the_log_once(self, torn: bool) -> None:
        fail_to_save_the_second_epoch()
        if torn:
            log = FOLDER / "log.txt"
            log.write_text(log.read_text()[:-40])
            assert log.read_text().count("\n") == 1
        with after_step(3 * STEPS + 2, control_c), pytest.raises(KeyboardInterrupt):
            train(FULL, TRAINING, VALIDATION, FOLDER)
        train(FULL, TRAINING, VALIDATION, FOLDER)
        assert epochs_logged(FOLDER) == [f"epoch {number}/4" for number in (1, 2, 3, 4)]

    def test_every_epoch_is_in_tensorboard_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.summary.writer import event_file_writer

        # Files are read in the order of their names, which end in the process and its count of files, unpadded.
        monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(100))
        fail_to_save_the_second_epoch()
        with after_step(3 * STEPS + 2, control_c), pytest.raises(KeyboardInterrupt):
            train(FULL, TRAINING, VALIDATION, FOLDER)
        train(FULL, TRAINING, VALIDATION, FOLDER)
        read = EventAccumulator(str(FOLDER / "tensorboard"))
        read.Reload()
        history = torch.load(FOLDER / CHECKPOINT, weights_only=True)["history"]
        assert sorted(["epoch", *read.Tags()["scalars"]]) == sorted(history[0])
        for name in read.Tags()["scalars"]:
            assert [event.step for event in read.Scalars(name)] == [1, 2, 3, 4]
            values = [event.value for event in read.Scalars(name)]
            assert values == pytest.approx([epoch[name] for epoch in history])

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
        train(FULL, TRAINING, VALIDATION, FOLDER)
        before = (FOLDER / CHECKPOINT).read_bytes()
        with refused("is of another recipe than full is now"):
            train(other, TRAINING, VALIDATION, FOLDER)
        assert (FOLDER / CHECKPOINT).read_bytes() == before

    @pytest.mark.parametrize("end", [0, 1, 100, 0.5, -1])
    def test_a_truncated_checkpoint_is_one_sentence(self, end: float) -> None:
        train(FULL, TRAINING, VALIDATION, FOLDER)
        whole = (FOLDER / CHECKPOINT).read_bytes()
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
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / CHECKPOINT).write_bytes(content)
        with refused(rf"{CHECKPOINT}.* Remove it"):
            train(FULL, TRAINING, VALIDATION, FOLDER)
        assert (FOLDER / CHECKPOINT).read_bytes() == content
