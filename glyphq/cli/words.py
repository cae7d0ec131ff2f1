"""What a command says, and where to: results on standard output, all else on standard error."""

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import typer

from glyphq.cli.options import STANDARD_OUTPUT
from glyphq.jobs import JobState
from glyphq.records import JobStatus
from glyphq.whole_file import whole_file

_DESCRIPTOR = re.compile(r"/dev/stderr|(?:/dev|/proc/self)/fd/([0-9]{1,9})", re.ASCII)
FAILED, MISUSED, NOT_FINISHED = 1, 2, 3


def say(text: str) -> None:
    typer.echo(text, err=True)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


def printable(text: str) -> str:
    """Without line breaks, and without what would move a terminal's cursor."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


@contextmanager
def at_least_said(text: str) -> Iterator[None]:
    """What was made is named on standard error where it cannot be printed."""
    try:
        yield
    except OSError:
        say(text)
        raise


def print_job(job: JobStatus, as_json: bool) -> None:
    if as_json:
        print_json(job.raw)
        return
    typer.echo(f"{job.state}: {job.state.sentence}\n{job.summary}")
    if not job.state.ended:
        typer.echo(job.so_far)
    for warning in job.warnings:
        typer.echo(f"warning: {warning}")


def exit_code(job: JobStatus) -> int:
    return 0 if job.state is JobState.COMPLETED else FAILED


@contextmanager
def target_of(output: Path, inputs: Sequence[Path] = ()) -> Iterator[Path | BinaryIO]:
    """Where to write: standard output for `-`; what the shell has opened, a device or a pipe as an open file; else the
    path, which is never an input, nor in a folder that is one.
    """
    try:
        if output in (STANDARD_OUTPUT, Path("/dev/stdout")):
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        elif descriptor := _DESCRIPTOR.fullmatch(str(output)):
            # Through its path it would be another file: replaced, or written from its beginning.
            with open(os.dup(int(descriptor[1] or 2)), "wb") as file:  # noqa: PTH123
                yield file
        else:
            output = _checked(output, inputs)
            if output.exists() and not output.is_file():
                with output.open("wb") as file:
                    yield file
            else:
                yield output
    except OSError as error:
        error.filename = error.filename or output  # where writing fails, as on a full disk, the system names no file
        raise


def _checked(output: Path, inputs: Sequence[Path]) -> Path:
    """The file that links lead to. Raises BadParameter."""
    output = Path(os.path.realpath(output))
    if not output.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {output.parent}", param_hint="--output")
    for path in map(Path.resolve, inputs):
        if output == path:
            raise typer.BadParameter(f"{output} is one of the inputs; name another file", param_hint="--output")
        if output.is_relative_to(path):
            raise typer.BadParameter(
                f"{output} would be among the scans of {path} the next time; name a file elsewhere",
                param_hint="--output",
            )
    if output.is_dir():
        raise typer.BadParameter(f"{output} is a folder; name another file", param_hint="--output")
    return output


@contextmanager
def writing(output: Path, inputs: Sequence[Path] = ()) -> Iterator[BinaryIO]:
    """`target_of`, opened; a file appears, or is replaced, only when it is whole."""
    with target_of(output, inputs) as target:
        if isinstance(target, Path):
            with whole_file(target) as file:
                yield file
        else:
            yield target
