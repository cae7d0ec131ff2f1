"""Pictures as other hands and pens would have written them: one random change of each, on whole batches.

torchvision's transforms draw one change for all pictures of a batch, or need a loop over pictures, so the drawing is
done here and the warping by torch. Knows pictures; nothing of data sets or networks.
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional

_CONTROL_POINTS = 5  # a side of the grid whose random displacements are spread over the picture


@dataclass(frozen=True)
class Augmentation:
    """How far each change may go; zero leaves it out."""

    rotation: float = 0  # degrees, either way
    shear: float = 0  # sideways, as a share of the height, either way
    scale: float = 0  # of width and height, each for itself, as a share, either way
    shift: float = 0  # pixels, along each axis, either way
    elastic: float = 0  # pixels, standard deviation of a picture's control points, itself drawn from 0 to this
    pen_width: float = 0  # 1 is a 3x3 dilation or erosion, less a blend with it
    blur: float = 0  # 1 is a 3x3 binomial filter, less a blend with it; half the pictures stay sharp

    def scaled(self, factor: float) -> "Augmentation":
        """The same changes, going `factor` as far."""
        return Augmentation(**{name: most * factor for name, most in asdict(self).items()})

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8[N, 28, 28] -> float32[N, 28, 28] in 0..255, each picture changed at random for itself.

        Draws from torch's default generator of the pictures' device.
        """
        pictures = pixels.unsqueeze(1).float()
        if self == Augmentation():
            return pictures.squeeze(1)
        return _blurred(_with_other_pen(self._warped(pictures), self.pen_width), self.blur).squeeze(1)

    # Torch's own kernels take a third of the time of compiled ones.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _warped(self, pictures: Tensor) -> Tensor:
        return functional.grid_sample(pictures, self._grid(pictures), align_corners=False)

    def _grid(self, pictures: Tensor) -> Tensor:
        """Where each pixel is taken from, float32[N, 28, 28, 2], in the coordinates of `grid_sample`: -1..1."""
        count, device, half = len(pictures), pictures.device, pictures.shape[-1] / 2

        def either_way(most: float) -> Tensor:
            return (torch.rand(count, device=device) * 2 - 1) * most

        angle = either_way(math.radians(self.rotation))
        cosine, sine, shear = angle.cos(), angle.sin(), either_way(self.shear)
        width, height = 1 + either_way(self.scale), 1 + either_way(self.scale)
        affine = torch.stack(
            [
                torch.stack([cosine * width, (shear * cosine - sine) * height, either_way(self.shift / half)], 1),
                torch.stack([sine * width, (shear * sine + cosine) * height, either_way(self.shift / half)], 1),
            ],
            1,
        )
        strength = torch.rand(count, 1, 1, 1, device=device) * (self.elastic / half)
        bends = torch.randn(count, 2, _CONTROL_POINTS, _CONTROL_POINTS, device=device) * strength
        spread = _spread(bends, pictures.shape[-1])
        grid = functional.affine_grid(affine, list(pictures.shape), align_corners=False)
        return grid + spread.permute(0, 2, 3, 1)


def _spread(points: Tensor, size: int) -> Tensor:
    """[..., n, n] -> [..., size, size], bicubic, by two matrix products: an eighth of the time of `interpolate`."""
    each = torch.eye(points.shape[-1], device=points.device)[None, None]
    weights = functional.interpolate(each, (size, points.shape[-1]), mode="bicubic", align_corners=True)[0, 0]
    return weights @ points @ weights.T


def _with_other_pen(pictures: Tensor, most: float) -> Tensor:
    """Each moved at random up to `most` of the way to its 3x3 erosion or dilation."""
    way = _either_way(pictures, most)
    sign = way.sign()
    return pictures.lerp(sign * functional.max_pool2d(sign * pictures, 3, stride=1, padding=1), way.abs())


def _blurred(pictures: Tensor, most: float) -> Tensor:
    """Every other one, by chance, moved up to `most` of the way to itself through a 3x3 binomial filter."""
    row = torch.tensor([0.25, 0.5, 0.25], device=pictures.device)
    filtered = functional.conv2d(pictures, torch.outer(row, row)[None, None], padding=1)
    return pictures.lerp(filtered, _either_way(pictures, most).relu())


def _either_way(pictures: Tensor, most: float) -> Tensor:
    return (torch.rand(len(pictures), 1, 1, 1, device=pictures.device) * 2 - 1) * most
