"""The same zip by glyphq and by others, in turn, round after round, and whether they all say the same."""

import csv
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.report import spread
from glyphq.client import Client
from glyphq.errors import GlyphqError

Side = Callable[[Path, Path], float]
"""Classifies a zip into a CSV and answers how many seconds that took."""

GLYPHQ = "glyphq"
LEAST_AGREEMENT = 0.995


def glyphq_side(client: Client) -> Side:
    """From the zip on disk, by POST, to the last byte of the CSV on disk."""

    def run(archive: Path, table: Path) -> float:
        started = time.perf_counter()
        job = client.wait(client.submit(archive, top_k=1).id)
        with table.open("wb") as file:
            client.download(job, file)
        seconds = time.perf_counter() - started
        client.delete(job.id)
        return seconds

    return run


def compare(
    sides: Mapping[str, Side],
    archive: Path,
    images: int,
    repeats: int,
    told: Callable[[str], None],
    *,
    reference: str,
    beside: Callable[[], Mapping[str, float]] = dict,
) -> dict[str, Any]:
    """Rounds in each of which every side runs once; before them each has run once, uncounted.

    Ratios are of two times of one round. `beside` is measured once a round as well: images a second by name. Raises
    GlyphqError when the labels of a side and of `reference` agree by less than LEAST_AGREEMENT.
    """
    tables = {name: archive.with_name(f"{number}.csv") for number, name in enumerate(sides)}
    rounds: list[dict[str, float]] = []
    rates: list[Mapping[str, float]] = []
    for number in range(repeats + 1):
        seconds = {}
        for name, run in sides.items():
            told(f"{images:,} images, round {number} of {repeats}: {name}")
            seconds[name] = run(archive, tables[name])
        if number:
            rounds.append(seconds)
            rates.append(beside())
    agreement = {name: _agreement(table, tables[reference]) for name, table in tables.items()}
    for name, share in agreement.items():
        if share < LEAST_AGREEMENT:
            raise GlyphqError(
                f"{name} gives {share:.2%} of the labels that {reference} gives; it takes {LEAST_AGREEMENT:.1%}."
            )
    return {
        "images": images,
        "ratios": {n: spread([r[n] / r[GLYPHQ] for r in rounds]) for n in sides if n != GLYPHQ},
        "per_second": {n: spread([images / r[n] for r in rounds]) for n in sides},
        "beside": {n: spread([rate[n] for rate in rates]) for n in rates[0]},
        "share_of": {
            n: spread([images / r[GLYPHQ] / rate[n] for r, rate in zip(rounds, rates, strict=True)]) for n in rates[0]
        },
        "agreement": agreement,
        "rounds": rounds,
    }


def _agreement(one: Path, other: Path) -> float:
    """The part of all rows with the same label. Raises GlyphqError when the rows are not of the same files."""
    left, right = (list(csv.DictReader(table.read_text("utf-8").splitlines())) for table in (one, other))
    if [row["filename"] for row in left] != [row["filename"] for row in right]:
        raise GlyphqError(f"The tables {one.name} and {other.name} do not have the same rows.")
    same: int = sum(a["label"] == b["label"] for a, b in zip(left, right, strict=True))
    return same / len(right)
