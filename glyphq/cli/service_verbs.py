"""`glyphq serve`, `doctor` and `model`: the service itself."""

from pathlib import Path
from typing import Annotated

import typer

from glyphq.cli.options import AsJson, Key, Server, Workers, client_of
from glyphq.cli.words import FAILED, print_fields


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


def doctor(context: typer.Context, server: Server = None, key: Key = None, as_json: AsJson = False) -> None:
    """Ask the service what it needs to work, and say what to do; exit 1 if something is wrong.

    Example: glyphq doctor
    """
    with client_of(context, server, key) as client:
        checks = client.checks()
    print_fields(checks, as_json)
    raise typer.Exit(FAILED if any(check != "ok" for check in checks.values()) else 0)


def model(context: typer.Context, server: Server = None, key: Key = None, as_json: AsJson = False) -> None:
    """Say which network reads the scans, and how well.

    Example: glyphq model
    """
    with client_of(context, server, key) as client:
        print_fields(client.model(), as_json)
