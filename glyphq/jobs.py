"""What a job is: its record, states, rows and counts. Pure: no storage, no clock.

A job is accepted once as an immutable `Job` and ends once as an immutable `End`; everything between is progress.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from functools import cached_property
from itertools import accumulate
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from glyphq.charset_rules import parse_rules
from glyphq.errors import InvalidOption, RowNotFound
from glyphq.labels import charset_classes

MAX_TOP_K = 10
MAX_NAME_CHARACTERS = 200
MAX_LABEL_CHARACTERS = 8
MAX_URL_CHARACTERS = 2000
FILENAME_ENCODINGS = ("cp437", "utf-8", "cp866", "cp1251", "koi8-r", "cp1252", "shift_jis", "gbk", "euc-kr", "big5")


# How pydantic writes bytes when it stores a record as JSON.
_BASE64: dict[str, str] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}


DOUBTFUL_CONFIDENCE = 0.5

# Shares of a job's rows from which it is warned of. In EMNIST, and in scans of pencil and tablet, at most 4 % are
# doubtful and 0.3 % seem to be several; turned or mirrored, 18 to 38 % are doubtful; two side by side, 91 to 99 % are
# several.
_INVERTED, _SEVERAL, _DOUBTFUL, _BLANK = 0.2, 0.3, 0.12, 0.5
_ENOUGH = 20  # rows; of fewer, shares say nothing


class _Described(StrEnum):
    """A string with a sentence of explanation."""

    sentence: str

    def __new__(cls, value: str, sentence: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member


class JobState(_Described):
    """Where a job is."""

    QUEUED = "queued", "Accepted and durable; no image has been classified yet."
    RUNNING = "running", "Some images have their row; the rest will follow."
    COMPLETED = "completed", "Every input has its row."
    CANCELLED = "cancelled", "Stopped by its owner; rows made before are kept, the rest are cancelled rows."
    FAILED = "failed", "The stored record itself cannot be read; nothing else ends a job this way."

    @property
    def ended(self) -> bool:
        return self in (JobState.COMPLETED, JobState.CANCELLED, JobState.FAILED)


class RowStatus(_Described):
    """What became of one input."""

    CLASSIFIED = "classified", "The network read it: label and confidence are given."
    BLANK = "blank", "There is no ink on it; that is an answer, not an error."
    REJECTED = "rejected", "It could not be read; reason and detail say why."
    CANCELLED = "cancelled", "The job was cancelled before this input was reached."


class Reason(_Described):
    """Why a row was rejected. The code is stable; the sentence may be reworded."""

    EMPTY_FILE = "empty_file", "The file has no bytes."
    NOT_AN_IMAGE = "not_an_image", "The bytes are not a PNG, JPEG, WebP, TIFF or BMP image."
    NESTED_ARCHIVE = "nested_archive", "The file is itself an archive; unpack it and submit its images."
    DAMAGED_IMAGE = "damaged_image", "The image is truncated or damaged."
    TOO_MANY_PIXELS = "too_many_pixels", "The image has more pixels than the service decodes."
    TOO_MANY_BYTES = "too_many_bytes", "The file is larger than the service reads for one image."
    ENCRYPTED = "encrypted", "The archive entry is encrypted; submit it without a password."
    UNSUPPORTED_COMPRESSION = "unsupported_compression", "The entry's compression is neither stored nor deflate."
    DAMAGED_ENTRY = "damaged_entry", "The archive entry does not unpack to what its directory says (size or CRC)."
    NOT_A_FILE = "not_a_file", "The archive entry is a symbolic link or another special file."
    DECODER_CRASHED = "decoder_crashed", "Decoding this image alone twice ended the decoder."
    STORED_INPUT_DAMAGED = "stored_input_damaged", "The stored input no longer matches what was uploaded."


class Sign(IntFlag):
    """What looks wrong with one picture; glyphq.vision.signs tells it."""

    NONE = 0
    INVERTED = 1  # the ink is dark in the picture, or the other way than the job's option says
    SEVERAL = 2  # characters side by side, with nothing between them


@dataclass(frozen=True)
class Rejection:
    """Why an input has no answer: a stable reason and a sentence for a person."""

    reason: Reason
    detail: str

    @classmethod
    def of(cls, reason: Reason, detail: str = "") -> Self:
        """With the reason's own sentence where there is nothing to add."""
        return cls(reason, detail or reason.sentence)


