"""Waiting for the end of a job before the eyes of a person."""

from typing import TYPE_CHECKING

from glyphq.errors import JobNotFinished
from glyphq.records import JobStatus

if TYPE_CHECKING:
    from glyphq.client import Client


def watch(client: "Client", job_id: str, timeout_seconds: float | None = None) -> JobStatus:
    """The job when it has ended; how far it is, is shown meanwhile."""
    from glyphq.client.bars import terminal_bars

    with terminal_bars() as bars:
        return client.wait(job_id, bars.classifying, timeout_seconds)


def wait_or_leave(client: "Client", job_id: str, timeout_seconds: float | None = None) -> JobStatus:
    """`watch`, with Ctrl-C as the wish not to wait any longer."""
    try:
        return watch(client, job_id, timeout_seconds)
    except KeyboardInterrupt:
        raise JobNotFinished(f"Interrupted. The job goes on: glyphq wait {job_id}", {}) from None
