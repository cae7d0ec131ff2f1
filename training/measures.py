"""What answers are worth against the truth: accuracy, confusions, calibration, risk. Pure functions of logits.

Knows classes and numbers; nothing of networks, files or figures.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from glyphq.labels import LABELS, NAMED_CHARSETS, charset_classes
from glyphq.vision.engine import answers

LOOK_ALIKES = ("0O", "1IL", "2Z", "5S", "9gq", "Ff")
"""Classes that many hands write alike, each group counted as one class in `merged`."""

THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
CALIBRATION_BINS = 15

Logits = NDArray[np.float32]
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """What is measured on: pictures uint8[N, 28, 28], their classes int64[N], and how many scans gave no picture."""

    name: str
    pictures: NDArray[np.uint8]
    truth: Classes
    unanswered: int = 0


@dataclass(frozen=True)
class Evaluation:
    """A sample, what the model said of it, logits float32[N, 47], and what that is worth."""

    sample: Sample
    engine: str
    logits: Logits
    measured: dict[str, Any]


def measure(logits: Logits, truth: Classes, temperature: float, unanswered: int = 0) -> dict[str, Any]:
    """Everything there is to say of logits float32[N, 47] against classes int64[N], as JSON can hold it.

    `unanswered` scans have no logits, being blank or unreadable; `accuracy`, `top_2`, `top_3` and `merged` count them
    as errors, the rest is of the N answered ones.
    """
    total = len(truth) + unanswered
    ranked, confidences = answers(logits, temperature, charset_classes("all"), 3)
    predicted, confidence = ranked[:, 0], confidences[:, 0]
    right = predicted == truth
    hits = (ranked == truth[:, None]).sum(0).cumsum()
    group = _groups()
    return {
        "scans": total,
        "unanswered": unanswered,
        "accuracy": proportion(int(hits[0]), total),
        "top_2": proportion(int(hits[1]), total),
        "top_3": proportion(int(hits[2]), total),
        "macro_f1": _round(precision_recall_fscore_support(truth, predicted, average="macro", zero_division=0)[2]),
        "merged": {"groups": LOOK_ALIKES, **proportion(int((group[predicted] == group[truth]).sum()), total)},
        "loss": _round(-log_softmax(logits, axis=1)[np.arange(len(truth)), truth].mean()),
        "charsets": {name: _within(logits, truth, temperature, name) for name in NAMED_CHARSETS},
        "classes": _by_class(predicted, truth),
        "confusions": _confusions(predicted, truth),
        "matrix": _matrix(predicted, truth),
        "calibration": {
            "temperature": temperature,
            "error_before": _calibration_error(answers(logits, 1.0, charset_classes("all"), 1)[1][:, 0], right),
            "error_after": _calibration_error(confidence, right),
            "bins": _bins(confidence, right),
        },
        "thresholds": [_accepted(confidence, right, threshold) for threshold in THRESHOLDS],
    }


def proportion(hits: int, total: int) -> dict[str, Any]:
    """hits / total with its 95 % Wilson interval."""
    if not total:
        return {"value": None, "interval_95": None, "of": 0}
    interval = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    return {"value": _round(hits / total), "interval_95": [_round(interval.low), _round(interval.high)], "of": total}


def risk_and_coverage(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(share of scans kept, share of errors among them), the surest kept first, float64[N] both."""
    order = np.argsort(-confidence, kind="stable")
    kept = np.arange(1, len(order) + 1)
    return kept / max(len(order), 1), np.cumsum(~right[order]) / kept


def _groups() -> NDArray[np.int64]:
    """Class -> the first class of its group of look-alikes, or itself; int64[47]."""
    return np.array([LABELS.index(next((g[0] for g in LOOK_ALIKES if label in g), label)) for label in LABELS])


def _within(logits: Logits, truth: Classes, temperature: float, charset: str) -> dict[str, Any]:
    """Accuracy on the scans that are of the charset, answered with the charset given."""
    classes = charset_classes(charset)
    chosen = np.isin(truth, classes)
    ranked, _ = answers(logits[chosen], temperature, classes, 1)
    return proportion(int((ranked[:, 0] == truth[chosen]).sum()), int(chosen.sum()))


def _by_class(predicted: NDArray[np.uint8], truth: Classes) -> list[dict[str, Any]]:
    classes = range(len(LABELS))
    precision, recall, _, counts = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    return [
        {"label": LABELS[i], "scans": int(counts[i]), "precision": _round(precision[i]), "recall": _round(recall[i])}
        for i in classes
    ]


def _matrix(predicted: NDArray[np.uint8], truth: Classes) -> dict[str, dict[str, int]]:
    """How many scans of each class were answered with which, by label, the class itself included."""
    counts = confusion_matrix(truth, predicted, labels=range(len(LABELS)))
    return {
        LABELS[i]: {LABELS[j]: int(counts[i, j]) for j in np.flatnonzero(counts[i])}
        for i in np.flatnonzero(counts.sum(1))
    }


def _confusions(predicted: NDArray[np.uint8], truth: Classes) -> list[dict[str, Any]]:
    """Which class is taken for which other, how often, the most frequent first."""
    counts = confusion_matrix(truth, predicted, labels=range(len(LABELS)))
    of = counts.sum(1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[: np.count_nonzero(counts)]
    return [
        {
            "truth": LABELS[i],
            "predicted": LABELS[j],
            "scans": int(counts[i, j]),
            "share_of_truth": _round(counts[i, j] / of[i]),
        }
        for i, j in zip(*np.unravel_index(order, counts.shape), strict=True)
    ]


def _equal_mass(confidence: NDArray[np.float32]) -> list[NDArray[np.int64]]:
    return np.array_split(np.argsort(confidence, kind="stable"), CALIBRATION_BINS)


def _calibration_error(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """Expected calibration error over bins of equal mass (Nixon et al. 2019, "Measuring Calibration")."""
    gaps = [len(b) * abs(confidence[b].mean() - right[b].mean()) for b in _equal_mass(confidence) if len(b)]
    return _round(sum(gaps) / max(len(right), 1))


def _bins(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> list[dict[str, float]]:
    return [
        {"confidence": _round(confidence[b].mean()), "accuracy": _round(right[b].mean()), "scans": len(b)}
        for b in _equal_mass(confidence)
        if len(b)
    ]


def _accepted(confidence: NDArray[np.float32], right: NDArray[np.bool_], threshold: float) -> dict[str, Any]:
    """What happens to a user who takes rows of at least this confidence and looks at the others."""
    kept = confidence >= threshold
    errors = int((kept & ~right).sum())
    return {
        "confidence": threshold,
        "accepted": _round(kept.mean()) if len(kept) else None,
        "errors_among_accepted": proportion(errors, int(kept.sum())),
        "errors_expected": _round(float(1 - confidence[kept].mean())) if kept.any() else None,
    }


def _round(value: float) -> float:
    return round(float(value), 4)


def percent(share: dict[str, Any]) -> str:
    """A proportion as people read it: `89.23 % [88.32, 90.09]`."""
    if share["value"] is None:
        return "none"
    low, high = share["interval_95"]
    return f"{share['value']:.2%} [{100 * low:.2f}, {100 * high:.2f}]"
