"""`glyphq classify` and `glyphq submit`."""
# A command's parameters are its options:
# ruff: noqa: PLR0917

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glyphq.cli.options import (
    STANDARD_OUTPUT,
    AsJson,
    Charset,
    FilenameEncoding,
    Key,
    Output,
    Polarity,
    ResultFormat,
    Scans,
    Server,
    TopK,
    Workers,
    charset_options,
    client_of,
)
from glyphq.cli.waiting import saying_where_it_is_left, watch
from glyphq.cli.words import at_least_said, exit_code, print_json, say, target_of
from glyphq.errors import (
    GlyphqError,
    InvalidArchive,
    JobFailed,
    UnsupportedInput,
)
from glyphq.jobs import MAX_NAME_CHARACTERS, JobState
from glyphq.records import Format, JobStatus

if TYPE_CHECKING:
    from glyphq.client import Client


def classify(
    context: typer.Context,
    scans: Scans,
    output: Output = STANDARD_OUTPUT,
    format: ResultFormat = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            envvar="GLYPHQ_SERVER",
            metavar="URL",
            help="Use this service.",
            show_default="one of its own, for this job only",
        ),
    ] = None,
    key: Key = None,
    top_k: TopK = None,
    charset: Charset = None,
    invert: Polarity = None,
    filename_encoding: FilenameEncoding = None,
    workers: Workers = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A CSV with the columns filename and emnist_label: say how many rows agree with it.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ended job as JSON; the rows go to FILE.")] = False,
) -> None:
    """Read scans and write what they say, a row for each.

    Example: glyphq classify scans.zip -o predictions.csv
    """
    if as_json and output == STANDARD_OUTPUT:
        raise typer.BadParameter("it prints the job: name a file for the rows with --output", param_hint="--json")
    chosen = {"top_k": top_k, "invert": invert, "filename_encoding": filename_encoding, **charset_options(charset)}
    if truth:
        from glyphq.samples import read_truth

    expected = read_truth(truth) if truth else None
    inputs = [*scans, *([truth] if truth else [])]
    with (
        target_of(output, inputs) as target,
        _service(server, workers) as url,
        client_of(context, url, key) as client,
    ):
        started = time.monotonic()
        job = _submitted(client, scans, name=None, **chosen)
        with saying_where_it_is_left(job.id, kept=bool(server)):
            job = watch(client, job.id)
        seconds = time.monotonic() - started
        if job.state is JobState.FAILED:
            raise JobFailed(f"Job {job.id} failed. {job.state.sentence}")
        client.download(job, target, format or Format.of_path(output))
        agreement = None if expected is None else _agreement(client, job, expected)
    say(f"{job.summary}; {seconds:,.1f} s, {job.counts.done / seconds:,.0f} images/s")
    if agreement:
        say(agreement)
    for warning in _warnings(job):
        say(f"warning: {warning}")
    if as_json:
        print_json(job.raw)
    raise typer.Exit(exit_code(job))


def submit(
    context: typer.Context,
    scans: Scans,
    server: Server = None,
    key: Key = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="A name for the job.", show_default="that of a single input"),
    ] = None,
    top_k: TopK = None,
    charset: Charset = None,
    invert: Polarity = None,
    filename_encoding: FilenameEncoding = None,
    callback_url: Annotated[
        str | None,
        typer.Option("--callback-url", metavar="URL", help="Where the service tells that the job has ended."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return only when the job has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hand in scans as one job and print its id.

    Example: glyphq submit scans.zip --name "page 7"
    """
    chosen = {
        "top_k": top_k,
        "invert": invert,
        "filename_encoding": filename_encoding,
        "callback_url": callback_url,
        **charset_options(charset),
    }
    with client_of(context, server, key) as client:
        job = _submitted(client, scans, name=name, **chosen)
        with at_least_said(f"The job is {job.id}."):
            if not as_json:
                typer.echo(job.id)
            if wait:
                with saying_where_it_is_left(job.id):
                    job = watch(client, job.id)
            if as_json:
                print_json(job.raw)
        raise typer.Exit(exit_code(job) if wait else 0)


@contextmanager
def _service(server: str | None, workers: int | None) -> Iterator[str]:
    """The address of the service named, or of one that lives as long as the block."""
    if server:
        yield server
        return
    from rich.console import Console

    from glyphq.embedded import embedded_service

    with ExitStack() as stack:
        with Console(stderr=True).status("Starting a service"):
            service = stack.enter_context(embedded_service(workers=workers))
        yield service.url


def _submitted(client: "Client", scans: list[Path], *, name: str | None, **options: Any) -> JobStatus:
    from glyphq.client.bars import terminal_bars

    own = scans[0].absolute().name[:MAX_NAME_CHARACTERS] if len(scans) == 1 else ""
    with terminal_bars() as bars:
        try:
            name = name or (own if own.isprintable() else "") or None
            return client.submit(scans, name=name, on_upload=bars.uploading, **options)
        except (UnsupportedInput, InvalidArchive) as error:
            if len(scans) == 1 and scans[0].name not in error.detail:
                raise GlyphqError(f"{scans[0]}: {error.detail}") from error
            raise


def _agreement(client: "Client", job: JobStatus, labels: dict[str, str]) -> str:
    """How many of the job's labels are those expected."""
    known = [row for row in client.rows(job) if row.filename in labels]
    agreeing = sum(row.label == labels[row.filename] for row in known)
    share = f" ({agreeing / len(known):.2%})" if known else ""
    return f"{agreeing:,} of {len(known):,} rows with known labels agree with them{share}"


def _warnings(job: JobStatus) -> Iterator[str]:
    yield from job.warnings
    if job.counts.rejected:
        yield f"{job.counts.rejected:,} of {job.counts.total:,} scans could not be read; the column `reason` says why."
    if job.counts.cancelled:
        yield f"the job was cancelled before {job.counts.cancelled:,} of its scans were reached."
