"""Whether the interactive lane has something, known without asking: a thread looks while a chunk is worked on.

Asked for in the midst of the work, the answer takes milliseconds on a machine whose cores are all busy: a twentieth of
the time, as often as it takes for a lone image not to wait.
"""

import logging
import threading
import time

from redis import RedisError

from glyphq.progress import Progress

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05
_REDIS_PAUSE_SECONDS = 5.0  # after a look that failed, for Redis may be hanging


class InteractiveLane:
    """The lane as one worker process sees it. `waits` may be old by a look; it is false unless watched."""

    def __init__(self, progress: Progress) -> None:
        self.waits = False
        self.served_from = 0.0
        """On the monotonic clock: before, the time is for chunks."""
        self._progress = progress
        self._watched = threading.Event()
        threading.Thread(target=self._look, name="interactive lane", daemon=True).start()

    def watch(self) -> None:
        """Look from now on, until `rest`."""
        self._watched.set()

    def rest(self) -> None:
        """Look no more."""
        self._watched.clear()
        self.waits = False

    def _look(self) -> None:
        while self._watched.wait():
            try:
                self.waits = self._progress.interactive_waits() and self._watched.is_set()
                time.sleep(_LOOK_SECONDS)  # a rhythm; nothing to await
            except RedisError as error:
                log.warning("the interactive lane is not looked at: %s", error)
                time.sleep(_REDIS_PAUSE_SECONDS)
