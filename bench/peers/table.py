"""The CSV that every peer writes."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

COLUMNS = ("row", "filename", "label", "confidence")


def write_table(path: Path, names: Sequence[str], answers: Iterable[tuple[str, float]]) -> None:
    """A row for each name with its answer, a label and the confidence in it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        pairs = zip(names, answers, strict=True)
        table.writerows((row, name, label, f"{sure:.4f}") for row, (name, (label, sure)) in enumerate(pairs))
