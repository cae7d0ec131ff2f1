"""Whether the store does what this process asks of it, and is the one that the API works on.

A process whose store refuses it would take one message after the other and do none of the work, faster than those that
can. So it is not heard from, and its tasks wait for the store; what they then leave undone is sent again.
"""

import logging
import threading
import time

from glyphq.errors import StoreError, StoreFull
from glyphq.ledger import Ledger
from glyphq.object_names import WORKER_PROBE
from glyphq.progress import Progress

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 15.0  # of a task: whoever stops the worker waits for it
_FULL_SECONDS = 15.0  # a full store may take what is tried and not what is made


class StoreWatch:
    """The store as one worker process sees it. Its heartbeat calls `look`, its tasks `answers` and `failed`."""

    def __init__(self, ledger: Ledger, progress: Progress) -> None:
        self._ledger, self._progress = ledger, progress
        self._works = threading.Event()
        self._works.set()
        self._not_before = 0.0  # on the monotonic clock: until then it does not work again

    def look(self) -> bool:
        """Whether the process can work. Raises RedisError."""
        service = self._progress.store()
        try:
            if not self._works.is_set():
                self._try()
            own = self._ledger.identity()
        except StoreError as error:
            self._refused(error.detail)
        else:
            if service not in (None, own):
                self._refused("it is not the store of the API at this Redis: compare GLYPHQ_STORE_URL of both")
            elif not self._works.is_set() and time.monotonic() >= self._not_before:
                self._works.set()
                log.warning("the store can be used again, and this worker process takes work")
        return self._works.is_set()

    def answers(self) -> bool:
        """Whether the store can be used, now or within a while."""
        return self._works.wait(_PATIENCE_SECONDS)

    def failed(self, error: StoreError) -> None:
        """A task met this. Whether the store as a whole does not work, or one object, a trial says."""
        if isinstance(error, StoreFull):
            self._not_before = time.monotonic() + _FULL_SECONDS
            self._refused(error.detail)
            return
        try:
            self._try()
        except StoreError as found:
            self._refused(found.detail)

    def _try(self) -> None:
        self._ledger.blobs.replace(WORKER_PROBE, b"ok")
        if self._ledger.blobs.get(WORKER_PROBE) != b"ok":
            raise StoreError("What was written to the store is not read back.")

    def _refused(self, why: str) -> None:
        if self._works.is_set():
            self._works.clear()
            log.error("the store cannot be used: %s; until it can, this worker process takes no work", why)
