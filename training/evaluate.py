"""Measure a model: `python -m training.evaluate --data ROOT`, or on scans: `--scans ZIP --truth CSV --rows odd`.

Pictures go the way they go in the service: the same decoding and normalizing, the same engine in batches of the same
shape. The one place that reads EMNIST's test set.
"""

import json
import zipfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from glyphq.errors import GlyphqError, InvalidOption, SetupError
from glyphq.jobs import Rejection
from glyphq.labels import LABELS
from glyphq.samples import read_truth
from glyphq.settings import Settings
from glyphq.vision.checkpoint import SHIPPED, ModelCard, read_card
from glyphq.vision.decode import decode
from glyphq.vision.engine import BATCH, Engine, open_engine
from glyphq.vision.normalize import normalize
from training.data import hold_out, load_emnist
from training.measures import Evaluation, Sample, measure
from training.recipes import read_recipe
from training.report import print_table, write_report

REPORTS = Path("runs/evaluation")
TEST_SET = "emnist-balanced-test"
_TERMINAL = Console(stderr=True)


class Split(StrEnum):
    """Which part of EMNIST: the test set, or the images that were held out of the model's training."""

    TEST = "test"
    HELD_OUT = "held-out"


class Rows(StrEnum):
    """Which rows of the truth, counted from 0: scans are looked at on the even ones and reported on the odd ones."""

    EVEN = "even"
    ODD = "odd"
    ALL = "all"

    @property
    def slice(self) -> slice:
        """Of the rows in their order."""
        return {Rows.EVEN: slice(0, None, 2), Rows.ODD: slice(1, None, 2), Rows.ALL: slice(None)}[self]


def emnist_sample(data: Path | None, split: Split, card: ModelCard) -> Sample:
    """The test set, or what was held out when the model of this card was trained."""
    if split is Split.TEST:
        pictures = load_emnist(data, "balanced", train=False)
        _warn_of_others(len(pictures), card.fields.get("measured", {}).get(TEST_SET, {}).get("scans"))
        return Sample(TEST_SET, pictures.pixels.numpy(), pictures.classes.numpy())
    recipe = read_recipe(card.fields["recipe"]["name"])
    available = load_emnist(data, recipe.split, train=True)
    _warn_of_others(len(available), card.fields["data"]["trained_on"] + card.fields["data"]["held_out"])
    _, pictures = hold_out(available, seed=recipe.seed)
    return Sample(split, pictures.pixels.numpy(), pictures.classes.numpy())


def _warn_of_others(images: int, on_card: int | None) -> None:
    """Say so where these cannot be the files that the card is about."""
    if on_card not in (None, images):
        _TERMINAL.print(
            f"warning: these are {images:,} images, and those of the card {on_card:,}: other files of EMNIST, on some "
            "of which the model may have been trained. Its accuracy on them may be flattered.",
            style="yellow",
        )


def scan_sample(archive: Path, truth: Path, rows: Rows) -> Sample:
    """The scans of a zip that the truth names. Raises SetupError when one is not in it, or has no known label."""
    labels = _known_truth(truth)
    names = list(labels)[rows.slice]
    pictures, classes = [], []
    max_pixels = Settings().max_pixels
    try:
        with zipfile.ZipFile(archive) as file:
            for name in track(names, f"reading {archive.name}", console=_TERMINAL, transient=True):
                scan = decode(file.read(name), max_pixels)
                picture = None if isinstance(scan, Rejection) else normalize(scan)
                if picture is not None:
                    pictures.append(picture)
                    classes.append(LABELS.index(labels[name]))
    except (OSError, zipfile.BadZipFile) as error:
        raise SetupError(f"{archive} cannot be read as a zip ({error}).") from error
    except KeyError as error:
        raise SetupError(f"{truth} names a scan that {archive} does not have: {error}") from error
    if not pictures:
        raise SetupError(f"None of the {len(names)} scans is readable and has ink on it; look at {archive}.")
    which = "" if rows is Rows.ALL else f", {rows} rows"
    return Sample(archive.stem + which, np.stack(pictures), np.array(classes, np.int64), len(names) - len(pictures))


def evaluate(engine: Engine, temperature: float, sample: Sample) -> Evaluation:
    """Ask the engine, and measure what it answers."""
    starts = range(0, len(sample.pictures), BATCH)
    parts = [
        engine.logits(sample.pictures[start : start + BATCH])
        for start in track(starts, sample.name, console=_TERMINAL, transient=True)
    ]
    logits = np.concatenate(parts)
    return Evaluation(sample, engine.name, logits, measure(logits, sample.truth, temperature, sample.unanswered))


def _known_truth(path: Path) -> dict[str, str]:
    """filename -> label."""
    try:
        labels = read_truth(path)
    except (OSError, InvalidOption) as error:
        raise SetupError(str(error)) from error
    unknown = sorted(set(labels.values()) - set(LABELS))
    if unknown or not labels:
        said = f"has labels that are no class: {', '.join(unknown)}" if unknown else "has no rows"
        raise SetupError(f"{path} {said}. The classes are {LABELS}.")
    return labels


def main(
    data: Annotated[Path | None, typer.Option(help="Folder that holds EMNIST/raw; left out, it is downloaded.")] = None,
    split: Annotated[Split, typer.Option(help="Which part of EMNIST, where no scans are given.")] = Split.TEST,
    scans: Annotated[Path | None, typer.Option(help="A zip of scans to measure on instead.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Its CSV with columns filename and emnist_label.")] = None,
    rows: Annotated[Rows, typer.Option(help="Which rows of that CSV.")] = Rows.ALL,
    model: Annotated[Path, typer.Option(help="A folder with weights and card.")] = SHIPPED,
    engine: Annotated[str, typer.Option(help="torch or openvino; auto is what a worker takes.")] = "auto",
    output: Annotated[Path, typer.Option(help="Where the report and its JSON go.")] = REPORTS,
) -> None:
    """Measure a model; prints a table and writes report.html and report.json."""
    try:
        card = read_card(model)
        if scans is None:
            sample = emnist_sample(data, split, card)
        elif truth is None:
            raise SetupError("--scans needs --truth, a CSV with the columns filename and emnist_label.")
        else:
            sample = scan_sample(scans, truth, rows)
        evaluation = evaluate(open_engine(engine, model), card.temperature, sample)
        print_table(card, evaluation)
        output.mkdir(parents=True, exist_ok=True)
        facts = {"sample": sample.name, "engine": evaluation.engine, "model": card.digest, **evaluation.measured}
        (output / "report.json").write_text(json.dumps(facts, indent=2) + "\n")
        write_report(output / "report.html", model, card, evaluation)
    except GlyphqError as error:
        typer.echo(f"error: {error.detail}", err=True)
        raise SystemExit(1) from None
    print(f"written: {output / 'report.html'}, {output / 'report.json'}")


if __name__ == "__main__":
    typer.run(main)
