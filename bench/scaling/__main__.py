"""`python -m bench.scaling`: measure, reckon, and write docs/scaling.md.

Measures one to one more worker processes than there are cores, the costs of a chunk by part, and its requests to a
store of the S3 protocol; then lets `bench.simulation` reckon. Writes docs/scaling.md between its marks, the figure
beside it, and bench/results/scaling.json.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.inputs import write_zip
from bench.scaling.measured import measure
from bench.scaling.told import checked_table, draw, measured_table, reckoned_table
from glyphq.errors import GlyphqError

ROOT = Path(__file__).parent.parent.parent
PAGE, FIGURE, NUMBERS = ROOT / "docs/scaling.md", ROOT / "docs/scaling.svg", ROOT / "bench/results/scaling.json"


def main(
    images: Annotated[int, typer.Option(min=2048, help="In the zip that is measured with.")] = 60_000,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that count.")] = 3,
    write: Annotated[bool, typer.Option(help="Write page, figure and numbers.")] = True,
) -> None:
    """Measure here, and reckon for more machines."""
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="glyphq-bench-") as name, Console(stderr=True).status("starting") as status:
        archive = Path(name) / "scans.zip"
        write_zip(archive, images)
        measured = measure(archive, images, repeats, status.update)
    tables = {
        "measured": measured_table(measured),
        "checked": checked_table(measured),
        "reckoned": reckoned_table(measured.costs, status.update),
    }
    for table in tables.values():
        console.print(table, markup=False)
    if write:
        NUMBERS.write_text(json.dumps(vars(measured) | {"costs": vars(measured.costs)}, indent=2) + "\n")
        draw(measured.costs, FIGURE)
        page = PAGE.read_text()
        for mark, table in tables.items():
            page = re.sub(rf"(<!-- {mark} -->\n).*?(<!-- end -->)", rf"\1{table}\n\2", page, flags=re.DOTALL)
        PAGE.write_text(page)


if __name__ == "__main__":
    try:
        typer.run(main)
    except GlyphqError as error:
        sys.exit(f"error: {error.detail}")
