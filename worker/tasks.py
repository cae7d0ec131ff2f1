"""The two tasks and their delivery policy. What they do is in `worker.pipeline`."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from celery import Celery, signals

from glyphq.broker import CLASSIFY_CHUNK, DRAIN
from glyphq.errors import GlyphqError
from glyphq.settings import Settings
from worker import pipeline
from worker.process import Process, open_process

log = logging.getLogger(__name__)

# Longer than a chunk of the slowest images honestly takes. A process that makes no progress ends itself sooner, see
# `pulse.STUCK_SECONDS`; a soft limit would be an exception in the middle of decoding somebody's scan.
_LIMIT_SECONDS = 6 * 3600


def register(app: Celery, settings: Settings, tell: Callable[[str], object]) -> None:
    """Give the app its tasks, and each process it forks its resources. One that cannot start has said why to `tell`
    when it ends the worker.
    """
    opened: list[Process] = []

    @signals.worker_process_init.connect(weak=False)
    def open_resources(**_: Any) -> None:
        try:
            opened.append(open_process(settings, app))
        except Exception as error:
            # Celery would log this and let the process take tasks without a model.
            foreseen = isinstance(error, GlyphqError)
            log.critical("this worker process cannot start: %s", error, exc_info=not foreseen)
            tell(f"A worker process cannot start: {error}")
            os.kill(os.getppid(), signal.SIGTERM)
            sys.exit(1)

    # Never retried by Celery: the ledger knows what is undone and the reconciler sends it again.
    @app.task(name=CLASSIFY_CHUNK, time_limit=_LIMIT_SECONDS)
    def classify_chunk(owner: str, job_id: str, chunk: int, sent: int) -> None:
        if opened[0].store.answers():
            pipeline.classify_chunk(opened[0], owner, job_id, chunk, sent)

    @app.task(name=DRAIN, time_limit=_LIMIT_SECONDS)
    def drain() -> None:
        if opened[0].store.answers():
            pipeline.drain(opened[0])
