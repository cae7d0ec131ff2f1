"""`python -m bench.training`: how fast a recipe is trained by training.train's own step and by the plain loop.

Each side has a process of its own, which is idle while the other trains. A round is one epoch of each, one after the
other, over the same images. Before the rounds each trains one epoch, uncounted, in which the own step is compiled;
the plain loop also one with each of THREADS: the rounds take the faster. Nothing else that `make train` does is in
it: no validation, no checkpoints. Both compute on the CPU.
"""

import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Self

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from bench import plain_training
from bench.plain_training import Epoch
from bench.report import commit, machine, spread, told
from glyphq.errors import GlyphqError, SetupError
from training.data import Pictures, hold_out, load_emnist
from training.recipes import Recipe, read_recipe
from training.train import Run, batches, loss_function

if TYPE_CHECKING:
    from multiprocessing.connection import Connection  # generic to type checkers alone

THREADS = 1, os.cpu_count() or 1
SIDES = {"glyphq": "glyphq's step", "plain": "plain loop"}

Epochs = Callable[[Pictures, Recipe, int], Iterator[Epoch]]  # of the images, by the recipe, on so many threads


def main(
    recipe: Annotated[str, typer.Option(help="A name from training/recipes.")] = "best",
    data: Annotated[Path | None, typer.Option(help="Folder that holds EMNIST/raw; left out, it is downloaded.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Images an epoch; what fills no batch is left out.")] = 12_800,
    repeats: Annotated[int, typer.Option(min=5, help="Rounds that count.")] = 5,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers here too.")] = None,
) -> None:
    """Measure the own training step and a plain PyTorch loop side by side."""
    place = machine()
    chosen = read_recipe(recipe)
    training, _ = hold_out(load_emnist(data, chosen.split, train=True), seed=chosen.seed)
    images = min(images, len(training)) // chosen.batch_size * chosen.batch_size
    if not images:
        raise SetupError(f"An epoch of recipe {recipe} takes {chosen.batch_size} images at least, one batch.")
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(chosen.seed))
    pictures = training[order[:images]]
    terminal = Console(stderr=True)
    with (
        tempfile.TemporaryDirectory(prefix="glyphq-bench-") as cache,
        Progress(console=terminal, disable=not terminal.is_terminal, transient=True) as progress,
    ):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # so that the warm-up compiles everything, in each run of this
        trials = {}
        for threads in progress.track(THREADS, description="warming up"):
            with Trainer(plain_training.epochs, pictures, chosen, threads) as plain:
                trials[threads] = plain.train_epoch().seconds
        threads = min(trials, key=trials.__getitem__)
        with (
            Trainer(own_epochs, pictures, chosen, THREADS[-1]) as own,
            Trainer(plain_training.epochs, pictures, chosen, threads) as plain,
        ):
            measured = [
                {"glyphq": own.train_epoch(), "plain": plain.train_epoch()}
                for _ in progress.track(range(1 + repeats), description="measuring")
            ]
    report = {
        **summary(images, chosen.images_per_epoch or len(training), measured[0], measured[1:]),
        "recipe": recipe,
        "engines": {
            "glyphq": f"torch bf16 compiled threads={THREADS[-1]}",
            "plain": f"torch f32 eager threads={threads} loaders={plain_training.LOADERS}",
        },
        "machine": place,
        "versions": {
            "glyphq": commit(),
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "torchvision", "pillow")},
        },
    }
    _print_report(report)
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(report, indent=2) + "\n")


