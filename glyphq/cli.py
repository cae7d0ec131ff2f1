"""The command line: arguments in, calls of the client, words and exit codes out. Knows terminals; nothing of HTTP.

Exit codes: 0 done, 1 failed, 2 used wrongly or not installed for this, 3 not finished.
"""
# A command's parameters are its options:
# ruff: noqa: PLR0917

import csv
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NoReturn

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, TextColumn, TransferSpeedColumn

from glyphq import __version__, keys_cli
from glyphq.client import DEFAULT_URL, Client, Format, JobStatus
from glyphq.errors import (
    EmptyInput,
    GlyphqError,
    InvalidArchive,
    InvalidOption,
    JobNotFinished,
    ProblemReported,
    ServiceUnreachable,
    SetupError,
    UnsupportedInput,
)
from glyphq.jobs import FILENAME_ENCODINGS, MAX_NAME_CHARACTERS, MAX_TOP_K, Invert, JobState, Options

FAILED, MISUSED, NOT_FINISHED = 1, 2, 3
IN_OTHER_WORDS = {  # what the service advises to callers of its API
    "job-not-finished": "The job still runs. `glyphq wait JOB` waits for it; --partial takes the rows there are.",
    "key-refused": "The service asks for a key, or does not take this one. Give one with --key or GLYPHQ_KEY; "
    "whoever runs the service makes them: `glyphq keys create`.",
    "job-not-found": "There is no such job. `glyphq jobs` lists them.",
}
EXIT_CODES = {SetupError.code: MISUSED, InvalidOption.code: MISUSED, JobNotFinished.code: NOT_FINISHED}

app = typer.Typer(
    help="Hand in scanned handwritten characters, follow the job, fetch a CSV of what they say.",
    epilog="Exit codes: 0 done, 1 failed, 2 used wrongly or not installed for this, 3 not finished.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # they may hold a key
)

app.add_typer(keys_cli.app, name="keys")

