"""A file that is there whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears at `path`, or replaces what is there, only when the block has come to its end.

    Links are followed, and a file that is replaced keeps its mode. What is no file, such as a device or a pipe, is
    written as it is. Raises IsADirectoryError for a folder before anything is written.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    unfinished = path.with_name(f".{uuid.uuid4().hex}")
    try:
        with unfinished.open("xb") as file:
            if path.exists():
                unfinished.chmod(path.stat().st_mode)
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
