"""What a good PyTorch user writes to train a recipe, and how long an epoch of it takes.

A Dataset of single pictures through torchvision's transforms, a DataLoader with 2 workers, a loop in eager float32.
From glyphq it takes the network, from training the recipe and the pictures; of torchvision's ways the faster ones.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, RandomSampler, WeightedRandomSampler

from glyphq.vision.network import Network
from glyphq.vision.picture import PICTURE_SIZE
from training.augment import Augmentation
from training.data import Pictures, declare_missing_operators
from training.recipes import Recipe

LOADERS = 2
# These bend pictures as far as the recipe's control points do, and in curves as wide. Wider ones took longer.
BEND_SIGMA = 2.5
BEND_ALPHA = 12.7  # for a recipe's `elastic` of 1
BLUR_SIGMAS = 0.43, 0.85  # for a recipe's `blur` of 1: the second makes a 3x3 kernel that is nearly the binomial one

Transform = Callable[[Image.Image], Tensor]


@dataclass(frozen=True)
class Epoch:
    """One pass over the pictures; the accuracy is of the augmented ones, with dropout, as they were trained on."""

    seconds: float
    accuracy: float


class TransformedPictures(Dataset[tuple[Tensor, int]]):
    """As torchvision.datasets.EMNIST gives them: Pillow's picture through the transform, and its class.

    Every loader process makes the transform for itself: torchvision cannot be imported before something is declared.
    """

    def __init__(self, pictures: Pictures, augmentation: Augmentation) -> None:
        self._pixels, self._classes = pictures.pixels.numpy(), pictures.classes.tolist()
        self._augmentation = augmentation

    def __len__(self) -> int:
        return len(self._classes)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        transform = transform_of(self._augmentation)
        return transform(Image.fromarray(self._pixels[index])), self._classes[index]


class PenWidth:
    """A blend with the 3x3 dilation or erosion, for torchvision has neither."""

    def __init__(self, most: float) -> None:
        self._most = most

    def __call__(self, picture: Tensor) -> Tensor:
        """float[1, H, W], any range."""
        way = (torch.rand(()).item() * 2 - 1) * self._most
        sign = math.copysign(1, way)
        return picture.lerp(sign * functional.max_pool2d(sign * picture, 3, stride=1, padding=1), abs(way))


@cache
def transform_of(augmentation: Augmentation) -> Transform:
    """As near to the recipe's changes as torchvision comes: uint8[28, 28] -> [1, 28, 28] in 0..255.

    It scales width and height alike and shifts by whole pixels. The affine change is Pillow's: 45 us, a tensor's 80.
    """
    declare_missing_operators()
    from torchvision.transforms import v2

    steps: list[Callable[..., object]] = []
    if augmentation.rotation or augmentation.shear or augmentation.scale or augmentation.shift:
        steps += [
            v2.RandomAffine(
                degrees=augmentation.rotation,
                translate=(augmentation.shift / PICTURE_SIZE, augmentation.shift / PICTURE_SIZE),
                scale=(1 - augmentation.scale, 1 + augmentation.scale),
                shear=math.degrees(math.atan(augmentation.shear)),
                interpolation=v2.InterpolationMode.BILINEAR,
            )
        ]
    steps += [v2.PILToTensor(), v2.ToDtype(torch.float32)]
    if augmentation.elastic:
        steps += [v2.ElasticTransform(alpha=BEND_ALPHA * augmentation.elastic, sigma=BEND_SIGMA)]
    if augmentation.pen_width:
        steps += [PenWidth(augmentation.pen_width)]
    if augmentation.blur:
        least, most = (sigma * augmentation.blur for sigma in BLUR_SIGMAS)
        steps += [v2.RandomApply([v2.GaussianBlur(3, sigma=(least, most))], p=0.5)]
    transform: Transform = v2.Compose(steps)
    return transform


def epochs(pictures: Pictures, recipe: Recipe, threads: int) -> Iterator[Epoch]:
    """Train one epoch of as many images as there are, in whole batches, each time the next is asked for."""
    torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    steps = len(pictures) // recipe.batch_size
    network = Network(recipe.architecture).train()
    averaged = None
    if recipe.averaging:
        average = get_ema_multi_avg_fn(recipe.averaging)
        averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
    loss_of = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: recipe.learning_rate(step / steps))
    loader = _loader(pictures, recipe)
    while True:
        started, right = time.perf_counter(), 0
        for batch, classes in loader:
            logits = network(batch.squeeze(1))
            loss = loss_of(logits, classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if averaged is not None:
                averaged.update_parameters(network)
            right += int((logits.argmax(1) == classes).sum())
        yield Epoch(time.perf_counter() - started, right / (steps * recipe.batch_size))


def _loader(pictures: Pictures, recipe: Recipe) -> DataLoader[tuple[Tensor, int]]:
    dataset = TransformedPictures(pictures, recipe.augmentation)
    sampler: WeightedRandomSampler | RandomSampler = RandomSampler(dataset)
    if recipe.class_balanced:
        share = 1 / torch.bincount(pictures.classes)[pictures.classes]
        sampler = WeightedRandomSampler(share, num_samples=len(pictures))  # type: ignore[arg-type]  # a tensor, too
    return DataLoader(
        dataset, recipe.batch_size, sampler=sampler, num_workers=LOADERS, drop_last=True, persistent_workers=True
    )
