"""`python -m bench`: how fast glyphq and the plain script are at the same zip, and whether they say the same.

Each round runs both, one after the other, on the same files. Before the rounds glyphq runs once, uncounted, and the
script once with each of THREADS: the rounds take the faster, as torch beside two loaders on a busy machine was twice as
slow with all cores as with one. Exit code 1 means that the answers differ or that something failed.
"""

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from bench.report import Round, machine, print_report, summary, versions
from glyphq.client import Client, JobStatus
from glyphq.embedded import embedded_service
from glyphq.errors import GlyphqError
from glyphq.samples import Sample, draw
from glyphq.vision.normalize import normalize

WORKERS = 2
THREADS = 1, os.cpu_count() or 1
LEAST_AGREEMENT = 0.995


def main(
    images: Annotated[int, typer.Option(min=1, help="Images in the zip.")] = 20_000,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that count.")] = 5,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers here too.")] = None,
) -> None:
    """Measure glyphq and a plain PyTorch script side by side."""
    place = machine()
    terminal = Console(stderr=True)
    rounds = []
    with (
        tempfile.TemporaryDirectory(prefix="glyphq-bench-") as folder,
        Progress(console=terminal, disable=not terminal.is_terminal, transient=True) as progress,
    ):
        archive, ours, theirs = (Path(folder) / name for name in ("scans.zip", "glyphq.csv", "plain.csv"))
        _write_zip(archive, progress.track(draw(images), total=images, description="drawing"))
        with embedded_service(workers=WORKERS) as service, Client(service.url) as client:
            _, job = _run_glyphq(client, archive, ours)
            threads = min(THREADS, key=lambda threads: _run_plain_script(archive, theirs, threads))
            for _ in progress.track(range(repeats), description="measuring"):
                glyphq_seconds, job = _run_glyphq(client, archive, ours)
                plain_seconds = _run_plain_script(archive, theirs, threads)
                rounds.append(Round(glyphq_seconds, *plain_seconds, _agreement(ours, theirs)))
            software = versions(service.redis_url)
    engines = {
        "glyphq": ", ".join(model["engine"] for model in job.raw["models"]),
        "plain": f"torch f32 cpu, OMP_NUM_THREADS={threads}",
    }
    report = {**summary(images, rounds), "engines": engines, "machine": place, "versions": software}
    print_report(report)
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(report, indent=2) + "\n")
    if report["agreement"] < LEAST_AGREEMENT:
        raise GlyphqError(f"Only {report['agreement']:.2%} of the labels agree; it takes {LEAST_AGREEMENT:.1%}.")


def _write_zip(target: Path, samples: Iterable[Sample]) -> None:
    """The samples made EMNIST's 28x28, light on dark: both sides feed these very pictures to the network."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for sample in samples:
            picture = normalize(np.asarray(Image.open(io.BytesIO(sample.png))))
            if picture is None:
                raise GlyphqError(f"The drawn sample {sample.filename} was taken for a blank one.")
            png = io.BytesIO()
            Image.fromarray(picture).save(png, "PNG")
            archive.writestr(sample.filename, png.getvalue())


def _run_glyphq(client: Client, archive: Path, table: Path) -> tuple[float, JobStatus]:
    started = time.perf_counter()
    job = client.wait(client.submit(archive, top_k=1).id)
    with table.open("wb") as file:
        client.write_results(job.id, file)
    seconds = time.perf_counter() - started
    client.delete(job.id)
    return seconds, job


def _run_plain_script(archive: Path, table: Path, threads: int) -> tuple[float, float]:
    """Its own time, and the time of its whole process, in seconds."""
    command = [sys.executable, "-m", "bench.plain_script", str(archive), str(table)]
    started = time.perf_counter()
    variables = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    said = subprocess.check_output(command, cwd=Path(__file__).parents[1], env=variables, text=True)
    return float(said), time.perf_counter() - started


def _agreement(ours: Path, theirs: Path) -> float:
    """The part of all rows that have the same label. Raises GlyphqError when the rows are not of the same files."""
    one, other = (list(csv.DictReader(table.read_text("utf-8").splitlines())) for table in (ours, theirs))
    if [row["filename"] for row in one] != [row["filename"] for row in other]:
        raise GlyphqError("The two CSVs do not have the same rows.")
    same: int = sum(a["label"] == b["label"] for a, b in zip(one, other, strict=True))
    return same / len(other)


if __name__ == "__main__":
    try:
        typer.run(main)
    except GlyphqError as error:
        sys.exit(f"error: {error.detail}")
