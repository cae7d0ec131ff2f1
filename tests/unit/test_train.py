"""What a step and an epoch do, and what a run comes to, on a few pictures of noise."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from glyphq.vision.network import Network
from training import train as train_module
from training.data import Pictures
from training.recipes import Recipe, Stage
from training.train import CHECKPOINT, LossOf, Run, accuracy_and_loss, batches, loss_function, train

from .training_files import FULL, PLAIN, TRAINING, VALIDATION, pictures, refused
from .training_runs import BOTH, STEPS, after_each_step, saved, unbroken, weights

pytestmark = pytest.mark.usefixtures("own_folder", "one_thread", "uncompiled")


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

    def test_the_rate_is_the_recipes_at_every_step(self) -> None:
        rates: list[float] = []
        with after_each_step(lambda run: rates.append(run.optimizer.param_groups[0]["lr"])):
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

    @BOTH
    def test_a_part_of_each_batch_is_drawn_from_fonts_every_class_as_often(self, recipe: Recipe) -> None:
        stages = Stage(1, 0.1, 0.1), Stage(1, 0.1, 0.1, fonts=0.25)
        run = Run(replace(recipe, stages=stages), torch.device("cpu"), 300)
        own = Pictures(torch.arange(2400), torch.arange(2400) % 47)
        fonts = Pictures(torch.arange(-1, -111, -1), torch.tensor([0] * 100 + [1] * 10))
        assert min(batch.pixels.min() for batch in batches(run, own, fonts)) >= 0
        run.step = 300
        drawn = [batch.pixels for batch in batches(run, own, fonts)]
        assert len(drawn) == 300
        assert all((batch[:6] >= 0).all() and (batch[6:] < 0).all() and len(batch) == 8 for batch in drawn)
        # Expected are 300 of the 600; their standard deviation is 12.
        assert 240 < sum(int((batch < -100).sum()) for batch in drawn) < 360
        run.step = 420
        assert [batch.tolist() for batch in drawn[120:]] == [
            batch.pixels.tolist() for batch in batches(run, own, fonts)
        ]

    def test_without_the_fonts_that_a_stage_draws_from_it_says_so(self) -> None:
        with refused("fonts"):
            train(replace(PLAIN, stages=(Stage(1, 0.1, 0.1, fonts=0.25),)), TRAINING, VALIDATION, Path("runs/none"))


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

    def test_pictures_from_fonts_make_a_difference(self) -> None:
        recipe = replace(PLAIN, stages=(Stage(1, 0.1, 0.1, fonts=0.25),))
        results = [train(recipe, TRAINING, VALIDATION, Path(f"runs/{n}"), pictures(30, seed=n)) for n in (1, 2)]
        assert weights(results[0]) != weights(results[1])

    @BOTH
    def test_validation_never_changes_the_weights(self, recipe: Recipe) -> None:
        first = unbroken(recipe)
        train(recipe, TRAINING, pictures(30, seed=9), Path("runs/other"))
        other = saved(Path("runs/other"))
        assert other.pop("history") != first.pop("history")
        assert other == first

    def test_the_result_is_the_average_of_the_weights_over_steps(self) -> None:
        averages: dict[str, Tensor] = {}

        def note(run: Run) -> None:
            for name, tensor in run.network.state_dict().items():
                value = tensor.double()
                averages[name] = averages.get(name, value) * FULL.averaging + value * (1 - FULL.averaging)

        with after_each_step(note):
            result = train(FULL, TRAINING, VALIDATION, Path("runs/full"))
        for name, tensor in result.state_dict().items():
            if tensor.is_floating_point():
                torch.testing.assert_close(tensor.double(), averages[name], rtol=1e-4, atol=1e-6)
        state = saved(Path("runs/full"))
        assert weights(result) != state["network"]
        accuracy, loss = accuracy_and_loss(result, VALIDATION)
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
        with refused("images"):
            train(recipe, few, VALIDATION, Path("runs/few"))

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


class TestEvaluate:
    def test_it_says_accuracy_and_mean_loss(self) -> None:
        class Certain(nn.Module):
            """Sure of the class that the first pixel names."""

            def forward(self, pixels: Tensor) -> Tensor:
                return nn.functional.one_hot(pixels[:, 0, 0].long(), 47).float() * 100

        seen = pictures(8)
        seen.pixels[:, 0, 0] = seen.classes.to(torch.uint8)
        seen.pixels[:2, 0, 0] = 46
        accuracy, loss = accuracy_and_loss(Certain(), seen)
        assert accuracy == 0.75
        assert loss == pytest.approx(25)

    def test_the_network_is_not_changed_by_it(self) -> None:
        network = Network(PLAIN.architecture)
        before = weights(network)
        accuracy_and_loss(network.train(), VALIDATION)
        assert weights(network) == before
