"""What one worker process holds: store, Redis, Celery, model. Opened after the fork, once; handed to the pipeline."""

import logging
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from celery import Celery
from redis import RedisError

from glyphq.blobs import open_blobs
from glyphq.dispatch import Dispatcher
from glyphq.jobs import Model
from glyphq.ledger import Ledger
from glyphq.progress import Progress, open_progress
from glyphq.settings import Settings
from glyphq.vision.checkpoint import SHIPPED, read_card
from glyphq.vision.decode import prepare_process
from glyphq.vision.engine import Engine, open_engine
from worker.lane import InteractiveLane
from worker.metrics import begin_counting
from worker.store_watch import StoreWatch

log = logging.getLogger(__name__)

_HEARTBEAT_SECONDS = 3.0


@dataclass(frozen=True)
class Process:
    """The resources of one worker process. `name` is unique among all workers."""

    name: str
    settings: Settings
    ledger: Ledger
    progress: Progress
    dispatcher: Dispatcher
    engine: Engine
    model: Model
    temperature: float
    lane: InteractiveLane
    store: StoreWatch
    verdicts: dict[str, bool] = field(default_factory=dict)
    """Whether a job's stored input is intact, by job id, where that had to be looked at."""


def open_process(settings: Settings, celery: Celery) -> Process:
    """Open everything a worker process needs and begin its heartbeat. Raises ModelError, StoreError."""
    prepare_process()
    folder = settings.model or SHIPPED
    card = read_card(folder)
    engine = open_engine(settings.engine, folder)
    ledger = Ledger(open_blobs(settings.store_url))
    progress = open_progress(settings)
    process = Process(
        name=f"{socket.gethostname()}:{os.getpid()}",
        settings=settings,
        ledger=ledger,
        progress=progress,
        dispatcher=Dispatcher(ledger, progress, celery),
        engine=engine,
        model=Model(card.digest, engine.name),
        temperature=card.temperature,
        lane=InteractiveLane(progress),
        store=StoreWatch(ledger, progress),
    )
    begin_counting(process.model)
    with suppress(RedisError):  # the heartbeat looks again
        process.store.look()
    threading.Thread(target=_beat, args=(process,), name="heartbeat", daemon=True).start()
    log.info("%s is ready: %s, model %s", process.name, engine.name, card.digest[:16])
    return process


def _beat(process: Process) -> None:
    while True:
        try:
            if process.store.look():
                process.progress.heartbeat(process.name, process.engine.name)
        except RedisError as error:
            log.warning("%s: no heartbeat: %s", process.name, error)
        time.sleep(_HEARTBEAT_SECONDS)  # a beat; nothing to await
