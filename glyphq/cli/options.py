"""What several verbs take, and what a shell may complete of it."""

import os
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glyphq.errors import GlyphqError, InvalidOption
from glyphq.jobs import FILENAME_ENCODINGS, MAX_TOP_K, Invert
from glyphq.labels import NAMED_CHARSETS
from glyphq.records import Format, JobStatus

if TYPE_CHECKING:
    from glyphq.client import Client

STANDARD_OUTPUT = Path("-")
_OFFERED_JOBS = 20
_OFFER_SECONDS = 2.0
_ID = re.compile(r"[0-9a-f-]{1,36}")


def folder(text: str) -> Path:
    """Of an option: an empty text, as of a variable that is not set, is not the working folder."""
    if not text or Path(text).is_file():
        raise typer.BadParameter(f"{text!r} is no folder")
    return Path(text)


def _scan(text: str) -> Path:
    """As with `folder`, an empty text is not the working folder."""
    if not os.access(text, os.R_OK):
        raise typer.BadParameter(f"there is no file or folder {text!r} that can be read")
    return Path(text)


def client_of(context: typer.Context, server: str | None, key: str | None, **how: Any) -> "Client":
    from glyphq.client import Client

    return Client(server, key, transport=context.find_root().obj, **how)


def _job_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The latest jobs, for a shell that completes one; none where the service does not answer at once.

    zsh evaluates what it is offered, so nothing that somebody else wrote is: no names.
    """
    with suppress(GlyphqError):
        server, key = context.params.get("server"), context.params.get("key")
        with client_of(context, server, key, timeout_seconds=_OFFER_SECONDS, retry_seconds=0) as client:
            latest = islice(client.jobs(page_size=_OFFERED_JOBS), _OFFERED_JOBS)
            return [
                (job.id, " ".join(filter(None, (job.state, creation_time(job)))))
                for job in latest
                if job.id.startswith(incomplete) and _ID.fullmatch(job.id)
            ]
    return []


def creation_time(job: JobStatus) -> str:
    """In the clock of this machine; empty for a failed job."""
    return job.created_at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if job.created_at else ""


def _charsets(incomplete: str) -> list[str]:
    glob, separator, charset = incomplete.rpartition("=")
    return [f"{glob}{separator}{name}" for name in NAMED_CHARSETS if name.startswith(charset)]


def _encodings(incomplete: str) -> list[str]:
    return [name for name in FILENAME_ENCODINGS if name.startswith(incomplete)]


Scans = Annotated[
    list[Path],
    typer.Argument(
        metavar="SCANS",
        parser=_scan,
        help="One zip, or any number of folders and images.",
        show_default=False,
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server", envvar="GLYPHQ_SERVER", metavar="URL", help="The service.", show_default="http://127.0.0.1:8000"
    ),
]
Key = Annotated[
    str | None, typer.Option("--key", envvar="GLYPHQ_KEY", metavar="KEY", help="Where the service asks for one.")
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", show_default=False, autocompletion=_job_ids)]
RowNumber = Annotated[int, typer.Argument(metavar="ROW", min=0, help="The row's number, from 0.", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write; - is standard output.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's whole answer as JSON, and nothing else.")]
ResultFormat = Annotated[
    Format | None,
    typer.Option("--format", help="The form of the results.", show_default="as the name of FILE ends, else csv"),
]
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
        autocompletion=_charsets,
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
        autocompletion=_encodings,
    ),
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Worker processes.", show_default="one for each core")
]


def charset_options(given: list[str] | None) -> dict[str, Any]:
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
