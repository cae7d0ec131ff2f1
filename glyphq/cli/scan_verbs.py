"""`glyphq sample` and `glyphq inspect`: scans alone, without a service."""

from pathlib import Path
from typing import Annotated

import typer

from glyphq.cli.options import STANDARD_OUTPUT, Charset, FilenameEncoding, Output, Polarity, Scans, charset_options
from glyphq.cli.words import print_json, say, writing
from glyphq.errors import EmptyInput, SetupError
from glyphq.jobs import Options


def sample(
    count: Annotated[int, typer.Argument(metavar="COUNT", min=1, help="How many scans.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.zip", help="The zip to write.")] = Path(
        "scans.zip"
    ),
    seed: Annotated[int, typer.Option("--seed", help="The same seed draws the same scans.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Draw scans of known characters: a zip, and beside it a CSV of what they show.

    Example: glyphq sample 1000 -o scans.zip
    """
    from glyphq.samples import write_zip

    if output.suffix != ".zip":
        raise typer.BadParameter("the name must end in .zip; the truth goes beside it, in .csv", param_hint="--output")
    truth = output.with_suffix(".csv")
    if not force and (there := [str(path) for path in (output, truth) if path.exists()]):
        raise typer.BadParameter(f"{' and '.join(there)} would be replaced; --force allows it", param_hint="--output")
    with writing(output) as archive, writing(truth) as table:
        write_zip(archive, count, seed, table)
    if as_json:
        print_json({"scans": str(output), "truth": str(truth), "count": count})
    else:
        say(f"{count:,} scans in {output}, what they show in {truth}")


def inspect(
    scans: Scans,
    output: Output = Path("inspect.html"),
    charset: Charset = None,
    invert: Polarity = None,
    filename_encoding: FilenameEncoding = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many scans.")] = 200,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what they are taken for as JSON; the page goes to FILE.")
    ] = False,
) -> None:
    """Show on one page what the network sees of scans, step by step, and what it takes them for. Needs no service.

    Example: glyphq inspect scans.zip -o inspect.html
    """
    if as_json and output == STANDARD_OUTPUT:
        raise typer.BadParameter("name a file for the page with --output", param_hint="--json")
    try:
        from glyphq import inspection
    except ImportError as error:
        raise SetupError(f"Inspecting needs {error.name}; in a clone: pip install -e '.[worker]'.") from error
    chosen = {"invert": invert, "filename_encoding": filename_encoding, **charset_options(charset)}
    seen = inspection.inspect(scans, Options(**{name: value for name, value in chosen.items() if value}), limit)
    if not seen.scans:
        raise EmptyInput(f"There are no files in {', '.join(path.name for path in scans)}.")
    with writing(output, scans) as file:
        file.write(inspection.page(seen).encode())
    if as_json:
        print_json({"page": str(output), "model": seen.model, "scans": [scan.as_json() for scan in seen.scans]})
        return
    for scan in seen.scans:
        say(scan.line) if output == STANDARD_OUTPUT else typer.echo(scan.line)
    if seen.more:
        say(f"warning: there are more scans; these are the first {limit:,}. --limit takes more.")
