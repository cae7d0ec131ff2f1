"""What each change does to a bar, a disc, a slope or one dot, measured on many of them at once."""

from dataclasses import asdict, fields
from math import degrees, sqrt
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from training.augment import Augmentation
from training.recipes import read_recipe

pytestmark = pytest.mark.usefixtures("one_thread")

CHANGES = [field.name for field in fields(Augmentation)]
STRONG = {
    "rotation": 30.0,
    "shear": 0.3,
    "scale": 0.3,
    "shift": 3.0,
    "elastic": 2.0,
    "pen_width": 0.9,
    "blur": 0.9,
}
MANY = 500
ROWS, COLUMNS = torch.meshgrid(torch.arange(28) - 13.5, torch.arange(28) - 13.5, indexing="ij")  # from the middle
BAR = 255 * ((ROWS.abs() < 8) & (COLUMNS.abs() < 2)).to(torch.uint8)  # upright, 16 x 4
DISC = 255 * (ROWS**2 + COLUMNS**2 <= 10**2).to(torch.uint8)  # as wide as EMNIST's characters, which are 20 or 24


class Shapes(NamedTuple):
    """Of each picture, float[N]: the sum of its ink, where its centre is, how far it spreads, and its slant."""

    ink: Tensor
    right: Tensor
    down: Tensor
    width: Tensor
    height: Tensor
    angle: Tensor  # degrees from upright
    shear: Tensor  # columns a row


def shapes(pictures: Tensor) -> Shapes:
    ink = pictures.float().sum((1, 2))

    def mean(values: Tensor) -> Tensor:
        return (pictures * values).sum((1, 2)) / ink

    right, down = mean(COLUMNS), mean(ROWS)
    across, along = COLUMNS - right[:, None, None], ROWS - down[:, None, None]
    xx, yy, xy = mean(across**2), mean(along**2), mean(across * along)
    angle = torch.atan2(2 * xy, yy - xx) / 2
    return Shapes(ink, right, down, xx.sqrt(), yy.sqrt(), angle * degrees(1), xy / yy)