@dataclass(frozen=True)
class Counts:
    """Rows by status. `total` = classified + blank + rejected + cancelled + pending, always; pending is 0 at the
    end.

    `doubtful`, `inverted` and `several` are of the classified rows those with a sign that something is off; see
    `warnings`.
    """

    COUNTED: ClassVar = ("classified", "blank", "rejected", "doubtful", "inverted", "several")
    """What the result of a chunk adds."""

    total: int
    classified: int = 0
    blank: int = 0
    rejected: int = 0
    cancelled: int = 0
    doubtful: int = 0
    inverted: int = 0
    several: int = 0

    @classmethod
    def summed(cls, total: int, parts: Iterable[Self]) -> Self:
        """Of a job with `total` rows, from what its chunks came to."""
        parts = list(parts)
        return cls(total, **{name: sum(getattr(part, name) for part in parts) for name in cls.COUNTED})

    @property
    def pending(self) -> int:
        return self.total - self.classified - self.blank - self.rejected - self.cancelled

    @property
    def done(self) -> int:
        return self.total - self.pending

    def warnings(self) -> list[str]:
        """What looks wrong with the batch as a whole, a sentence each that says what to do."""
        found = []
        if self.inverted > _INVERTED * self.classified:
            found.append(
                f"{self.inverted:,} of {self.classified:,} look inverted. Submit scans with invert=auto, and pixel "
                "rows as EMNIST's: 0 is the ground."
            )
        if self.done < _ENOUGH:
            return found
        if self.several > _SEVERAL * self.classified:
            found.append(
                f"{self.several:,} of {self.classified:,} seem to hold more than one character. Cut them apart: "
                "each scan is answered with one character."
            )
        elif self.doubtful > _DOUBTFUL * self.classified and not found:
            found.append(
                f"{self.doubtful:,} of {self.classified:,} have a confidence under {DOUBTFUL_CONFIDENCE}: they are "
                "unlike what the network knows. Are they turned, mirrored, or of another alphabet?"
            )
        if self.blank > _BLANK * self.done:
            found.append(f"{self.blank:,} of {self.done:,} have no ink on them. Is the right layer or page scanned?")
        return found

    def as_dict(self) -> dict[str, int]:
        return {
            "total": self.total,
            "pending": self.pending,
            "classified": self.classified,
            "blank": self.blank,
            "rejected": self.rejected,
            "cancelled": self.cancelled,
        }


class Lane(_Described):
    """Which way a job takes."""

    BULK = "bulk", "Chunk by chunk, its share of the workers beside other jobs."
    INTERACTIVE = "interactive", "One image or a handful, answered in one batch, before chunks."


class Kind(_Described):
    """What was handed in."""

    ZIP = "zip", "An archive of images."
    IMAGE = "image", "One image."
    IMAGES = "images", "Several images in one form."
    PIXELS = "pixels", "EMNIST pixel rows: 784 numbers each."


class Invert(_Described):
    """Whether the ink is darker or lighter than the paper."""

    AUTO = "auto", "Decided for each image: ink is the minority."
    YES = "yes", "Light ink on a dark ground, as in EMNIST."
    NO = "no", "Dark ink on light paper."


class View(_Described):
    """Which picture of an input to show."""

    ORIGINAL = "original", "The input's own bytes, as they were handed in."
    MODEL = "model", "The 28x28 picture that the network was given."


class Sort(_Described):
    """How rows are ordered; those that are equal by it, by their number."""

    ROW = "row", "As in the archive."
    CONFIDENCE = "confidence", "The most doubtful first, those without a confidence last."
    FILENAME = "filename", "By file name."


