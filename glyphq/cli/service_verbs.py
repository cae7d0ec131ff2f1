"""`glyphq serve`, `doctor` and `model`: the service itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from glyphq.cli.options import AsJson, Key, Server, Workers, client_of, folder
from glyphq.cli.words import FAILED, print_json


def serve(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 is any free one.")] = 8000,
    workers: Workers = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            metavar="FOLDER",
            parser=folder,
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
    if as_json:
        print_json(checks)
    else:
        typer.echo("\n".join(f"{name}: {check}" for name, check in checks.items()))
    raise typer.Exit(FAILED if any(check != "ok" for check in checks.values()) else 0)


def model(context: typer.Context, server: Server = None, key: Key = None, as_json: AsJson = False) -> None:
    """Say which network reads the scans, and how well; --json prints the model's whole card.

    Example: glyphq model
    """
    with client_of(context, server, key) as client:
        card = client.model()
    print_json(card) if as_json else typer.echo("\n".join(_of_card(card)))


def _of_card(card: dict[str, Any]) -> Iterator[str]:
    """What a person asks of a model's card."""
    shape = card["architecture"]
    yield f"{card['name']} ({card['digest']})"
    yield f"classes: {card['classes']}"
    yield (
        f"architecture: convolutions of {', '.join(map(str, shape['channels']))} channels, {shape['hidden']} hidden "
        f"units, {card['parameters']:,} parameters"
    )
    for sample, measured in card["measured"].items():
        accuracy = measured["accuracy"]
        low, high = accuracy["interval_95"]
        yield (
            f"accuracy: {accuracy['value']:.2%} of {accuracy['of']:,} scans, {sample} (95 % interval: {low:.2%} to "
            f"{high:.2%})"
        )
