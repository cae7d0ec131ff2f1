"""What a good engineer would use instead of glyphq, each with the same weights on the same zip.

A zip of 28x28 8-bit grayscale PNGs, light on dark, becomes a CSV of row, filename, label and confidence. The seconds
that a peer tells go from just before the zip is opened to the CSV closed; its processes have started, loaded the model
and computed with it before. `registry` lists them.
"""

from pathlib import Path
from types import TracebackType
from typing import Protocol, Self


class Peer(Protocol):
    """Something that classifies zips for as long as its context lasts."""

    name: str

    def __enter__(self) -> Self:
        """Start what it takes, and warm it up. Raises SetupError when it cannot be started."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process that was started."""
        ...

    def classify(self, archive: Path, table: Path) -> float:
        """Write the CSV. The seconds that took."""
        ...