@dataclass(frozen=True)
class Options:
    """What the submitter chose. Raises InvalidOption, naming the option, for a value out of range.

    `charset_rules` are GLOB=CHARSET, as glyphq.charset_rules reads them; `charset` is of rows that no rule matches.
    """

    name: str | None = None
    top_k: int = 3
    charset: str = "all"
    invert: Invert = Invert.AUTO
    filename_encoding: str = "cp437"
    charset_rules: tuple[str, ...] = ()
    callback_url: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None and not (0 < len(self.name) <= MAX_NAME_CHARACTERS and self.name.isprintable()):
            raise InvalidOption("name", f"A name has 1 to {MAX_NAME_CHARACTERS} printable characters.")
        if not 1 <= self.top_k <= MAX_TOP_K:
            raise InvalidOption("top_k", f"top_k is a whole number from 1 to {MAX_TOP_K}; {self.top_k} is not.")
        charset_classes(self.charset)
        parse_rules(self.charset_rules)
        if self.callback_url is not None and not _is_web_address(self.callback_url):
            raise InvalidOption(
                "callback_url",
                "callback_url is an address such as https://example.org/glyphq: http or https, without user or "
                f"fragment, of at most {MAX_URL_CHARACTERS} ASCII characters.",
            )
        if self.filename_encoding not in FILENAME_ENCODINGS:
            raise InvalidOption(
                "filename_encoding",
                f"Names in a zip can be read as {', '.join(FILENAME_ENCODINGS)}; not as {self.filename_encoding!r}.",
            )

    @classmethod
    def from_strings(cls, /, *, charset_rules: str | Sequence[str] = (), **values: str) -> Self:
        """From query or form fields; of `charset_rules` there may be several. Raises InvalidOption for an unknown field
        or one that is not of its type.
        """
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            raise InvalidOption(unknown[0], f"There is no option {unknown[0]!r}; there are {known}.")
        rules = (charset_rules,) if isinstance(charset_rules, str) else tuple(charset_rules)
        fields: dict[str, Any] = {**values, "charset_rules": rules}
        if "top_k" in values:
            if not re.fullmatch(r"[0-9]{1,3}", values["top_k"]):
                raise InvalidOption(
                    "top_k", f"top_k is a whole number from 1 to {MAX_TOP_K}; {values['top_k'][:20]!r} is not."
                )
            fields["top_k"] = int(values["top_k"])
        if "invert" in values:
            if values["invert"] not in list(Invert):
                raise InvalidOption("invert", f"invert is one of {', '.join(Invert)}; {values['invert']!r} is not.")
            fields["invert"] = Invert(values["invert"])
        return cls(**fields)

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "top_k": self.top_k,
            "charset": self.charset,
            "invert": self.invert.value,
            "filename_encoding": self.filename_encoding,
            "charset_rules": list(self.charset_rules),
            "callback_url": self.callback_url,
        }


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return (
            len(text) <= MAX_URL_CHARACTERS
            and re.fullmatch("[!-~]+", text) is not None
            and parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and not (parts.username or parts.password or "#" in text or "\\" in text)
        )
    except ValueError:
        return False


@dataclass(frozen=True)
class Chunk:
    """Where one chunk's record batch lies in the index, how many rows it has, and the first 16 hex digits of its
    SHA-256.
    """

    offset: int
    length: int
    rows: int
    digest: str


@dataclass(frozen=True)
class Job:
    """The record of an accepted job: immutable, durable before the job is acknowledged.

    `input_sha256` is of the input as stored. `archive_limits` are archive.ArchiveLimits as they were when a zip was
    indexed, so that the same index can be made again. A job of the interactive lane carries its index in
    `inline_index`, and its input, when small, in `inline_input`; otherwise both are objects of their own.
    `request_id` is of the request that handed it in, where there was one.
    """

    id: str
    owner: str
    kind: Kind
    options: Options
    input_sha256: str
    input_bytes: int
    total: int
    ignored: int
    chunks: tuple[Chunk, ...]
    created_at: float  # seconds since the epoch
    nonce: str
    inline_index: bytes | None = None
    inline_input: bytes | None = None
    idempotency_sha256: str | None = None
    archive_limits: dict[str, int] | None = None
    request_id: str | None = None

    __pydantic_config__: ClassVar[dict[str, str]] = _BASE64

    @property
    def interactive(self) -> bool:
        """Whether it takes the interactive lane: one image or a handful, answered in one batch."""
        return self.inline_index is not None

    @property
    def lane(self) -> Lane:
        return Lane.INTERACTIVE if self.interactive else Lane.BULK

    @cached_property
    def first_rows(self) -> tuple[int, ...]:
        """The number of each chunk's first row; after the last chunk, how many rows there are."""
        return tuple(accumulate((part.rows for part in self.chunks), initial=0))

    def require_row(self, row: int) -> None:
        """Raises RowNotFound for a number that none of the rows has."""
        if not 0 <= row < self.total:
            rows = "one row, 0" if self.total == 1 else f"{self.total:,} rows, from 0 to {self.total - 1:,}"
            raise RowNotFound(f"The job has {rows}; there is no row {row:,}.")


@dataclass(frozen=True)
class Model:
    """Which weights on which engine made a result."""

    digest: str
    engine: str


@dataclass(frozen=True)
class End:
    """How a job ended: created once. `counted` are the chunks whose stored results count; rows of others are cancelled.

    `inline_results` is the stored result of an interactive job, which has no objects of its own.
    """

    outcome: JobState
    counts: Counts
    counted: frozenset[int]
    models: tuple[Model, ...]
    ended_at: float  # seconds since the epoch
    inline_results: bytes | None = None

    __pydantic_config__: ClassVar[dict[str, str]] = _BASE64


@dataclass(frozen=True)
class Correction:
    """A person's label for a row, which may be the network's own. `by` is whoever gave it; `at` is in seconds since the
    epoch. Raises InvalidOption.
    """

    label: str
    by: str
    at: float

    def __post_init__(self) -> None:
        if not (0 < len(self.label) <= MAX_LABEL_CHARACTERS and self.label.isprintable() and self.label.strip()):
            raise InvalidOption("label", f"A label has 1 to {MAX_LABEL_CHARACTERS} printable characters, such as 7.")
