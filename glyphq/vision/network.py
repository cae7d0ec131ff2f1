"""The convolutional network, and nothing of how it is trained, stored or run.

Three blocks of convolution, 2x2 max pooling, batch normalization and ReLU take 28x28 to 14, 7 and 3; two fully
connected layers follow, with dropout before each. Choices:
- 3x3 kernels without bias: the normalization that follows has one.
- Pooling before normalization: it normalizes a quarter of the numbers, and training waits for memory most.
- Of the last block's 7x7 places pooling leaves out a row and a column, so they are not computed: 27 % of its work.
- Scaling from bytes is part of the network, so every engine is fed the same uint8 pictures and cannot scale them apart.
- No softmax: calibration and charsets work on logits.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from glyphq.labels import LABELS
from glyphq.vision.picture import PICTURE_SIZE

_MEAN, _STD = 0.1751, 0.3332  # of all pixels of EMNIST Balanced's training images, in [0, 1]


@dataclass(frozen=True)
class Architecture:
    """What it takes to build the network again. Stored with the weights."""

    channels: tuple[int, int, int] = (32, 64, 128)
    hidden: int = 256
    dropout: float = 0.5
    classes: int = len(LABELS)

    def as_dict(self) -> dict[str, Any]:
        """As JSON and TOML can hold it."""
        return {**asdict(self), "channels": list(self.channels)}


class Network(nn.Module):
    """uint8[N, 28, 28], light ink on dark ground -> logits float[N, classes]."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = (1, *architecture.channels)
        self.features = nn.Sequential(*_blocks(widths))
        side = PICTURE_SIZE // 2 ** len(architecture.channels)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(architecture.dropout),
            nn.Linear(widths[-1] * side * side, architecture.hidden),
            nn.ReLU(),
            nn.Dropout(architecture.dropout),
            nn.Linear(architecture.hidden, architecture.classes),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        scaled = (pictures.unsqueeze(1).float() / 255 - _MEAN) / _STD
        logits: Tensor = self.classifier(self.features(scaled))
        return logits


def _blocks(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    side = PICTURE_SIZE
    for before, after in pairwise(widths):
        convolution = _CroppedConvolution if side % 2 else nn.Conv2d
        layers += [
            convolution(before, after, kernel_size=3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
        side //= 2
    return layers


class _CroppedConvolution(nn.Conv2d):
    """Without the last row and column, which 2x2 pooling of an odd side leaves out: 36 of 49 places are computed."""

    def forward(self, pictures: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(pictures, (1, 0, 1, 0)), self.weight)


def parameters(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters() if isinstance(parameter, Tensor))
