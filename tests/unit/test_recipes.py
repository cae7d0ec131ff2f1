"""What a recipe's file says, and what follows from it at any point of a run."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from glyphq.vision.network import Architecture, Network, parameters
from training import recipes as recipes_module
from training.augment import Augmentation
from training.recipes import Recipe, Stage, read_recipe

from .training_files import FULL, FULL_TOML, PLAIN, PLAIN_TOML, refused


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

    @pytest.mark.parametrize("path", sorted(recipes_module.FOLDER.glob("*.toml")), ids=lambda path: path.stem)
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

    def test_a_stage_can_draw_a_part_from_fonts(self, recipes: Path) -> None:
        (recipes / "full.toml").write_text(FULL_TOML + "fonts = 0.25\n")
        recipe = read_recipe("full")
        assert [stage.fonts for stage in recipe.stages] == [0, 0.25]
        assert recipe.takes_fonts
        assert not FULL.takes_fonts

    def test_an_unknown_name_is_answered_with_the_known_ones(self) -> None:
        with refused(r"no recipe 'famous'; there are: best, .*published"):
            read_recipe("famous")

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
            ("batch_size = 8", "batch_size = 0", "batch_size"),
            ("batch_size = 8", 'batch_size = "8"', "'str'"),
            ("epochs = 2", "epochs = 0", "at least one stage"),
            ("learning_rate = 0.01", "learning_rate = -0.01", "less than 0"),
            ("learning_rate = 0.01", "learning_rate = 0.01\nfonts = 1", "drawn from fonts"),
            ("learning_rate = 0.01", "learning_rate = 0.01\nfonts = -0.1", "drawn from fonts"),
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
        with refused("is no recipe") as caught:
            read_recipe("plain")
        said = caught.value.detail
        assert said.startswith(f"{path} is no recipe (")
        assert reason in said.removeprefix(str(path))

    def test_a_file_that_is_no_text_is_no_recipe(self, recipes: Path) -> None:
        (recipes / "plain.toml").write_bytes(b"\xff\xfe")
        with refused("is no recipe"):
            read_recipe("plain")
