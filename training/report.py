"""An evaluation told: a table for the terminal, one HTML page with figures and the pictures that were confused."""

import base64
import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from PIL import Image
from rich.console import Console
from rich.table import Table

from glyphq.labels import LABELS, charset_classes
from glyphq.vision.checkpoint import ModelCard
from glyphq.vision.engine import answers
from training import figures
from training.measures import Evaluation, percent

CURVES = "curves.csv"  # beside the weights: what each epoch of their training came to
_CONFUSIONS = 12  # pairs shown
_PICTURES = 10  # of each


def print_table(card: ModelCard, evaluation: Evaluation) -> None:
    """The headline numbers and the worst confusions, on standard output."""
    console = Console(highlight=False)
    table = Table("measure", "value [95 % interval]", title=f"{card.fields['name']} on {evaluation.sample.name}")
    for name, value in summary(evaluation.measured):
        table.add_row(name, value)
    console.print(table)
    pairs = (f"{c['truth']} as {c['predicted']} {c['scans']}" for c in evaluation.measured["confusions"][:_CONFUSIONS])
    console.print(f"most confused: {', '.join(pairs)}")
    console.print(f"engine: {evaluation.engine}; model: {card.digest[:16]}")


def summary(measured: dict[str, Any]) -> list[tuple[str, str]]:
    """The headline numbers, as (name, text)."""
    calibration = measured["calibration"]
    merged = " ".join(measured["merged"]["groups"])
    lines = [
        ("scans", f"{measured['scans']:,}, {measured['unanswered']:,} of them blank or unreadable"),
        ("accuracy", percent(measured["accuracy"])),
        ("macro-F1", f"{measured['macro_f1']:.4f}"),
        ("right among the first two", percent(measured["top_2"])),
        ("right among the first three", percent(measured["top_3"])),
        (f"look-alikes merged ({merged})", percent(measured["merged"])),
        ("cross-entropy, nats", f"{measured['loss']:.4f}"),
    ]
    lines += [(f"charset {name}", percent(share)) for name, share in measured["charsets"].items() if name != "all"]
    lines += [
        ("calibration error as trained", f"{calibration['error_before']:.4f}"),
        (f"calibration error, temperature {calibration['temperature']:g}", f"{calibration['error_after']:.4f}"),
    ]
    return lines


def write_report(path: Path, model: Path, card: ModelCard, evaluation: Evaluation) -> None:
    """One page that needs nothing beside it."""
    history = read_curves(model)
    drawn = {
        "confusion": figures.confusion(evaluation),
        "reliability": figures.reliability(evaluation.measured),
        "risk_coverage": figures.risk_coverage(evaluation),
        "learning_curves": figures.learning_curves(history) if history else None,
    }
    page = (
        templates()
        .get_template("report.html")
        .render(
            card=card,
            evaluation=evaluation,
            summary=summary(evaluation.measured),
            figures=drawn,
            examples=_examples(evaluation),
        )
    )
    path.write_text(page, encoding="utf-8")


def templates() -> Environment:
    """Of pages and of the model's page in the documentation."""
    loader = PackageLoader("training")
    environment = Environment(
        loader=loader,
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["percent"] = percent
    return environment


def read_curves(model: Path) -> list[dict[str, float]]:
    """The epochs of the model's training, none where they are not kept beside it."""
    path = model / CURVES
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in line.items()} for line in csv.DictReader(file)]


def _examples(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The worst confusions with pictures, those of which the model was surest first."""
    truth = evaluation.sample.truth
    temperature = evaluation.measured["calibration"]["temperature"]
    ranked, confidences = answers(evaluation.logits, temperature, charset_classes("all"), 1)
    examples = []
    for pair in evaluation.measured["confusions"][:_CONFUSIONS]:
        wanted, given = LABELS.index(pair["truth"]), LABELS.index(pair["predicted"])
        found = np.flatnonzero((truth == wanted) & (ranked[:, 0] == given))
        found = found[np.argsort(-confidences[found, 0], kind="stable")][:_PICTURES]
        pictures = [(_png(evaluation.sample.pictures[i]), float(confidences[i, 0])) for i in found]
        examples.append({**pair, "pictures": pictures})
    return examples


def _png(picture: Any) -> str:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()
