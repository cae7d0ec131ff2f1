"""What the service says of a job and its rows, as records. Knows the API's JSON; nothing of how it came."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from html import escape
from pathlib import PurePath
from typing import Any, Self, overload

from glyphq.errors import ServiceError
from glyphq.jobs import Counts, JobState, Kind, RowStatus

_SHOWN_ROWS = 10
_CORRECTED = "final_label", "corrected_by", "corrected_at"


class Format(StrEnum):
    """The forms in which results can be had."""

    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    PARQUET = "parquet"
    ZIP = "zip"  # the scans, in a folder for each label

    @classmethod
    def of_path(cls, path: PurePath) -> Self:
        """As the suffix says; CSV where it says nothing."""
        suffix = path.suffix.lower().removeprefix(".").replace("jsonl", "ndjson")
        return cls(suffix if suffix in list(cls) else "csv")


@dataclass(frozen=True, repr=False)
class JobStatus:
    """A job as the service described it at one moment. `raw` is its whole answer."""

    id: str
    name: str | None
    kind: Kind | None  # None, as `created_at`, for a failed job
    state: JobState
    counts: Counts
    ignored: int
    progress: float  # 0 to 1
    rate: float | None  # images a second
    eta_seconds: float | None
    created_at: datetime | None
    ended_at: datetime | None
    warnings: tuple[str, ...]
    raw: dict[str, Any] = field(compare=False)

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """Raises ServiceError when it is not a job."""
        try:
            counts = {name: int(value) for name, value in raw["counts"].items() if name in Counts.__dataclass_fields__}
            return cls(
                id=raw["id"],
                name=raw["name"],
                kind=Kind(raw["kind"]) if raw["kind"] else None,
                state=JobState(str(raw["state"])),
                counts=Counts(**counts),
                ignored=raw["ignored"],
                progress=raw["progress"],
                rate=raw["rate"],
                eta_seconds=raw["eta_seconds"],
                created_at=_time(raw["created_at"]),
                ended_at=_time(raw["ended_at"]),
                warnings=tuple(raw["warnings"]),
                raw=raw,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _unreadable("a job", error) from error

    @property
    def summary(self) -> str:
        """How many rows there are of each status."""
        counts = self.counts
        parts = [f"{counts.classified:,} classified", f"{counts.blank:,} blank", f"{counts.rejected:,} rejected"]
        parts += [f"{counts.cancelled:,} cancelled"] if counts.cancelled else []
        parts += [f"{counts.pending:,} pending"] if counts.pending else []
        return f"{counts.total:,} row{'' if counts.total == 1 else 's'}: {', '.join(parts)}"

    @property
    def so_far(self) -> str:
        """How many rows are done, how fast, and how long the others will take."""
        parts = [f"{self.counts.done:,}/{self.counts.total:,}"]
        parts += [f"{self.rate:,.0f} images/s"] if self.rate is not None else []
        parts += [f"{self.eta_seconds:,.0f} s left"] if self.eta_seconds is not None else []
        return ", ".join(parts)

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<job {self.id}{name}, {self.state}; {self.summary}>"


@dataclass(frozen=True, slots=True)
class Answer:
    """A character that a scan may show, and how likely it does, from 0 to 1."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True, repr=False)
class Row:
    """What became of one scan. `label` and `confidence` are the first of `top`, None unless it was classified."""

    row: int
    filename: str
    status: RowStatus
    label: str | None
    confidence: float | None
    top: tuple[Answer, ...]
    reason: str | None  # why it was rejected: a stable code
    detail: str | None
    final_label: str | None = None  # these where corrections were asked for: a person's label, or else the network's
    corrected_by: str | None = None
    corrected_at: datetime | None = None

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """Raises ServiceError when it is not a row."""
        try:
            return cls(
                row=raw["row"],
                filename=raw["filename"],
                status=RowStatus(str(raw["status"])),
                label=raw["label"],
                confidence=raw["confidence"],
                top=tuple([Answer(each["label"], each["confidence"]) for each in raw["top"]]),
                reason=raw["reason"],
                detail=raw["detail"],
                final_label=raw.get("final_label"),
                corrected_by=raw.get("corrected_by"),
                corrected_at=_time(raw.get("corrected_at")),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _unreadable("a row", error) from error

    @property
    def words(self) -> tuple[str, ...]:
        """For a person: number, name, and what was read, or what became of it instead."""
        if self.label is None or self.confidence is None:
            return str(self.row), self.filename, f"{self.status}, {self.reason}" if self.reason else str(self.status)
        return str(self.row), self.filename, self.label, f"{self.confidence:.4f}"

    def as_json(self) -> dict[str, Any]:
        """As the service says it."""
        own = {**asdict(self), "top": [asdict(answer) for answer in self.top]}
        if self.final_label is None and self.corrected_at is None:
            own = {name: value for name, value in own.items() if name not in _CORRECTED}
        elif self.corrected_at:
            own["corrected_at"] = f"{self.corrected_at:%Y-%m-%dT%H:%M:%SZ}"
        return own

    def __repr__(self) -> str:
        return f"<row {self.row} {self.filename!r}: {' '.join(self.words[2:])}>"


class Rows(Sequence[Row]):
    """The rows of an ended job, in the order of the archive, and the job."""

    def __init__(self, job: JobStatus, rows: Sequence[Row]) -> None:
        self.job = job
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        return self._rows[index]

    def __repr__(self) -> str:
        lines = [self.job.summary, *("  ".join(row.words) for row in self._shown)]
        lines += [*self._more, *(f"warning: {warning}" for warning in self.job.warnings)]
        return "\n".join(map(_escaped, lines))

    def _repr_html_(self) -> str:
        """For notebooks."""
        body = "".join(f"<tr>{''.join(f'<td>{escape(word)}</td>' for word in row.words)}</tr>" for row in self._shown)
        notes = [*self._more, *(f"warning: {warning}" for warning in self.job.warnings)]
        return (
            f"<p>{escape(self.job.summary)}</p><table><thead><tr><th>row</th><th>filename</th><th>label</th>"
            f"<th>confidence</th></tr></thead><tbody>{body}</tbody></table>"
            + "".join(f"<p>{escape(note)}</p>" for note in notes)
        )

    @property
    def _shown(self) -> tuple[Row, ...]:
        return self._rows[:_SHOWN_ROWS]

    @property
    def _more(self) -> list[str]:
        more = len(self) - _SHOWN_ROWS
        return [f"and {more:,} more"] if more > 0 else []


@dataclass(frozen=True)
class Correction:
    """What a person said is on a scan, who, and when."""

    row: int
    label: str
    corrected_by: str
    corrected_at: datetime

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """Raises ServiceError when it is not a correction."""
        try:
            return cls(raw["row"], raw["label"], raw["corrected_by"], datetime.fromisoformat(raw["corrected_at"]))
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable("a correction", error) from error


def _escaped(line: str) -> str:
    """With what a terminal would obey, or a line's end, as Python writes it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _unreadable(what: str, error: Exception) -> ServiceError:
    return ServiceError(f"The service described {what} in a way this client cannot read ({error!r}).")
