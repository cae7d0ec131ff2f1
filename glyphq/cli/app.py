"""Which verbs there are, and how a command ends: its exit code, and one line for whatever went wrong."""

import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from glyphq import __version__
from glyphq.cli import handing_in, job_verbs, keys, result_verbs, scan_verbs, service_verbs
from glyphq.cli.words import FAILED, MISUSED, NOT_FINISHED, say
from glyphq.errors import (
    GlyphqError,
    InvalidOption,
    JobNotFinished,
    JobNotFound,
    KeyRefused,
    ProblemReported,
    ServiceUnreachable,
    SetupError,
)

if TYPE_CHECKING:
    import httpx

_EXIT_CODES = {SetupError.code: MISUSED, InvalidOption.code: MISUSED, JobNotFinished.code: NOT_FINISHED}
_IN_OTHER_WORDS = {  # what the service advises to callers of its API
    KeyRefused.code: "The service asks for a key, or does not accept this one. Give one with --key or GLYPHQ_KEY; "
    "whoever runs the service makes them: `glyphq keys create`.",
    JobNotFound.code: "There is no such job. `glyphq jobs` lists them.",
}
_VERBS = {
    "Hand in scans": (handing_in.classify, handing_in.submit),
    "Jobs": (
        job_verbs.jobs, job_verbs.status, job_verbs.wait, job_verbs.review, job_verbs.cancel, job_verbs.delete,
    ),
    "Results": (result_verbs.results, result_verbs.follow, result_verbs.correct, result_verbs.uncorrect),
    "The service": (service_verbs.serve, service_verbs.doctor, service_verbs.model),
    "Scans": (scan_verbs.sample, scan_verbs.inspect),
}  # fmt: skip

app = typer.Typer(
    help="Hand in scanned handwritten characters, follow the job, fetch a CSV of what they say.",
    epilog="Exit codes: 0 done, 1 failed, 2 used wrongly or not installed for this, 3 not finished, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for panel, verbs in _VERBS.items():
    for verb in verbs:
        app.command(rich_help_panel=panel)(verb)
app.add_typer(keys.app, name="keys", rich_help_panel="The service")


def run(arguments: Sequence[str] | None, transport: "httpx.BaseTransport | None") -> NoReturn:
    """Run one command and exit; see `glyphq.cli.main`."""
    _prepare_streams()
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks
            signal.signal(number, lambda number, _: sys.exit(128 + number))  # so that what was begun is cleaned up
    try:
        app(args=arguments, prog_name="glyphq", obj=transport)
    except GlyphqError as error:
        said = _IN_OTHER_WORDS.get(error.code, error.detail)
        if isinstance(error, ServiceUnreachable):
            said += " Start one with `glyphq serve`, or name one with --server."
        if isinstance(error, ProblemReported) and error.request_id:
            said += f" The log has it as request {error.request_id}."
        say(f"error: {said}")
        sys.exit(_EXIT_CODES.get(error.code, FAILED))
    except OSError as error:
        say(f"error: {error.filename or 'glyphq'}: {error.strerror or error}")
        _drop_output()
        sys.exit(FAILED)
    except UnicodeEncodeError as error:  # an argument is handed on as text; only paths may be any bytes
        say(f"error: {error.object!r} is not text in UTF-8.")
        sys.exit(MISUSED)
    except Exception as error:  # whatever it is, a person reads one line
        if "GLYPHQ_TRACEBACK" in os.environ:
            raise
        say(f"error: This is a bug in glyphq ({error!r}). GLYPHQ_TRACEBACK=1 prints the traceback; please report it.")
        sys.exit(FAILED)
    sys.exit(0)


def _prepare_streams() -> None:
    """Writing never fails for want of a stream, or for a character that the terminal's encoding lacks."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in the order of their numbers
        if getattr(sys, name) is None:  # closed by the shell: the next file opened would take its number
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """What standard output has not taken it does not take at the end either, where Python would exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
