"""Whether the store does what this process asks of it, and is the one that the API works on.

A process whose store refuses it would take one message after the other and do none of the work, faster than those that
can. So it is not heard from, and after each task it waits until the store answers.
"""

import logging
import threading

from glyphq.errors import StoreError
from glyphq.ledger import Ledger
from glyphq.object_names import WORKER_PROBE
from glyphq.progress import Progress

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 15.0  # at the most: whoever stops the worker waits for its tasks


class StoreWatch:
    """The store as one worker process sees it. Its heartbeat calls `look`, its tasks `refused` and `pause`."""

    def __init__(self, ledger: Ledger, progress: Progress) -> None:
        self._ledger, self._progress = ledger, progress
        self._answers = threading.Event()
        self._answers.set()

    def look(self) -> bool:
        """Whether the process can work; after `refused`, a trial write says so. Raises RedisError."""
        service = self._progress.store()
        try:
            if not self._answers.is_set():
                self._ledger.blobs.replace(WORKER_PROBE, b"ok")
            own = self._ledger.identity()
        except StoreError as error:
            self.refused(error.detail)
        else:
            if service not in (None, own):
                self.refused("it is not the store of the API at this Redis: compare GLYPHQ_STORE_URL of both")
            elif not self._answers.is_set():
                self._answers.set()
                log.info("the store answers again, and this worker process takes work")
        return self._answers.is_set()

    def refused(self, why: str) -> None:
        """The store did not do what it was asked."""
        if self._answers.is_set():
            self._answers.clear()
            log.error("the store cannot be used: %s; until it can, this worker process takes no work", why)

    def pause(self) -> None:
        """Until the store answers, or for a while."""
        self._answers.wait(_PAUSE_SECONDS)
