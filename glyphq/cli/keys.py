"""`glyphq keys`: make, list and revoke API keys in a service's store. Knows the store; needs no running service."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glyphq.cli.options import folder
from glyphq.cli.words import at_least_said, print_json, say
from glyphq.errors import InvalidOption, SetupError

if TYPE_CHECKING:
    from glyphq.keys import ApiKey, Keys

app = typer.Typer(help="Make, list and revoke the keys of a service, on the machine that has its store.")

Store = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="FOLDER",
        parser=folder,
        help="Where the service keeps its jobs.",
        show_default="GLYPHQ_STORE_URL, else the folder of `glyphq serve`",
    ),
]
_SECONDS = {"h": 3600, "d": 86_400}
_MOST_SECONDS = 36_500 * 86_400
_LAST_DAY = 253_370_764_800.0  # the year 9999
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@app.command()
def create(
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="Whose jobs it opens.", show_default=False)],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="A note of what the key is for.")] = "",
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="12h or 90d from now.", show_default="never")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option("--requests-per-minute", min=1, show_default="the service's")
    ] = None,
    open_jobs: Annotated[
        int | None, typer.Option("--open-jobs", min=1, help="Zips at work at once.", show_default="the service's")
    ] = None,
    stored_bytes: Annotated[
        str | None,
        typer.Option("--stored-bytes", metavar="SIZE", help="Input kept: 500M, 20G.", show_default="the service's"),
    ] = None,
    store: Store = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the key with its id as JSON.")] = False,
) -> None:
    """Make a key and print it: this is the only time it is shown. The service must have been started once.

    Example: glyphq keys create ada --name laptop --expires 90d
    """
    limits = {
        "requests_per_minute": requests_per_minute,
        "open_jobs": open_jobs,
        "stored_bytes": _amount("stored_bytes", stored_bytes, _BYTES),
    }
    lives_seconds = _amount("expires", expires, _SECONDS)
    if lives_seconds and lives_seconds > _MOST_SECONDS:
        raise InvalidOption("expires", "--expires is at most 36500d; left out, the key never expires.")
    url, keys = _store(store)
    made, text = keys.create(
        owner, name, lives_seconds, {limit: value for limit, value in limits.items() if value is not None}
    )
    with at_least_said(f"The key {made.id} was made and could not be shown: glyphq keys revoke {made.id}"):
        if as_json:
            print_json({"id": made.id, "owner": made.owner, "key": text, "store": url})
        else:
            say(f"A key of the store {url}:")
            typer.echo(text)


@app.command("list")
def list_keys(
    store: Store = None, as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False
) -> None:
    """List the keys: id, owner, state, when made, when it expires, limits of its own, name.

    Example: glyphq keys list
    """
    url, stored = _store(store)
    keys = list(stored.all())
    if as_json:
        print_json([_described(key) for key in keys])
        return
    say(f"Keys of the store {url}: {len(keys)}")
    for key in keys:
        limits = ",".join(f"{limit}={value}" for limit, value in key.limits.items())
        expires = "never" if key.expires_at is None else _day(key.expires_at)
        columns = key.id, f"{key.owner:<12}", f"{key.state:<7}", _day(key.created_at), f"{expires:<10}", limits or "-"
        typer.echo("  ".join((*columns, key.name)).rstrip())


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, or the whole key.", show_default=False)],
    store: Store = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is known of the key as JSON.")] = False,
) -> None:
    """Refuse a key from now on; the jobs of its owner stay.

    Example: glyphq keys revoke 3f9c2a71d05b
    """
    _, keys = _store(store)
    from glyphq.keys import parts

    shown = parts(key_id)
    key = keys.revoke(shown[0] if shown else key_id)
    if as_json:
        print_json(_described(key))
    else:
        typer.echo(f"{key.id} is revoked; a running service refuses it within five seconds.")


def _store(store: Path | None) -> tuple[str, "Keys"]:
    """The address of a service's store, and the keys in it. Raises SetupError where there is none."""
    try:
        from glyphq.blobs import open_blobs
        from glyphq.embedded import default_store
        from glyphq.keys import Keys
        from glyphq.settings import read_settings
    except ImportError as error:
        raise SetupError(
            f"Keys are made where the service is installed, in a clone: pip install -e '.[api]' ({error})."
        ) from None
    settings = read_settings()
    if store is None and "store_url" in settings.model_fields_set:
        url = settings.store_url
    else:
        url = f"file://{(store or default_store()).absolute()}"
    if url.startswith("file:") and not Path(url.removeprefix("file://")).is_dir():
        raise SetupError(f"There is no store at {url}. Name the service's with --store or GLYPHQ_STORE_URL.")
    return url, Keys(open_blobs(url))


def _described(key: "ApiKey") -> dict[str, Any]:
    """All but the hash of its secret."""
    return {
        "id": key.id,
        "owner": key.owner,
        "name": key.name,
        "state": key.state,
        "created_at": _moment(key.created_at),
        "expires_at": _moment(key.expires_at),
        "limits": dict(key.limits),
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(min(seconds, _LAST_DAY), UTC).isoformat()


def _amount(option: str, text: str | None, units: dict[str, int]) -> int | None:
    if text is None:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,14})([A-Za-z]?)", text)
    if not found or found[2] not in units:
        known = ", ".join(f"7{unit}" for unit in units)
        raise InvalidOption(option, f"--{option.replace('_', '-')} is a number such as {known}; not {text!r}.")
    return int(found[1]) * units[found[2]]


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(min(seconds, _LAST_DAY)))
