"""A file that is written and never kept: for writers that want a file where the bytes go on at once."""

import io
from typing import Any


class Pieces(io.RawIOBase):
    """What has been written since the last time is taken. It knows its position, and cannot go back."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written.append(bytes(data))
        self._position += len(self._written[-1])
        return len(self._written[-1])

    def tell(self) -> int:
        return self._position

    def take(self) -> bytes:
        taken = b"".join(self._written)
        self._written.clear()
        return taken
