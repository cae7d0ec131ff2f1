"""What `make bench-training` compares: that both sides train, that they change pictures alike, how it is reckoned."""

from contextlib import closing
from dataclasses import replace
from itertools import islice

import pytest
import torch
from PIL import Image
from torch import Tensor

from bench import plain_training
from bench.plain_training import Epoch, transform_of
from bench.training import own_epochs, summary
from glyphq.vision.network import Architecture
from training.augment import Augmentation
from training.data import Pictures
from training.recipes import Stage, read_recipe

from .training_files import PLAIN


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def stroke() -> Tensor:
    """uint8[28, 28], light on dark."""
    pixels = torch.zeros(28, 28, dtype=torch.uint8)
    pixels[5:23, 12:15] = 255
    return pixels


def changed(augmentation: Augmentation) -> Tensor:
    return transform_of(augmentation)(Image.fromarray(stroke().numpy()))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # the loaders of the plain loop
@pytest.mark.usefixtures("one_thread", "uncompiled")
@pytest.mark.parametrize("side", [own_epochs, plain_training.epochs])
def test_each_side_learns_what_can_be_learnt(side):
    classes = torch.arange(64) % 2
    pictures = Pictures(torch.where(classes.bool()[:, None, None], stroke(), stroke().T), classes)
    recipe = replace(
        PLAIN,
        architecture=Architecture((4, 4, 4), 16, dropout=0),
        batch_size=16,
        stages=(Stage(20, 0.01, 0.01),),
        class_balanced=True,
        averaging=0.9,
        label_smoothing=0.05,
        augmentation=Augmentation(rotation=5, elastic=0.5, pen_width=0.4, blur=0.8),
    )
    with closing(side(pictures, recipe, 1)) as epochs:
        trained = list(islice(epochs, 8))
    assert trained[0].accuracy < 0.9
    assert trained[-1].accuracy == 1


def test_a_recipe_that_changes_no_pictures_has_none_changed():
    assert torch.equal(changed(Augmentation()), stroke()[None])


@pytest.mark.parametrize("name", ["rotation", "shear", "scale", "shift", "elastic", "pen_width", "blur"])
def test_the_plain_loop_changes_each_picture_for_itself_and_as_far_as_the_recipe(name):
    augmentation = Augmentation(**{name: getattr(read_recipe("best").augmentation, name)})
    original, count = stroke().float(), 200
    plain = torch.cat([changed(augmentation) for _ in range(count)])
    assert plain.shape == (count, 28, 28)
    assert len(plain.unique(dim=0)) > 5
    far_plain, far_own = (
        (pictures - original).abs().mean().item() for pictures in (plain, augmentation(stroke().expand(count, 28, 28)))
    )
    assert far_plain == pytest.approx(far_own, rel=0.25)


def test_the_ratio_is_that_of_single_rounds_and_leaves_the_warm_up_out():
    first = {"glyphq": Epoch(60, 0.1), "plain": Epoch(9, 0.1)}
    seconds = [(1, 4), (2, 4), (4, 20)]
    rounds = [{"glyphq": Epoch(own, 0.5), "plain": Epoch(plain, 0.6)} for own, plain in seconds]
    told = summary(100, 1000, first, rounds)
    assert told["ratio"] == {"median": 4, "min": 2, "max": 5}
    assert told["images_per_second"]["glyphq"] == {"median": 50, "min": 25, "max": 100}
    assert told["epoch_seconds"] == {"glyphq": 20, "plain": 40}
    assert told["warm_up_seconds"] == {"glyphq": 58, "plain": 5}
    assert told["last_accuracy"] == {"glyphq": 0.5, "plain": 0.6}
