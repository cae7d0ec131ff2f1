"""The whole tree of errors on one page. Knows nothing of HTTP: `api/problems.py` alone gives each its status.

GlyphqError
 |- InvalidRequest            the caller can mend it
 |   |- InvalidOption
 |   |- UnsupportedInput
 |   |   `- EmptyInput
 |   |- InvalidArchive
 |   |- LimitExceeded
 |   |- UploadInterrupted
 |   |   `- UploadTooSlow
 |   |- IdempotencyMismatch
 |   |- CrossSiteRefused
 |   `- HostRefused
 |- KeyRefused                the caller is not let in, or not so often
 |- QuotaExceeded
 |- Overloaded
 |- JobNotFound
 |- JobNotFinished
 |- JobAlreadyEnded
 |- JobFailed
 |- RowNotFound
 |- NoPicture
 |- StoreError                the operator can mend it
 |   |- StoreFull
 |   `- DamagedObject
 |- ModelError
 |- KeyNotFound
 |- AddressRefused
 |- ServiceError              seen from the client
 |   |- ServiceUnreachable
 |   `- ProblemReported
 `- SetupError
"""


class GlyphqError(Exception):
    """The root: catch it to catch everything glyphq raises on purpose. `code` is stable; `detail` is for a person.

    In the client, `request_id` is what the service's logs know the request by, where it answered.
    """

    code = "error"
    request_id: str | None = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __reduce__(self) -> tuple[object, ...]:
        """It can be pickled, whatever its class takes: pools of processes hand errors over so."""
        return _restored, (type(self), self.args, vars(self))


def _restored(kind: type[GlyphqError], arguments: tuple[object, ...], fields: dict[str, object]) -> GlyphqError:
    error = kind.__new__(kind, *arguments)
    vars(error).update(fields)
    return error


class InvalidRequest(GlyphqError):
    """Raised when what was handed in cannot be accepted, whatever the state of the service."""

    code = "invalid-request"


class InvalidOption(InvalidRequest):
    """Raised when an option of a job is malformed or unknown."""

    code = "invalid-option"

    def __init__(self, option: str, detail: str) -> None:
        super().__init__(detail)
        self.option = option


class UnsupportedInput(InvalidRequest):
    """Raised when the bytes handed in are neither a zip, nor an image, nor pixel rows."""

    code = "unsupported-input"


class EmptyInput(UnsupportedInput):
    """Raised when there is nothing to classify: no bytes, or an archive without a single file."""

    code = "empty-input"


class InvalidArchive(InvalidRequest):
    """Raised when a zip as a whole cannot be trusted: truncated, two directories, overlapping entries, a bomb."""

    code = "invalid-archive"


class LimitExceeded(InvalidRequest):
    """Raised when the input exceeds a limit of the service; `limit` names it and `value` is its size."""

    code = "limit-exceeded"

    def __init__(self, limit: str, value: int, detail: str) -> None:
        super().__init__(detail)
        self.limit = limit
        self.value = value


class UploadInterrupted(InvalidRequest):
    """Raised when fewer bytes arrived than were announced."""

    code = "upload-interrupted"


class UploadTooSlow(UploadInterrupted):
    """Raised when a body arrives so slowly that it only occupies a connection."""

    code = "upload-too-slow"


class IdempotencyMismatch(InvalidRequest):
    """Raised when an Idempotency-Key comes again with another body or other options."""

    code = "idempotency-mismatch"


class CrossSiteRefused(InvalidRequest):
    """Raised when a page of another site sends a request in the name of whoever visits it."""

    code = "cross-site"


class HostRefused(InvalidRequest):
    """Raised when the service is called by a name that is not its own."""

    code = "unknown-host"


class KeyRefused(GlyphqError):
    """Raised when a request has no key where one is needed, or one that is not valid."""

    code = "key-refused"


class QuotaExceeded(GlyphqError):
    """Raised when a key has reached one of its limits; `limit` names it, `value` is its size."""

    code = "quota-exceeded"

    def __init__(self, limit: str, value: int, retry_after_seconds: int, detail: str) -> None:
        super().__init__(detail)
        self.limit = limit
        self.value = value
        self.retry_after_seconds = retry_after_seconds


class Overloaded(GlyphqError):
    """Raised when the service has as much under way as it takes at once."""

    code = "overloaded"


class JobNotFound(GlyphqError):
    """Raised when there is no such job, or none that the caller may see."""

    code = "job-not-found"


class JobNotFinished(GlyphqError):
    """Raised when the whole result is asked of a job that still runs; `job` is how far it is."""

    code = "job-not-finished"

    def __init__(self, detail: str, job: dict[str, object]) -> None:
        super().__init__(detail)
        self.job = job


class JobAlreadyEnded(GlyphqError):
    """Raised when a job that has ended is to be cancelled."""

    code = "job-already-ended"


class JobFailed(GlyphqError):
    """Raised when the stored record of a job cannot be read, so that nothing can be done with it but to delete it."""

    code = "job-failed"


class RowNotFound(GlyphqError):
    """Raised when a job has no row of that number."""

    code = "row-not-found"


class NoPicture(GlyphqError):
    """Raised when there is nothing to show of a row; `reason` is that of a rejected row, or `blank`."""

    code = "no-picture"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class StoreError(GlyphqError):
    """Raised when the blob store does not do what was asked of it."""

    code = "store-error"


class StoreFull(StoreError):
    """Raised when the blob store has no room for what is to be written."""

    code = "store-full"


class DamagedObject(StoreError):
    """Raised when a stored object does not match its digest, or is missing where it must be."""

    code = "damaged-object"

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(f"{key}: {detail}")
        self.key = key


class ModelError(GlyphqError):
    """Raised when the weights are missing, altered, or not for this network."""

    code = "model-error"


class KeyNotFound(GlyphqError):
    """Raised when a key that is to be revoked does not exist."""

    code = "key-not-found"


class AddressRefused(GlyphqError):
    """Raised when a callback's host leads to an address that is not public."""

    code = "address-refused"


class ServiceError(GlyphqError):
    """Raised by the client when a call to the service fails."""

    code = "service-error"


class ServiceUnreachable(ServiceError):
    """Raised by the client when nobody answers at the service's address."""

    code = "service-unreachable"


class ProblemReported(ServiceError):
    """Raised by the client for a problem that is none of these errors: of something between, or of a newer service.

    Carries its status, code and fields. Every other problem is raised as the error that the service itself raised.
    """

    def __init__(self, status: int, code: str, detail: str, problem: dict[str, object]) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.problem = problem


class SetupError(GlyphqError):
    """Raised when the installation lacks something the command needs: an extra, a Redis server, the checkout."""

    code = "setup-error"
