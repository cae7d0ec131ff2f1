"""What a command says, and where to: results on standard output, all else on standard error."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import typer

from glyphq.cli.options import STANDARD_OUTPUT
from glyphq.jobs import JobState
from glyphq.records import JobStatus
from glyphq.whole_file import whole_file

FAILED, MISUSED, NOT_FINISHED = 1, 2, 3


def say(text: str) -> None:
    typer.echo(text, err=True)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_job(job: JobStatus, as_json: bool) -> None:
    if as_json:
        print_json(job.raw)
        return
    typer.echo(f"{job.state}: {job.state.sentence}\n{job.summary}")
    if not job.state.ended:
        typer.echo(job.so_far)
    for warning in job.warnings:
        typer.echo(f"warning: {warning}")


def print_fields(fields: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(fields)
        return
    for name, value in fields.items():
        typer.echo(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


def exit_code(job: JobStatus) -> int:
    return 0 if job.state is JobState.COMPLETED else FAILED


@contextmanager
def writing(output: Path, inputs: Sequence[Path] = ()) -> Iterator[BinaryIO]:
    """Standard output for `-`; else the file, which appears, or is replaced, only when it is whole; never an input."""
    if output == STANDARD_OUTPUT:
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
        with whole_file(output) as file:
            yield file