def changed(augmentation: Augmentation, picture: Tensor, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return augmentation(picture.expand(MANY, 28, 28))


def spans(values: Tensor, least: float, most: float) -> bool:
    """All between the two, but for the rounding to pixels, and coming near both."""
    beyond, near = (most - least) * 0.02, (most - least) * 0.05
    low, high = float(values.min()), float(values.max())
    return least - beyond <= low < least + near and most - near < high <= most + beyond


def noise(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 28, 28), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


class TestAny:
    def test_the_examples_leave_no_change_out(self) -> None:
        assert list(STRONG) == CHANGES

    def test_none_at_all_leaves_the_pictures_as_they_are(self) -> None:
        pixels = noise(7)
        assert torch.equal(Augmentation()(pixels), pixels.float())

    def test_none_at_all_draws_no_random_number(self) -> None:
        torch.manual_seed(1)
        expected = torch.rand(1)
        torch.manual_seed(1)
        Augmentation()(noise(7))
        assert torch.equal(torch.rand(1), expected)

    def test_scaled_every_change_goes_so_much_less_far(self) -> None:
        strong = Augmentation(**STRONG)
        assert strong.scaled(1) == strong
        assert strong.scaled(0) == Augmentation()
        assert asdict(strong.scaled(0.5)) == {name: most / 2 for name, most in STRONG.items()}

    @pytest.mark.parametrize("change", CHANGES)
    def test_pictures_stay_pictures(self, change: str) -> None:
        pixels = noise(100)
        before = pixels.clone()
        pictures = Augmentation(**{change: STRONG[change]})(pixels)
        assert (pictures.shape, pictures.dtype) == ((100, 28, 28), torch.float32)
        assert pictures.min() >= -1e-3
        assert pictures.max() <= 255 + 1e-3
        assert torch.equal(pixels, before)

    @pytest.mark.parametrize("change", CHANGES)
    def test_the_pictures_of_a_batch_change_each_in_its_way(self, change: str) -> None:
        pictures = changed(Augmentation(**{change: STRONG[change]}), BAR)[:100]
        # Half of them are not blurred at all.
        assert len(pictures.flatten(1).unique(dim=0)) > (40 if change == "blur" else 99)

    @pytest.mark.parametrize("change", CHANGES)
    def test_the_seed_alone_decides(self, change: str) -> None:
        augmentation = Augmentation(**{change: STRONG[change]})
        first = changed(augmentation, BAR)
        assert torch.equal(changed(augmentation, BAR), first)
        assert not torch.equal(changed(augmentation, BAR, seed=2), first)

    def test_a_picture_does_not_depend_on_its_neighbours(self) -> None:
        pixels = noise(10)
        others = torch.cat([pixels[:1], pixels[1:].flip(0)])
        augmentation = Augmentation(**STRONG)
        torch.manual_seed(1)
        first = augmentation(pixels)
        torch.manual_seed(1)
        second = augmentation(others)
        assert torch.equal(first[0], second[0])
        assert not torch.equal(first[1], second[1])


class TestEach:
    def test_rotation_turns_up_to_its_limit_both_ways(self) -> None:
        turned = shapes(changed(Augmentation(rotation=20), BAR))
        assert spans(turned.angle, -20, 20)
        assert turned.ink == pytest.approx(BAR.sum().expand(MANY), rel=0.01)
        assert torch.stack([turned.right, turned.down]).abs().max() < 0.01

    def test_shear_leans_up_to_its_limit_both_ways_and_keeps_the_height(self) -> None:
        leaning = shapes(changed(Augmentation(shear=0.3), BAR))
        assert spans(leaning.shear, -0.3, 0.3)
        assert leaning.height == pytest.approx(shapes(BAR[None]).height.expand(MANY), rel=1e-3)

    def test_scale_changes_width_and_height_each_for_itself(self) -> None:
        scaled, before = shapes(changed(Augmentation(scale=0.25), DISC)), shapes(DISC[None])
        width, height = scaled.width / before.width, scaled.height / before.height
        # Where a pixel is taken from is scaled: by 1.25 makes the picture 1 / 1.25 as wide.
        assert spans(width, 1 / 1.25, 1 / 0.75)
        assert spans(height, 1 / 1.25, 1 / 0.75)
        assert torch.corrcoef(torch.stack([width, height]))[0, 1].abs() < 0.2

    def test_shift_moves_so_many_pixels_at_most_along_each_axis(self) -> None:
        moved = shapes(changed(Augmentation(shift=3), BAR))
        assert spans(moved.right, -3, 3)
        assert spans(moved.down, -3, 3)
        assert torch.stack([moved.right, moved.down]).abs().max() < 3.01
        assert torch.corrcoef(torch.stack([moved.right, moved.down]))[0, 1].abs() < 0.2
        assert moved.ink == pytest.approx(BAR.sum().expand(MANY), rel=1e-3)

    def test_elastic_displaces_by_so_many_pixels_and_neighbours_alike(self) -> None:
        slope = (8 * (COLUMNS + 13.5)).to(torch.uint8)
        displaced = (changed(Augmentation(elastic=2), slope) - slope)[:, 13, 7:21] / 8
        # The deviation of each picture is drawn from 0 to 2: its root mean square is 2 / sqrt(3).
        assert displaced.pow(2).mean().sqrt() == pytest.approx(2 / sqrt(3), rel=0.2)
        assert displaced.mean().abs() < 0.1
        assert displaced.diff(dim=1).pow(2).mean().sqrt() < 0.4

    def test_elastic_bends_a_straight_stroke(self) -> None:
        bent = changed(Augmentation(elastic=2), BAR)
        middles = (bent * COLUMNS).sum(2)[:, 8:20] / bent.sum(2)[:, 8:20].clamp(min=1)
        assert middles.diff(n=2, dim=1).abs().amax(1).median() > 0.02

    def test_pen_width_makes_ink_more_and_less_and_leaves_it_where_it_is(self) -> None:
        drawn = shapes(changed(Augmentation(pen_width=1), BAR))
        # Wholly dilated, 16 x 4 becomes 18 x 6; wholly eroded, 14 x 2.
        assert spans(drawn.ink / 255, 14 * 2, 18 * 6)
        assert torch.stack([drawn.right, drawn.down]).abs().max() < 0.01

    def test_half_a_pen_width_goes_half_the_way(self) -> None:
        drawn = shapes(changed(Augmentation(pen_width=0.5), BAR))
        assert spans(drawn.ink / 255, (16 * 4 + 14 * 2) / 2, (16 * 4 + 18 * 6) / 2)

    def test_blur_spreads_a_dot_and_keeps_its_ink(self) -> None:
        dot = torch.zeros(28, 28, dtype=torch.uint8)
        dot[13, 13] = 255
        blurred = changed(Augmentation(blur=1), dot)
        assert blurred.sum((1, 2)) == pytest.approx(torch.full((MANY,), 255.0), rel=1e-3)
        # Wholly blurred, a quarter stays. To one side of nothing there is nothing: half of the pictures stay sharp.
        assert spans(blurred[:, 13, 13] / 255, 0.25, 1)
        assert spans(blurred[:, 13, 14] / 255, 0, 0.125)
        assert 0.4 < (blurred[:, 13, 13] > 254.9).float().mean() < 0.6


class TestBest:
    BEST = read_recipe("best").augmentation

    def test_it_changes_pictures(self) -> None:
        assert not torch.equal(changed(self.BEST, BAR), BAR.float().expand(MANY, 28, 28))

    def test_the_ink_is_kept_in_the_frame(self) -> None:
        pictures = changed(self.BEST, DISC)
        edge = pictures.clone()
        edge[:, 1:-1, 1:-1] = 0
        share = edge.sum((1, 2)) / pictures.sum((1, 2))
        assert share.mean() < 0.005
        assert share.max() < 0.05

    def test_the_ink_stays_ink(self) -> None:
        pictures = changed(self.BEST, DISC)
        ink = pictures.sum((1, 2)) / DISC.sum()
        assert 0.5 < ink.min() < ink.max() < 2
        assert pictures[:, 12:16, 12:16].min() > 128
