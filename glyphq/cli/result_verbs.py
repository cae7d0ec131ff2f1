"""`glyphq results`, `follow`, `correct` and `uncorrect`: what one does with the rows of a job."""
# A command's parameters are its options:
# ruff: noqa: PLR0917

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from glyphq.cli.options import (
    STANDARD_OUTPUT,
    AsJson,
    JobId,
    Key,
    Output,
    ResultFormat,
    RowNumber,
    Server,
    client_of,
)
from glyphq.cli.waiting import saying_where_it_is_left
from glyphq.cli.words import print_json, printable, say, target_of
from glyphq.errors import JobNotFinished
from glyphq.jobs import Correction, RowStatus, Sort
from glyphq.records import Format


def results(
    context: typer.Context,
    job: JobId,
    output: Output = STANDARD_OUTPUT,
    format: ResultFormat = None,
    sort: Annotated[
        Sort | None, typer.Option("--sort", help="confidence: the most doubtful first.", show_default="row")
    ] = None,
    min_confidence: Annotated[float | None, typer.Option(min=0, max=1, help="Rows this sure or more.")] = None,
    max_confidence: Annotated[float | None, typer.Option(min=0, max=1, help="Rows this sure or less.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="LABEL", help="Rows with this label; may be repeated.")
    ] = None,
    status: Annotated[
        list[RowStatus] | None, typer.Option("--status", help="Rows with this status; may be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most this many rows.")] = None,
    corrected: Annotated[bool, typer.Option("--corrected", help="With what people corrected.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="The rows there are, even if more will come.")] = False,
    bom: Annotated[bool, typer.Option("--bom", help="CSV with a byte order mark, for Excel.")] = False,
    server: Server = None,
    key: Key = None,
) -> None:
    """Fetch the rows of a job, all or some; exit 3 if it still runs.

    Example: glyphq results 0199f0a0-0000-7000-8000-000000000001 -o predictions.csv
    """
    chosen: dict[str, Any] = {
        "sort": sort,
        "min_confidence": min_confidence,
        "max_confidence": max_confidence,
        "label": label,
        "status": status,
        "limit": limit,
        "corrected": corrected,
        "partial": partial,
        "bom": bom,
    }
    wanted: Any = {name: value for name, value in chosen.items() if value not in (None, False, [])}
    with client_of(context, server, key) as client, target_of(output) as target:
        try:
            complete = client.download(job, target, format or Format.of_path(output), **wanted)
        except JobNotFinished as unfinished:
            advice = "The job still runs. `glyphq wait JOB` waits for it; --partial takes the rows there are."
            raise JobNotFinished(advice, unfinished.job) from None
    if not complete:
        say("warning: the job still runs; these are the rows so far.")


def follow(
    context: typer.Context,
    job: JobId,
    first_row: Annotated[int, typer.Option("--first-row", min=0, help="From this row on.")] = 0,
    server: Server = None,
    key: Key = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each row as a line of JSON, and nothing else.")
    ] = False,
) -> None:
    """Print each row when it is there, in order, until the job has ended.

    Example: glyphq follow 0199f0a0-0000-7000-8000-000000000001 --json
    """
    with client_of(context, server, key) as client, saying_where_it_is_left(job, verb="follow"):
        for row in client.follow(job, first_row):
            typer.echo(json.dumps(row.as_json()) if as_json else "  ".join(map(printable, row.words)))


def correct(
    context: typer.Context,
    job: JobId,
    row: RowNumber,
    label: Annotated[
        str, typer.Argument(metavar="LABEL", help="What is on the scan: 1 to 8 characters.", show_default=False)
    ],
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say what is on a scan. It is kept beside what the network said; the last word stands.

    Example: glyphq correct 0199f0a0-0000-7000-8000-000000000001 12 7
    """
    Correction(label, by="", at=0)  # raises InvalidOption for bytes that are no text, which JSON would hide
    with client_of(context, server, key) as client:
        kept = client.correct(job, row, label)
    if as_json:
        print_json({**asdict(kept), "corrected_at": kept.corrected_at.isoformat()})


def uncorrect(
    context: typer.Context,
    job: JobId,
    row: RowNumber,
    server: Server = None,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the row that has none now as JSON.")] = False,
) -> None:
    """Take a correction back: the network's word stands again.

    Example: glyphq uncorrect 0199f0a0-0000-7000-8000-000000000001 12
    """
    with client_of(context, server, key) as client:
        client.uncorrect(job, row)
    if as_json:
        print_json({"id": job, "row": row, "corrected": False})
