"""Measure a model and say so on its card: `python -m training.card --data ROOT --scans FOLDER`.

Writes into `card.json` beside the weights, and the model's page with its figures into `docs/`.
"""

from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer

from glyphq.errors import GlyphqError
from glyphq.labels import MERGED_CASES
from glyphq.vision.checkpoint import SHIPPED, ModelCard, read_card, write_card
from glyphq.vision.engine import BATCH, Engine, open_engine
from glyphq.vision.picture import PICTURE_SIZE
from training import figures
from training.evaluate import TEST_SET, Rows, Split, emnist_sample, evaluate, scan_sample
from training.measures import Evaluation, percent
from training.report import read_curves, templates

DOCS = Path("docs")
PUBLISHED = {"accuracy": 0.8882, "loss": 0.05}  # as the recipe's authors gave them, on their own validation data
_SCANS = ("pen-on-paper", "tablet-pen")
_CONFUSIONS = 20  # on the card
_ROUNDS = 9
_BATCHES_A_ROUND = 16


def measured(evaluation: Evaluation) -> dict[str, Any]:
    """What of an evaluation stands on the card."""
    facts = {name: value for name, value in evaluation.measured.items() if name != "classes"}
    facts["calibration"] = {name: value for name, value in facts["calibration"].items() if name != "bins"}
    facts["confusions"] = facts["confusions"][:_CONFUSIONS]
    return {"engine": evaluation.engine, **facts}


def speed(engines: dict[str, Engine]) -> dict[str, float]:
    """Microseconds an image on one core of each, the median of rounds in which every engine had its turn."""
    pictures = np.random.default_rng(1).integers(0, 256, (BATCH, PICTURE_SIZE, PICTURE_SIZE), dtype=np.uint8)
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(_ROUNDS):
        for name, engine in engines.items():
            engine.logits(pictures)
            started = perf_counter()
            for _ in range(_BATCHES_A_ROUND):
                engine.logits(pictures)
            seconds[name].append(perf_counter() - started)
    return {name: round(1e6 * median(values) / _BATCHES_A_ROUND / BATCH, 1) for name, values in seconds.items()}


def compared(models: list[Path], data: Path | None, engine: str) -> list[dict[str, Any]]:
    """Accuracy, size and cost of each model, the costs measured side by side."""
    engines = {str(folder): open_engine(engine, folder) for folder in models}
    cost = speed(engines)
    rows = []
    for folder in models:
        card = read_card(folder)
        on_test = evaluate(engines[str(folder)], card.temperature, emnist_sample(data, Split.TEST, card)).measured
        rows.append(
            {
                "name": card.fields["name"],
                "channels": card.fields["architecture"]["channels"],
                "hidden": card.fields["architecture"]["hidden"],
                "parameters": card.fields["parameters"],
                "accuracy": on_test["accuracy"],
                "training_loss": read_curves(folder)[-1]["loss"],
                "engine": engines[str(folder)].name,
                "us_an_image": cost[str(folder)],
            }
        )
    return rows


def write_page(model: Path, docs: Path, evaluation: Evaluation) -> None:
    """`model-card.md` and its figures. Shows no picture of anybody's handwriting."""
    card = read_card(model)
    folder = docs / "model-card"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        "learning-curves": figures.learning_curves(read_curves(model)),
        "reliability": figures.reliability(evaluation.measured),
        "risk-coverage": figures.risk_coverage(evaluation),
        "confusion": figures.confusion(evaluation),
    }
    for name, figure in drawn.items():
        (folder / f"{name}.svg").write_text(figure)
    (docs / "model-card.md").write_text(page(card))


def page(card: ModelCard) -> str:
    """`model-card.md`."""
    template = templates().get_template("model-card.md")
    return template.render(card=card.fields, test_set=TEST_SET, merged_cases=MERGED_CASES)


def main(
    data: Annotated[Path | None, typer.Option(help="Folder that holds EMNIST/raw; left out, it is downloaded.")] = None,
    scans: Annotated[
        Path | None, typer.Option(help=f"Folder with zips of scans and truth: {', '.join(_SCANS)}.")
    ] = None,
    model: Annotated[Path, typer.Option(help="The model to measure.")] = SHIPPED,
    engine: Annotated[str, typer.Option(help="torch or openvino; auto is what a worker takes.")] = "auto",
    beside: Annotated[
        list[Path] | None, typer.Option(help="Other models for the table, the published one say.")
    ] = None,
) -> None:
    """Measure the shipped model, write its card and its page in docs/."""
    try:
        card = read_card(model)
        opened = open_engine(engine, model)
        samples = [emnist_sample(data, split, card) for split in Split]
        if scans:
            samples += [scan_sample(scans / f"{name}.zip", scans / f"{name}.csv", Rows.ODD) for name in _SCANS]
        evaluations = {sample.name: evaluate(opened, card.temperature, sample) for sample in samples}
        fields = {
            **card.fields,
            "published": PUBLISHED,
            "compared": compared([model, *(beside or [])], data, engine),
            # What is not measured now was measured on these weights: a new export has a new card.
            "measured": card.fields.get("measured", {})
            | {name: measured(evaluation) for name, evaluation in evaluations.items()},
        }
        write_card(model, fields)
        write_page(model, DOCS, evaluations[TEST_SET])
    except GlyphqError as error:
        typer.echo(f"error: {error.detail}", err=True)
        raise SystemExit(1) from None
    for name, evaluation in evaluations.items():
        print(f"{name}: {percent(evaluation.measured['accuracy'])}")
    print(f"written: {model}, {DOCS / 'model-card.md'}")


if __name__ == "__main__":
    typer.run(main)
