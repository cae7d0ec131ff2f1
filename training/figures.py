"""What is better looked at than read, as SVG. Knows matplotlib and measures; nothing of files or pages."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from sklearn.metrics import confusion_matrix

from glyphq.labels import LABELS, charset_classes
from glyphq.vision.engine import answers
from training.measures import Evaluation, risk_and_coverage

_BLUE, _ORANGE, _GRAY = "#1f5fa8", "#c8501e", "#8a8f98"
_STYLE: Any = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "grid.color": "#e3e6ea",
    "legend.frameon": False,
    "svg.hashsalt": "glyphq",  # the same numbers give the same file
}
_PERCENT = PercentFormatter(1, decimals=0)


@mpl.rc_context(_STYLE)
def learning_curves(history: Sequence[dict[str, float]]) -> str:
    """Loss and error of each epoch: on what was trained on, augmented and with dropout, and on the images held out."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    losses, errors = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in history]
    for prefix, color, label in (("", _GRAY, "training, as augmented"), ("validation_", _BLUE, "held out")):
        losses.plot(epochs, [line[f"{prefix}loss"] for line in history], color=color, label=label)
        errors.plot(epochs, [1 - line[f"{prefix}accuracy"] for line in history], color=color, label=label)
    losses.set_ylabel("cross-entropy, nats")
    errors.set_ylabel("error")
    errors.yaxis.set_major_formatter(_PERCENT)
    for axes in (losses, errors):
        axes.set_xlabel("epoch")
        axes.set_ylim(0, 2 * float(np.nanmedian([line.get_ydata() for line in axes.lines])))  # where it settles
    errors.legend()
    return _svg(figure)


@mpl.rc_context(_STYLE)
def confusion(evaluation: Evaluation) -> str:
    """Share of each true class that is given each label; the diagonal is left out, or it would be all one sees."""
    predicted = _first(evaluation)[0]
    shares = confusion_matrix(evaluation.sample.truth, predicted, labels=range(len(LABELS)), normalize="true")
    np.fill_diagonal(shares, 0)
    figure = Figure(figsize=(8, 7.4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=max(shares.max(), 0.01))
    for ticks, set_labels in ((axes.set_xticks, axes.set_xticklabels), (axes.set_yticks, axes.set_yticklabels)):
        ticks(range(len(LABELS)))
        set_labels(list(LABELS), fontfamily="monospace")
    axes.grid(visible=False)
    axes.set_xticks(np.arange(-0.5, len(LABELS)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(LABELS)), minor=True)
    axes.grid(which="minor", color="#eef0f3", linewidth=0.4)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("label given")
    axes.set_ylabel("true class")
    figure.colorbar(image, ax=axes, shrink=0.6, format=_PERCENT, label="share of the true class")
    return _svg(figure)


@mpl.rc_context(_STYLE)
def reliability(measured: dict[str, Any]) -> str:
    """Accuracy against confidence in bins of equal mass: on the diagonal, a confidence means what it says."""
    bins = measured["calibration"]["bins"]
    figure = Figure(figsize=(4.2, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=_GRAY, linewidth=1, linestyle="--", label="as it should be")
    axes.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], "o-", color=_BLUE, label="measured")
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that is right")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    _in_percent(axes)
    axes.legend()
    return _svg(figure)


@mpl.rc_context(_STYLE)
def risk_coverage(evaluation: Evaluation) -> str:
    """Errors among the rows one keeps, when the least sure ones are set aside for a person."""
    predicted, confidence = _first(evaluation)
    coverage, risk = risk_and_coverage(confidence, predicted == evaluation.sample.truth)
    figure = Figure(figsize=(4.6, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(coverage, risk, color=_BLUE)
    for row in evaluation.measured["thresholds"]:
        if row["accepted"] and row["confidence"] in {0.5, 0.8, 0.9, 0.95, 0.99}:
            point = row["accepted"], row["errors_among_accepted"]["value"]
            axes.plot(*point, "o", color=_ORANGE, markersize=4)
            axes.annotate(f"{row['confidence']:g}", point, textcoords="offset points", xytext=(-4, 6), ha="right")
    axes.set_xlabel("rows kept; points: confidence at least")
    axes.set_ylabel("errors among them")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(bottom=0)
    _in_percent(axes)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    return _svg(figure)


def _first(evaluation: Evaluation) -> tuple[Any, Any]:
    temperature = evaluation.measured["calibration"]["temperature"]
    ranked, confidences = answers(evaluation.logits, temperature, charset_classes("all"), 1)
    return ranked[:, 0], confidences[:, 0]


def _in_percent(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(_PERCENT)
    axes.yaxis.set_major_formatter(_PERCENT)


def _svg(figure: Figure) -> str:
    content = io.StringIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()[content.getvalue().index("<svg") :]
