"""Where a download that broke off goes on: pieces of CSV or NDJSON in, whole rows out. Knows nothing of HTTP."""


class WholeRows:
    """What may be written of a download that may have to be resumed. `number` is how many rows that has been.

    CSV is taken to begin with a line of names, whichever row it begins with, only until there is a first row.
    """

    def __init__(self, *, csv: bool) -> None:
        self.number = 0
        self.rest = b""
        self._csv = self._named = csv
        self._resumed_at = -1

    def taken(self, piece: bytes) -> bytes:
        """The rows that this piece completes; what is left of it waits in `rest`."""
        data = self.rest + piece
        end, lines = data.rfind(b"\n") + 1, data.count(b"\n")
        if self._csv and b'"' in data:
            end, lines = _whole_records(data)
        if self._named:
            if lines < 2:
                self.rest = data
                return b""
            lines, self._named = lines - 1, False
        self.number += lines
        self.rest = data[end:]
        return data[:end]

    @property
    def is_cut(self) -> bool:
        """Whether what has come ends within a row; the line of names alone is whole."""
        return bool(self.rest) and not (self._named and self.rest.endswith(b"\n"))

    def resume(self) -> bool:
        """Begin again after the last whole row. False where none has come since the last time."""
        came, self._resumed_at, self.rest = self.number > self._resumed_at, self.number, b""
        return came


def _whole_records(data: bytes) -> tuple[int, int]:
    """Where the last whole record of CSV ends, and how many there are: a line break within quotes ends none."""
    at = end = records = quotes = 0
    for line in data.split(b"\n")[:-1]:
        at += len(line) + 1
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            end, records = at, records + 1
    return end, records
