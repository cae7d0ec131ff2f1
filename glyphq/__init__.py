"""glyphq: hand in a zip of scanned handwritten characters, follow the job, fetch a CSV of what they say.

What a program needs to use a service can be imported from here, and is loaded when it is first asked for: the client
with its types, and every error.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glyphq.client import (
        Answer,
        AsyncClient,
        Client,
        Correction,
        Format,
        JobStatus,
        Row,
        Rows,
        Scans,
        SubmitOptions,
        Wanted,
    )
    from glyphq.errors import (
        CrossSiteRefused,
        DamagedObject,
        EmptyInput,
        GlyphqError,
        HostRefused,
        IdempotencyMismatch,
        InvalidArchive,
        InvalidOption,
        InvalidRequest,
        JobAlreadyEnded,
        JobFailed,
        JobNotFinished,
        JobNotFound,
        KeyRefused,
        LimitExceeded,
        ModelError,
        NoPicture,
        Overloaded,
        ProblemReported,
        QuotaExceeded,
        RowNotFound,
        ServiceError,
        ServiceUnreachable,
        SetupError,
        StoreError,
        StoreFull,
        UnsupportedInput,
        UploadInterrupted,
        UploadTooSlow,
    )
    from glyphq.jobs import Counts, Invert, JobState, Kind, RowStatus, Sort, View

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "Correction",
    "Counts",
    "CrossSiteRefused",
    "DamagedObject",
    "EmptyInput",
    "Format",
    "GlyphqError",
    "HostRefused",
    "IdempotencyMismatch",
    "InvalidArchive",
    "InvalidOption",
    "InvalidRequest",
    "Invert",
    "JobAlreadyEnded",
    "JobFailed",
    "JobNotFinished",
    "JobNotFound",
    "JobState",
    "JobStatus",
    "KeyRefused",
    "Kind",
    "LimitExceeded",
    "ModelError",
    "NoPicture",
    "Overloaded",
    "ProblemReported",
    "QuotaExceeded",
    "Row",
    "RowNotFound",
    "RowStatus",
    "Rows",
    "Scans",
    "ServiceError",
    "ServiceUnreachable",
    "SetupError",
    "Sort",
    "StoreError",
    "StoreFull",
    "SubmitOptions",
    "UnsupportedInput",
    "UploadInterrupted",
    "UploadTooSlow",
    "View",
    "Wanted",
]
_HOMES = "glyphq.client", "glyphq.errors", "glyphq.jobs"  # the client's Correction is not the one that is stored


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in map(import_module, _HOMES):
            if hasattr(home, name):
                return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
