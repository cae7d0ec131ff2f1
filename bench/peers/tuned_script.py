"""What an expert writes for one machine: `python -m bench.peers.tuned_script ZIP CSV`.

A process for each core, each on one thread, takes the next batch until there is none and hands its rows to the parent
as text. What was measured on 2 cores of an EPYC 9005 (Zen 5, avx512_bf16), microseconds an image on one core:
- network: eager float32 330; bfloat16 by autocast 100; compiled with frozen weights 75, as OpenVINO. max-autotune and
  Inductor's C++ wrapper gain nothing: 80% is oneDNN's convolutions. Batches of 64 and 128 take 75, 256 and 512 82.
- PNG: cv2 5 to 10, Pillow 25 to 35. zipfile: 5 an image for its index, in every process, and 10 to read.
"""

import csv
import io
import multiprocessing as mp
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np
import torch
import typer
from torch import Tensor
from torch._inductor import config as inductor

from bench.peers.table import COLUMNS
from glyphq.labels import LABELS
from glyphq.vision.checkpoint import SHIPPED, load_network
from glyphq.vision.picture import PICTURE_SIZE

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.sharedctypes import Synchronized

BATCH = 64

Classifier = Callable[[Tensor], tuple[Tensor, Tensor]]


def open_compiled(model: Path) -> Classifier:
    """uint8[BATCH, 28, 28] -> confidences, classes. Compiled here and now; bfloat16 only where the CPU computes it."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    network, card = load_network(model)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
    able = torch.cpu.get_capabilities()
    bfloat16 = bool(able.get("avx512_bf16") or able.get("amx_bf16"))

    def classify(pictures: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = network(pictures)
        confidences, classes = torch.softmax(logits.float() / card.temperature, dim=1).max(dim=1)
        return confidences, classes

    inductor.freezing = True  # as an option of compile() it is ignored: 150 us an image instead of 75
    compiled: Classifier = torch.inference_mode()(torch.compile(classify, dynamic=False))
    for _ in range(2):
        compiled(torch.zeros(BATCH, PICTURE_SIZE, PICTURE_SIZE, dtype=torch.uint8))
    return compiled


def rows(archive: zipfile.ZipFile, names: Sequence[str], start: int, classify: Classifier) -> str:
    """The lines of the CSV for `names`, a batch that begins at row `start`."""
    pictures = np.zeros((BATCH, PICTURE_SIZE, PICTURE_SIZE), np.uint8)
    for picture, name in zip(pictures, names, strict=False):
        png = np.frombuffer(archive.read(name), np.uint8)
        picture[:] = cv2.imdecode(png, cv2.IMREAD_GRAYSCALE)  # type: ignore[assignment]  # no image: raises
    confidences, classes = (answer.tolist() for answer in classify(torch.from_numpy(pictures)))
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows(
        (start + i, name, LABELS[classes[i]], f"{confidences[i]:.4f}") for i, name in enumerate(names)
    )
    return lines.getvalue()


class TunedScript:
    """The processes, started and with their networks compiled; `start_seconds` is what that took."""

    name = "tuned script"
    start_seconds = 0.0

    def __init__(self, model: Path) -> None:
        context = mp.get_context("spawn")
        self._next: Synchronized[int] = context.Value("q", 0)
        pipes = [context.Pipe() for _ in range(os.cpu_count() or 1)]
        self._pipes = [ours for ours, _ in pipes]
        self._theirs = [theirs for _, theirs in pipes]
        self._processes = [
            context.Process(target=_work, args=(theirs, self._next, model), daemon=True) for theirs in self._theirs
        ]

    def __enter__(self) -> Self:
        started = time.perf_counter()
        for process, theirs in zip(self._processes, self._theirs, strict=True):
            process.start()
            theirs.close()  # so that one that dies is noticed
        for pipe in self._pipes:
            pipe.recv()
        self.start_seconds = time.perf_counter() - started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            pipe.close()
            process.join()

    def classify(self, archive: Path, table: Path) -> float:
        started = time.perf_counter()
        self._next.value = 0
        for pipe in self._pipes:
            pipe.send(archive)
        parts = sorted(chain.from_iterable(pipe.recv() for pipe in self._pipes))
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(COLUMNS)
            file.writelines(lines for _, lines in parts)
        return time.perf_counter() - started


def _work(pipe: "Connection[object, Path]", following: "Synchronized[int]", model: Path) -> None:
    """One process: for every zip the batches that no other took, until the parent has no more zips."""
    classify = open_compiled(model)
    pipe.send("ready")
    while True:
        try:
            path = pipe.recv()
        except EOFError:
            return
        parts = []
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            while True:
                with following.get_lock():
                    start = following.value
                    following.value += BATCH
                if start >= len(names):
                    break
                parts.append((start, rows(archive, names[start : start + BATCH], start, classify)))
        pipe.send(parts)


def main(archive: Path, table: Path, model: Path = SHIPPED) -> None:
    with TunedScript(model) as script:
        seconds = script.classify(archive, table)
    print(f"{seconds:.3f} s, and {script.start_seconds:.1f} s before to start the processes and compile the network")


if __name__ == "__main__":
    typer.run(main)