Scans = Annotated[
    list[Path],
    typer.Argument(
        metavar="SCANS",
        exists=True,
        readable=True,
        help="One zip, or any number of folders and images.",
        show_default=False,
    ),
]
Server = Annotated[str, typer.Option("--server", envvar="GLYPHQ_SERVER", metavar="URL", help="The service.")]
Key = Annotated[
    str | None, typer.Option("--key", envvar="GLYPHQ_KEY", metavar="KEY", help="Where the service asks for one.")
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write; - is standard output.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's whole answer as JSON.")]
ResultFormat = Annotated[Format, typer.Option("--format", help="The form of the results.")]
TopK = Annotated[
    int | None,
    typer.Option("--top-k", min=1, max=MAX_TOP_K, help="Answers for each scan, best first.", show_default="3"),
]
Charset = Annotated[
    list[str] | None,
    typer.Option(
        "--charset",
        metavar="[GLOB=]CHARSET",
        help="all, digits, letters, or the classes to choose from: 0123ABC. With a glob, only for scans whose file "
        "name it matches ('dates/*=digits'; * crosses / too): may be repeated, the first that matches counts.",
        show_default="all",
    ),
]
Polarity = Annotated[
    Invert | None,
    typer.Option("--invert", help="Light ink on a dark ground: yes or no; auto decides for each scan."),
]
FilenameEncoding = Annotated[
    str | None,
    typer.Option(
        "--filename-encoding",
        metavar="ENCODING",
        help=f"Of names in a zip that are not UTF-8: {', '.join(FILENAME_ENCODINGS)}.",
    ),
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Worker processes.", show_default="one for each core")
]


def main(arguments: Sequence[str] | None = None, transport: httpx.BaseTransport | None = None) -> NoReturn:
    """Run one command and exit. `transport` is what talks to the network, if not httpx's own."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks
            signal.signal(number, lambda number, _: sys.exit(128 + number))  # so that what was begun is cleaned up
    try:
        app(args=arguments, prog_name="glyphq", obj=transport)
    except GlyphqError as error:
        said = IN_OTHER_WORDS.get(error.code, error.detail) if isinstance(error, ProblemReported) else error.detail
        if isinstance(error, ServiceUnreachable):
            said += " Start one with `glyphq serve`, or name one with --server."
        _say(f"error: {said}")
        sys.exit(EXIT_CODES.get(error.code, FAILED))
    except OSError as error:
        _say(f"error: {error.filename or 'glyphq'}: {error.strerror or error}")
        sys.exit(FAILED)
    sys.exit(0)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _glyphq(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None: ...


@app.command()
def classify(
    context: typer.Context,
    scans: Scans,
    output: Output = Path("-"),
    format: ResultFormat = Format.CSV,
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
) -> None:
    """Read scans and write what they say, a row for each.

    Example: glyphq classify scans.zip -o predictions.csv
    """
    chosen = {"top_k": top_k, "invert": invert, "filename_encoding": filename_encoding, **_charset_options(charset)}
    expected = _labels_of(truth) if truth else None
    with _service(server, workers) as url, _client(context, url, key) as client:
        with _writing(output, [*scans, *([truth] if truth else [])]) as file:
            started = time.monotonic()
            job = _submit(client, scans, name=None, **chosen)
            try:
                job = _follow(client, job.id)
            except KeyboardInterrupt:
                kept = f"The job goes on: glyphq wait {job.id}" if server else "Nothing of it is kept."
                raise JobNotFinished(f"Interrupted. {kept}", job.raw) from None
            seconds = time.monotonic() - started
            if job.state is JobState.FAILED:
                raise GlyphqError(f"Job {job.id} failed. {job.state.sentence}")
            client.write_results(job.id, file, format)
        _say(_summary(job, seconds))
        if expected is not None:
            _say(_agreement(client, job.id, expected))
    for warning in _warnings(job):
        _say(f"warning: {warning}")
    raise typer.Exit(_exit_code(job))


@app.command()
def serve(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 is any free one.")] = 8000,
    workers: Workers = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            metavar="FOLDER",
            file_okay=False,
            help="Where jobs are kept.",
            show_default="the user's data folder",
        ),
    ] = None,
) -> None:
    """Run the whole service on this machine until it is interrupted.

    Example: glyphq serve --workers 2
    """
    from glyphq.embedded import serve as serve_until_interrupted

    raise typer.Exit(serve_until_interrupted(host, port, workers, store))


@app.command()
def submit(
    context: typer.Context,
    scans: Scans,
    server: Server = DEFAULT_URL,
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
        **_charset_options(charset),
    }
    with _client(context, server, key) as client:
        job = _submit(client, scans, name=name, **chosen)
        if not as_json:
            typer.echo(job.id)
        if wait:
            job = _follow_or_leave(client, job.id)
        if as_json:
            _print_json(job.raw)
        raise typer.Exit(_exit_code(job) if wait else 0)


@app.command()
def status(
    context: typer.Context, job: JobId, server: Server = DEFAULT_URL, key: Key = None, as_json: AsJson = False
) -> None:
    """Say how far a job is.

    Example: glyphq status 0199f0a0-0000-7000-8000-000000000001
    """
    with _client(context, server, key) as client:
        _print_job(client.status(job), as_json)


@app.command()
def wait(
    context: typer.Context,
    job: JobId,
    server: Server = DEFAULT_URL,
    key: Key = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0, metavar="SECONDS", help="Give up after this long.", show_default="never"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Return when a job has ended; exit 3 if the time runs out first.

    Example: glyphq wait 0199f0a0-0000-7000-8000-000000000001 --timeout 60
    """
    with _client(context, server, key) as client:
        ended = _follow_or_leave(client, job, timeout)
    _print_job(ended, as_json)
    raise typer.Exit(_exit_code(ended))


@app.command()
def results(
    context: typer.Context,
    job: JobId,
    output: Output = Path("-"),
    format: ResultFormat = Format.CSV,
    partial: Annotated[bool, typer.Option("--partial", help="The rows there are, even if more will come.")] = False,
    server: Server = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Fetch the rows of a job; exit 3 if it still runs.

    Example: glyphq results 0199f0a0-0000-7000-8000-000000000001 -o predictions.csv
    """
    with _client(context, server, key) as client, _writing(output) as file:
        complete = client.write_results(job, file, format, partial=partial)
    if not complete:
        _say("warning: the job still runs; these are the rows so far.")


@app.command()
def cancel(
    context: typer.Context, job: JobId, server: Server = DEFAULT_URL, key: Key = None, as_json: AsJson = False
) -> None:
    """Stop a job and keep the rows it has.

    Example: glyphq cancel 0199f0a0-0000-7000-8000-000000000001
    """
    with _client(context, server, key) as client:
        _print_job(client.cancel(job), as_json)


@app.command()
def delete(context: typer.Context, job: JobId, server: Server = DEFAULT_URL, key: Key = None) -> None:
    """Erase a job with its scans and results, running or not.

    Example: glyphq delete 0199f0a0-0000-7000-8000-000000000001
    """
    with _client(context, server, key) as client:
        client.delete(job)


@app.command()
def jobs(
    context: typer.Context,
    state: Annotated[JobState | None, typer.Option("--state", help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many.")] = 20,
    server: Server = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first, a line each.

    Example: glyphq jobs --state running
    """
    with _client(context, server, key) as client:
        listed = list(islice(client.jobs(state, page_size=min(limit, 100)), limit))
    if as_json:
        _print_json([job.raw for job in listed])
        return
    for job in listed:
        created = job.created_at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if job.created_at else "-"
        rows = f"{job.counts.done - job.counts.cancelled:,}/{job.counts.total:,}"
        typer.echo(f"{job.id}  {created}  {job.state:<9}  {rows:>15}  {job.name or ''}".rstrip())


@app.command()
def model(context: typer.Context, server: Server = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Say which network reads the scans, and how well.

    Example: glyphq model
    """
    with _client(context, server, key) as client:
        _print_fields(client.model(), as_json)


@app.command()
def doctor(context: typer.Context, server: Server = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Ask the service what it needs to work, and say what to do; exit 1 if something is wrong.

    Example: glyphq doctor
    """
    with _client(context, server, key) as client:
        checks = client.checks()
    _print_fields(checks, as_json)
    raise typer.Exit(FAILED if any(check != "ok" for check in checks.values()) else 0)


@app.command()
def sample(
    count: Annotated[int, typer.Argument(metavar="COUNT", min=1, help="How many scans.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.zip", help="The zip to write.")] = Path(
        "scans.zip"
    ),
    seed: Annotated[int, typer.Option("--seed", help="The same seed draws the same scans.")] = 1,
) -> None:
    """Draw scans of known characters: a zip, and beside it a CSV of what they show.

    Example: glyphq sample 1000 -o scans.zip
    """
    from glyphq.samples import write_zip

    if output.suffix != ".zip":
        raise typer.BadParameter("the name must end in .zip; the truth goes beside it, in .csv", param_hint="--output")
    truth = output.with_suffix(".csv")
    write_zip(output, count, seed, truth)
    _say(f"{count:,} scans in {output}, what they show in {truth}")


@app.command()
def inspect(
    scans: Scans,
    output: Output = Path("inspect.html"),
    charset: Charset = None,
    invert: Polarity = None,
    filename_encoding: FilenameEncoding = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many scans.")] = 200,
) -> None:
    """Show on one page what the network sees of scans, step by step, and what it takes them for. Needs no service.

    Example: glyphq inspect scans.zip -o inspect.html
    """
    try:
        from glyphq import inspection
    except ImportError as error:
        raise SetupError(f"Inspecting needs the package {error.name}: pip install 'glyphq[worker]'.") from error
    chosen = {"invert": invert, "filename_encoding": filename_encoding, **_charset_options(charset)}
    seen = inspection.inspect(scans, Options(**{name: value for name, value in chosen.items() if value}), limit)
    if not seen.scans:
        raise EmptyInput(f"There are no files in {', '.join(path.name for path in scans)}.")
    with _writing(output, scans) as file:
        file.write(inspection.page(seen).encode())
    for scan in seen.scans:
        _say(scan.line) if output == Path("-") else typer.echo(scan.line)
    if seen.more:
        _say(f"warning: there are more scans; these are the first {limit:,}. --limit takes more.")


@contextmanager
def _service(server: str | None, workers: int | None) -> Iterator[str]:
    """The address of the service named, or of one that lives as long as the block."""
    if server:
        yield server
        return
    from glyphq.embedded import embedded_service

    with ExitStack() as stack:
        with Console(stderr=True).status("Starting a service"):
            service = stack.enter_context(embedded_service(workers=workers))
        yield service.url


def _charset_options(given: list[str] | None) -> dict[str, Any]:
    """From each `--charset`: those with a `=` are rules, the one without is for scans that no rule matches."""
    plain = [charset for charset in given or () if "=" not in charset]
    if len(plain) > 1:
        raise InvalidOption(
            "charset",
            f"--charset is given {len(plain)} times without a glob ({', '.join(plain)}). Keep one for all scans, and "
            "say of the others which they are for: --charset 'dates/*=digits'.",
        )
    rules = tuple(rule for rule in given or () if "=" in rule)
    return {"charset": plain[0] if plain else None, "charset_rules": rules}


def _client(context: typer.Context, server: str, key: str | None) -> Client:
    return Client(server, key, transport=context.obj)


def _submit(client: Client, scans: list[Path], *, name: str | None, **options: Any) -> JobStatus:
    own = scans[0].absolute().name[:MAX_NAME_CHARACTERS] if len(scans) == 1 else ""
    with _progress(DownloadColumn(), TransferSpeedColumn()) as progress:
        task = progress.add_task("Uploading", total=None, visible=False)
        try:
            return client.submit(
                scans,
                name=name or (own if own.isprintable() else "") or None,
                on_upload=lambda sent, total: progress.update(task, completed=sent, total=total, visible=True),
                **options,
            )
        except ProblemReported as problem:
            if len(scans) == 1 and problem.code in (UnsupportedInput.code, EmptyInput.code, InvalidArchive.code):
                raise GlyphqError(f"{scans[0]}: {problem.detail}") from problem
            raise


def _follow(client: Client, job_id: str, timeout_seconds: float | None = None) -> JobStatus:
    """Wait for the end of a job, showing how far it is."""
    with _progress(TextColumn("{task.fields[counts]}")) as progress:
        task = progress.add_task("Classifying", total=None, counts="")
        return client.wait(
            job_id,
            lambda job: progress.update(task, completed=job.counts.done, total=job.counts.total, counts=_so_far(job)),
            timeout_seconds,
        )


def _follow_or_leave(client: Client, job_id: str, timeout_seconds: float | None = None) -> JobStatus:
    """`_follow`, with Ctrl-C as the wish not to wait any longer."""
    try:
        return _follow(client, job_id, timeout_seconds)
    except KeyboardInterrupt:
        raise JobNotFinished(f"Interrupted. The job goes on: glyphq wait {job_id}", {}) from None


def _progress(*columns: ProgressColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


@contextmanager
def _writing(output: Path, inputs: Sequence[Path] = ()) -> Iterator[BinaryIO]:
    """Standard output for `-`; else the file, which appears, or is replaced, only when it is whole; never an input."""
    if output == Path("-"):
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    output = output.resolve()
    if not output.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {output.parent}", param_hint="--output")
    if output.is_dir() or any(output == path.resolve() for path in inputs):
        what = "a folder" if output.is_dir() else "what is to be read"
        raise typer.BadParameter(f"{output} is {what}; name another file", param_hint="--output")
    if output.exists() and not output.is_file():  # a device or a pipe
        with output.open("wb") as file:
            yield file
    else:
        unfinished = output.with_name(f".{output.name}.{os.getpid()}")
        try:
            with unfinished.open("wb") as file:
                yield file
            unfinished.replace(output)
        finally:
            unfinished.unlink(missing_ok=True)


def _exit_code(job: JobStatus) -> int:
    return 0 if job.state is JobState.COMPLETED else FAILED


def _so_far(job: JobStatus) -> str:
    parts = [f"{job.counts.done:,}/{job.counts.total:,}"]
    if job.rate is not None:
        parts.append(f"{job.rate:,.0f} images/s")
    if job.eta_seconds is not None:
        parts.append(f"{job.eta_seconds:,.0f} s left")
    return ", ".join(parts)


def _rows(job: JobStatus) -> str:
    counts = job.counts
    parts = [f"{counts.classified:,} classified", f"{counts.blank:,} blank", f"{counts.rejected:,} rejected"]
    parts += [f"{counts.cancelled:,} cancelled"] if counts.cancelled else []
    parts += [f"{counts.pending:,} pending"] if counts.pending else []
    return f"{counts.total:,} row{'' if counts.total == 1 else 's'}: {', '.join(parts)}"


def _labels_of(truth: Path) -> dict[str, str]:
    """filename -> EMNIST label, from a CSV."""
    try:
        with truth.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file)
            if {"filename", "emnist_label"} <= set(lines.fieldnames or ()):
                return {line["filename"]: line["emnist_label"] for line in lines}
    except UnicodeDecodeError:
        pass
    raise InvalidOption("truth", f"{truth} is not a CSV in UTF-8 with columns filename and emnist_label.")


def _agreement(client: Client, job_id: str, labels: dict[str, str]) -> str:
    """How many of the job's labels are those expected."""
    rows = [json.loads(line) for line in client.results(job_id, Format.NDJSON).splitlines()]
    known = [row for row in rows if row["filename"] in labels]
    agreeing = sum(row["label"] == labels[row["filename"]] for row in known)
    share = f" ({agreeing / len(known):.2%})" if known else ""
    return f"{agreeing:,} of {len(known):,} rows with known labels agree with them{share}"


def _summary(job: JobStatus, seconds: float) -> str:
    return f"{_rows(job)}; {seconds:,.1f} s, {job.counts.done / seconds:,.0f} images/s"


def _warnings(job: JobStatus) -> Iterator[str]:
    yield from job.warnings
    if job.counts.rejected:
        yield f"{job.counts.rejected:,} of {job.counts.total:,} scans could not be read; the column `reason` says why."
    if job.counts.cancelled:
        yield f"the job was cancelled before {job.counts.cancelled:,} of its scans were reached."


def _print_job(job: JobStatus, as_json: bool) -> None:
    if as_json:
        _print_json(job.raw)
        return
    typer.echo(f"{job.state}: {job.state.sentence}\n{_rows(job)}")
    if not job.state.ended:
        typer.echo(_so_far(job))
    for warning in job.warnings:
        typer.echo(f"warning: {warning}")


def _print_fields(fields: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(fields)
        return
    for name, value in fields.items():
        typer.echo(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _say(text: str) -> None:
    typer.echo(text, err=True)


if __name__ == "__main__":
    main()
