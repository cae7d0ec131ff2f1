"""What a good PyTorch user writes to classify a zip of 28x28 PNGs: `python -m bench.peers.plain_script ZIP CSV`.

zipfile, Pillow, a DataLoader with 2 workers, eager float32, batches of 256. From glyphq it takes only the network and
its weights. It prints the seconds from just before the zip is opened to the CSV closed.
"""

import csv
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from glyphq.labels import LABELS
from glyphq.vision.checkpoint import SHIPPED, load_network

LOADERS = 2
BATCH = 256


class ZipPictures(Dataset[Tensor]):
    """uint8[28, 28] each. Every loader process opens the zip for itself."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._archive: zipfile.ZipFile | None = None
        with zipfile.ZipFile(path) as archive:
            self.names = archive.namelist()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Tensor:
        if self._archive is None:
            self._archive = zipfile.ZipFile(self._path)
        with self._archive.open(self.names[index]) as file, Image.open(file) as image:
            return torch.from_numpy(np.array(image.convert("L")))


@torch.inference_mode()
def main(zip_path: Path, csv_path: Path, model: Path = SHIPPED) -> None:
    network, card = load_network(model)
    started = time.perf_counter()
    pictures = ZipPictures(zip_path)
    with csv_path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("row", "filename", "label", "confidence"))
        row = 0
        for batch in DataLoader(pictures, batch_size=BATCH, num_workers=LOADERS):
            likelihoods = torch.softmax(network(batch) / card.temperature, dim=1)
            confidences, classes = likelihoods.max(dim=1)
            for confidence, index in zip(confidences.tolist(), classes.tolist(), strict=True):
                table.writerow((row, pictures.names[row], LABELS[index], f"{confidence:.4f}"))
                row += 1
    print(time.perf_counter() - started)


class PlainScript:
    """The script in a process of its own, whose start is not in the seconds.

    The first zip is classified once on one thread and once on all, and the faster stays: beside two loaders on a busy
    machine torch was twice as slow on all cores as on one.
    """

    name = "plain script"
    threads: int | None = None

    def __init__(self, model: Path) -> None:
        self._model = model

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def classify(self, archive: Path, table: Path) -> float:
        if self.threads is None:
            self.threads = min((1, os.cpu_count() or 1), key=lambda threads: self._run(archive, table, threads))
        return self._run(archive, table, self.threads)

    def _run(self, archive: Path, table: Path, threads: int) -> float:
        names = [str(path.resolve()) for path in (archive, table, self._model)]
        command = [sys.executable, "-m", "bench.peers.plain_script", *names[:2], "--model", names[2]]
        variables = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        return float(subprocess.check_output(command, cwd=Path(__file__).parents[2], env=variables, text=True))


if __name__ == "__main__":
    typer.run(main)
