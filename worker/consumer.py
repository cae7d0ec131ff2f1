"""A sign of life of the process that takes messages and hands them to its children, who cannot tell that it is stuck.

It is a file: the process that forks the others opens no connection of its own.
"""

from pathlib import Path
from typing import Any

from celery import Celery, bootsteps
from celery.worker import state

BEAT_SECONDS = 1.0


def beat_into(path: Path, app: Celery) -> None:
    """Have the app's worker write into `path`, once a second, how many tasks it has taken that have not ended.

    From within its event loop: a loop that stands still writes nothing.
    """

    class Beat(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:
            # Anew with each connection to Redis, for the timer's entries may go with the one before.
            self._entry = consumer.timer.call_repeatedly(BEAT_SECONDS, self._write)

        def stop(self, consumer: Any) -> None:  # noqa: ARG002  # as celery calls it
            self._entry.cancel()

        def _write(self) -> None:
            path.write_text(str(len(state.reserved_requests)))

    app.steps["consumer"].add(Beat)
