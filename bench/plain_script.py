"""What a good PyTorch user writes to classify a zip of 28x28 PNGs: `python -m bench.plain_script ZIP CSV`.

zipfile, Pillow, a DataLoader with 2 workers, eager float32, batches of 256. From glyphq it takes only the network and
its weights. It prints the seconds from just before the zip is opened to the CSV closed.
"""

import csv
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from glyphq.labels import LABELS
from glyphq.vision.checkpoint import load_network

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
def main(zip_path: Path, csv_path: Path) -> None:
    network, card = load_network()
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


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
