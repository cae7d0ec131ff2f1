"""Pillow and eager PyTorch in float32: what the Celery tasks and the servers run where they are not tuned."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from glyphq.labels import LABELS
from glyphq.vision.checkpoint import load_network

Gray = NDArray[np.uint8]
Answer = tuple[str, float]


def decode(png: bytes) -> Gray:
    """uint8[28, 28]."""
    with Image.open(io.BytesIO(png)) as image:
        return np.array(image.convert("L"))


def open_eager(model: Path) -> Callable[[Sequence[Gray]], list[Answer]]:
    """Pictures -> the label of each and the confidence in it. On one thread: there is a process for every core."""
    torch.set_num_threads(1)
    network, card = load_network(model)

    @torch.inference_mode()
    def answers(pictures: Sequence[Gray]) -> list[Answer]:
        likelihoods = torch.softmax(network(torch.from_numpy(np.stack(pictures))) / card.temperature, dim=1)
        confidences, classes = likelihoods.max(dim=1)
        return [(LABELS[c], sure) for c, sure in zip(classes.tolist(), confidences.tolist(), strict=True)]

    return answers
