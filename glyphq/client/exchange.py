"""One request and its answer, tried again where that may help. Knows HTTP; nothing of jobs.

A request is repeated when the connection fails and when the service, or something before it, says that it cannot now:
429, 502, 503, 504, or a 500 that is not the service's own. Every request of this client may be repeated: a submission
carries an idempotency key, and a second cancel or delete finds the first one's work done.
"""

import random
import ssl
import time
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import httpx

from glyphq.client.problems import problem_in, retry_after_seconds
from glyphq.client.steps import Operation, Send, pause, send
from glyphq.errors import JobNotFound, ModelError, ServiceError, ServiceUnreachable, SetupError

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 8.0
LATE_SECONDS = 2.0  # what an answer that is due at a deadline may take beyond it
UNHEARD_SECONDS = 3.0  # a service that has never answered is rather absent than on its way back
_PASSING = httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError
_LATER = 429, 502, 503, 504
_NOT_ITS_OWN = "http-500"  # the code of a 500 that is no problem: the service's own have theirs
_NOT_BY_ITSELF = SetupError, ModelError  # somebody must mend the service first


@dataclass
class Service:
    """The service as its client knows it."""

    url: str
    retry_seconds: float
    heard: bool = field(default=False)
    """Whether it has ever answered."""

    @property
    def patience_seconds(self) -> float:
        return self.retry_seconds if self.heard else min(self.retry_seconds, UNHEARD_SECONDS)


class Patience:
    """Pauses that double, each cut by chance so that many clients do not come back at once, up to a time in all since
    the first failure: what took long before that, as an upload, is worth another attempt. None goes beyond `deadline`,
    a time of the monotonic clock.
    """

    def __init__(self, service: Service, deadline: float = float("inf")) -> None:
        self._service, self._deadline, self._next = service, deadline, FIRST_PAUSE_SECONDS
        self._failed_at, self._paused = float("inf"), 0.0

    def pause_seconds(self, asked: float | None = None) -> float | None:
        """How long to wait before the next attempt, at least as long as was `asked`; None: it is in vain."""
        chance = random.random()  # noqa: S311  # no secret
        seconds = max(self._next * (1 - chance / 2), (asked or 0) * (1 + chance / 4))
        self._failed_at = min(self._failed_at, time.monotonic())
        in_all = min(self._service.patience_seconds, self._deadline - self._failed_at)
        if max(self._paused, time.monotonic() - self._failed_at) + seconds > in_all:
            return None
        self._paused += seconds
        self._next = min(2 * self._next, LONGEST_PAUSE_SECONDS)
        return seconds


def answered(
    service: Service, request: Send, also: Container[int] = (), deadline: float = float("inf")
) -> Operation[httpx.Response]:
    """A successful response, or one with a status that is `also` an answer. Raises the problem that the service answers
    with, and ServiceUnreachable; both soon after the `deadline`, where there is one.
    """
    patience, repeated = Patience(service, deadline), False
    while True:
        most_seconds = max(0.0, deadline - time.monotonic()) + LATE_SECONDS
        try:
            response = yield from send(replace(request, most_seconds=most_seconds))
        except httpx.RequestError as error:
            if _is_untrusted(error):
                raise ServiceError(
                    f"The certificate of {service.url} is not one that this machine trusts: {error}. "
                    "Where its authority is your own, name the file of its certificate in SSL_CERT_FILE."
                ) from error
            pause_seconds = patience.pause_seconds() if isinstance(error, _PASSING) else None
            if pause_seconds is None:
                raise unreachable(service, error) from error
        else:
            service.heard = True
            done_before = repeated and request.method == "DELETE" and response.status_code == 404
            if response.is_success or done_before or response.status_code in also:
                return response
            problem = problem_in(response)
            later = response.status_code in _LATER or problem.code == _NOT_ITS_OWN
            in_vain = not later or isinstance(problem, _NOT_BY_ITSELF)
            pause_seconds = None if in_vain else patience.pause_seconds(retry_after_seconds(response))
            if pause_seconds is None:
                raise problem
        yield from pause(pause_seconds)
        repeated = True


def asked(service: Service, request: Send) -> Operation[dict[str, Any]]:
    """The JSON object of a successful answer. Raises ServiceError where it is none, and as `answered`."""
    response = yield from answered(service, request)
    return json_of(response)


def json_of(response: httpx.Response) -> dict[str, Any]:
    """Raises ServiceError where it is no object, as every answer of the service is."""
    with suppress(ValueError):
        if isinstance(found := response.json(), dict):
            return found
    raise ServiceError(f"{response.url} does not answer as a glyphq service does (no JSON object).")


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


def unreachable(service: Service, error: httpx.RequestError) -> ServiceUnreachable:
    reason = str(error).rstrip(".") or type(error).__name__
    return ServiceUnreachable(f"Nobody answers at {service.url}: {reason}.")


def job_path(job_id: str, *rest: object) -> str:
    """Whatever the id is, it cannot lead to another route. Raises JobNotFound for those that no quotes make one."""
    if job_id in ("", ".", ".."):
        raise JobNotFound(f"There is no job {job_id!r}.")
    return "/".join(["/v1/jobs", quote(job_id, safe=""), *map(str, rest)])
