"""What goes on while a batch is worked on: its lease is kept, the other lane answered, a stuck process ended."""

import faulthandler
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from glyphq.broker import QUEUE_ERRORS
from worker.metrics import Stages
from worker.process import Process

log = logging.getLogger(__name__)

STUCK_SECONDS = 300.0
"""A process that is this long at one image ends itself, with a traceback; the next one decodes in a child."""

_STDERR = 2
_REDIS_PAUSE_SECONDS = 5.0  # after a call of Redis that failed, for it may have hung


class Superfluous(Exception):
    """Raised between two images when the job has ended meanwhile, or another process holds the chunk."""


class Pulse:
    """Called between images: keeps the lease, answers the interactive lane for half of the time at the most, stops work
    that has become superfluous.

    A context manager: inside, a process that does not call it for STUCK_SECONDS ends itself.
    """

    def __init__(
        self,
        process: Process,
        renew: Callable[[], bool | None],
        stages: Stages,
        *,
        serve: "Callable[[Pulse], None] | None" = None,
        outer: "Pulse | None" = None,
    ) -> None:
        """`renew` answers False when the work is superfluous; `serve`, if given, answers the interactive lane, and
        `stages` of the work do not last meanwhile; `outer` is renewed along.
        """
        self._process, self._renew, self._serve, self._outer = process, renew, serve, outer
        self._stages = stages
        self._renew_seconds = process.settings.lease_seconds / 5
        self._renewed = time.monotonic()
        self._paused_until = 0.0

    def __enter__(self) -> Self:
        _arm()
        if self._serve:
            self._process.lane.watch()
        return self

    def __exit__(self, *_: object) -> None:
        if self._serve:
            self._process.lane.rest()
        if self._outer is None:
            faulthandler.cancel_dump_traceback_later()
        else:
            _arm()

    def __call__(self) -> None:
        now = time.monotonic()
        renew = now - self._renewed >= self._renew_seconds
        waits = self._process.lane.waits and now >= self._process.lane.served_from
        serve = self._serve if waits else None
        if not (renew or serve) or now < self._paused_until:
            return
        try:
            if renew:
                self.keep()
            if serve:
                self._process.lane.waits = False
                with self._stages.interrupted():
                    serve(self)
        except QUEUE_ERRORS as error:
            log.warning("work goes on without Redis: %s", error)
            self._paused_until = time.monotonic() + _REDIS_PAUSE_SECONDS

    def keep(self) -> None:
        """Renew the lease now, and the outer one."""
        if self._outer is not None:
            with suppress(Superfluous):  # the outer one finds out by itself, when these jobs are answered
                self._outer.keep()
        _arm()
        if self._renew() is False:
            raise Superfluous
        self._renewed = time.monotonic()


def _arm() -> None:
    """End this process in STUCK_SECONDS, unless armed anew or disarmed before."""
    faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True, file=_STDERR)