def own_epochs(pictures: Pictures, recipe: Recipe, threads: int) -> Iterator[Epoch]:
    """As training.train trains them."""
    torch.set_num_threads(threads)
    run = Run(recipe, torch.device("cpu"), steps_per_epoch=len(pictures) // recipe.batch_size)
    loss_of = loss_function(run)
    while True:
        started = time.perf_counter()
        for batch in batches(run, pictures):
            run.take_step(loss_of, batch)
        _, right, images = run.totals.tolist()
        yield Epoch(time.perf_counter() - started, right / images)
        run.totals.zero_()


class Trainer:
    """A side in its process, which does nothing until it is asked for an epoch."""

    def __init__(self, epochs: Epochs, pictures: Pictures, recipe: Recipe, threads: int) -> None:
        spawned = multiprocessing.get_context("spawn")  # no thread of the one side is in the other
        self._name = recipe.name
        self._connection, self._there = spawned.Pipe()
        arguments = self._there, epochs, pictures, recipe, threads
        self._process = spawned.Process(target=_train_when_asked, args=arguments)

    def __enter__(self) -> Self:
        self._process.start()
        self._there.close()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._connection.close()
        if kind is not None:
            self._process.terminate()
        self._process.join()

    def train_epoch(self) -> Epoch:
        """Raises GlyphqError when the process ended instead; it has said why."""
        try:
            self._connection.send(None)
            epoch: Epoch = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise GlyphqError(f"The training of {self._name} ended before its time; its error is above.") from error
        return epoch


def _train_when_asked(
    asked: "Connection[Epoch, None]", epochs: Epochs, pictures: Pictures, recipe: Recipe, threads: int
) -> None:
    multiprocessing.set_start_method(None, force=True)  # loaders start as in any script, not as this process did
    trained = epochs(pictures, recipe, threads)
    try:
        while True:
            asked.recv()
            asked.send(next(trained))
    except EOFError:  # the other end was closed: that was all
        return


def summary(
    images: int, images_per_epoch: int, first: Mapping[str, Epoch], rounds: Sequence[Mapping[str, Epoch]]
) -> dict[str, Any]:
    """The numbers of a report: the ratio first; then of each side images a second and the recipe's epoch in seconds.

    `images` were trained on in each round; `first` is the uncounted one, whose surplus of time is the warm-up.
    """
    seconds = {side: [epochs[side].seconds for epochs in rounds] for side in SIDES}
    rates = {side: spread([images / taken for taken in seconds[side]]) for side in SIDES}
    return {
        "ratio": spread([epochs["plain"].seconds / epochs["glyphq"].seconds for epochs in rounds]),
        "images_per_second": rates,
        "epoch_seconds": {side: images_per_epoch / rates[side]["median"] for side in SIDES},
        "warm_up_seconds": {side: max(0.0, first[side].seconds - median(seconds[side])) for side in SIDES},
        "last_accuracy": {side: rounds[-1][side].accuracy for side in SIDES},
        "images": images,
        "images_per_epoch": images_per_epoch,
        "rounds": [{side: asdict(epoch) for side, epoch in epochs.items()} for epochs in rounds],
    }


def _print_report(report: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"glyphq trains {told(report['ratio'], '.1f')} times as fast as the plain loop", markup=False)
    table = Table("images a second", escape("median [min-max]"), "recipe's epoch", "warm-up", "accuracy")
    for side, rate in report["images_per_second"].items():
        epoch, warm_up, accuracy = (report[key][side] for key in ("epoch_seconds", "warm_up_seconds", "last_accuracy"))
        table.add_row(SIDES[side], escape(told(rate, ",.0f")), f"{epoch:.0f} s", f"{warm_up:.0f} s", f"{accuracy:.1%}")
    console.print(table)
    console.print(
        f"recipe {report['recipe']}: an epoch has {report['images_per_epoch']:,} images; training alone is measured"
    )
    console.print(f"{len(report['rounds'])} rounds of {report['images']:,} images, interleaved")
    console.print(
        "the ratio is of the two times of one round; the warm-up is in none; the accuracy is the last round's"
    )
    for name in ("engines", "machine", "versions"):
        console.print(f"{name}:", ", ".join(f"{key} {value}" for key, value in report[name].items()))


if __name__ == "__main__":
    try:
        typer.run(main)
    except GlyphqError as error:
        sys.exit(f"error: {error.detail}")
