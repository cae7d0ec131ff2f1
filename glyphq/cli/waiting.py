"""Waiting for the end of a job before the eyes of a person."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from glyphq.cli.words import say
from glyphq.records import JobStatus

if TYPE_CHECKING:
    from glyphq.client import Client


def watch(client: "Client", job_id: str, timeout_seconds: float | None = None) -> JobStatus:
    """The job when it has ended; how far it is, is shown meanwhile."""
    from glyphq.client.bars import terminal_bars

    with terminal_bars() as bars:
        return client.wait(job_id, bars.classifying, timeout_seconds)


@contextmanager
def saying_where_it_is_left(job_id: str, *, kept: bool = True, verb: str = "wait") -> Iterator[None]:
    """Whoever interrupts the block, by Ctrl-C or a signal, reads what becomes of the job, and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        say(f"Interrupted. The job goes on: glyphq {verb} {job_id}" if kept else "Interrupted. Nothing is kept.")
        raise
