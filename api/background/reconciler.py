"""What makes the promise good: finds what Redis, Celery or a worker has lost, and has it done.

Looks at Redis every few seconds. Looks at the whole store at start, when Redis has forgotten its epoch, after a write
to Redis failed, and every few minutes. Every hour it erases what is old. Runs under a lock in Redis; two at once would
be harmless.
"""

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Callable

from glyphq.broker import QUEUE_ERRORS
from glyphq.dispatch import Dispatcher
from glyphq.errors import DamagedObject, JobNotFound, StoreError
from glyphq.jobs import Job
from glyphq.ledger import Ledger
from glyphq.logs import bind_request, bound
from glyphq.metrics import RECOVERIES
from glyphq.object_names import record_key
from glyphq.progress import Progress
from glyphq.settings import Settings
from glyphq.sweep import Sweep

log = logging.getLogger(__name__)

_DAY_SECONDS = 24 * 3600.0
_SWEEP_SECONDS = 3600.0


class Reconciler:
    """One a process; `run` must be running."""

    def __init__(self, settings: Settings, ledger: Ledger, progress: Progress, dispatcher: Dispatcher) -> None:
        self._settings = settings
        self._ledger = ledger
        self._progress = progress
        self._dispatcher = dispatcher
        self._name = uuid.uuid4().hex
        self._store_due = self._sweep_due = 0.0  # on the monotonic clock
        self._write_failed = False
        self._leads = False
        self._identity: str | None = None  # of the store with which this began
        self._sweeper = Sweep(ledger)
        self._sweeping: threading.Thread | None = None
        self._damaged: set[str] = set()  # ids of jobs whose record cannot be read, told once

    def look_at_store(self) -> None:
        """Something that Redis should have been told was not: do not wait for the next pass over the store."""
        self._write_failed = True

    async def run(self) -> None:
        """Pass after pass, until cancelled."""
        while True:
            await asyncio.to_thread(self.reconcile)
            self._sweep_if_due()
            await asyncio.sleep(self._settings.reconcile_seconds)

    def reconcile(self) -> None:
        """One pass. What fails is logged and left to the next."""
        try:
            self._leads = False
            if self._write_failed:
                self._write_failed = False
                self._progress.drop_epoch()  # whoever holds the lock sees it
            self._leads = self._may_lead()
            if not self._leads:
                return
            if time.monotonic() >= self._store_due or self._progress.epoch_missing():
                self._store_pass()
            self._redis_pass()
        except QUEUE_ERRORS as error:
            log.warning("reconciler: Redis: %s", error)
            self.look_at_store()
        except StoreError as error:
            log.warning("reconciler: %s", error.detail)
        except Exception:  # one pass may fail; that there is a next one is what every promise rests on
            log.exception("reconciler: a pass failed; the next one follows")

    def _may_lead(self) -> bool:
        """Whether Redis is this store's, and the reconciler's lock this one's, for a while from now on."""
        self._identity = self._identity or self._ledger.identity()
        if not self._progress.claim_store(self._identity):
            log.error("reconciler: a service with another store uses this Redis; /readyz says what to do")
            return False
        return self._progress.lock(self._name, int(self._settings.reconcile_seconds * 5000))

    def _store_pass(self) -> None:
        """Make Redis say what the store says. The epoch comes last: a flush meanwhile means another pass."""
        self._store_due = time.monotonic() + self._settings.reconcile_store_seconds
        nonce = uuid.uuid4().hex
        self._progress.begin_epoch(nonce)
        for owner, job_id in self._ledger.open_jobs():
            if not self._may_lead():  # of many jobs this takes longer than a claim lasts
                return
            self._with_job(owner, job_id, self._dispatcher.restore)
        self._progress.publish_epoch(nonce)
        RECOVERIES.labels("store_pass").inc()

    def _sweep_if_due(self) -> None:
        over = self._sweeping is None or not self._sweeping.is_alive()
        if self._leads and over and time.monotonic() >= self._sweep_due:
            self._sweep_due = time.monotonic() + _SWEEP_SECONDS
            # Of many jobs it takes minutes; nobody waits for it, neither jobs nor who stops the service.
            self._sweeping = threading.Thread(target=self._sweep, name="sweep", daemon=True)
            try:
                self._sweeping.start()
            except RuntimeError:  # too many threads
                log.exception("reconciler: a sweep could not begin; the next one follows")

    def _sweep(self) -> None:
        try:
            swept = self._sweeper.run(self._settings.retention_days * _DAY_SECONDS)
        except StoreError as error:
            log.warning("reconciler: what is old could not be erased: %s", error.detail)
        except Exception:  # as in `reconcile`
            log.exception("reconciler: a sweep failed; the next one follows")
        else:
            if swept:
                log.info("reconciler: %d old jobs and orphans erased", swept)
                RECOVERIES.labels("erased").inc(swept)

    def _redis_pass(self) -> None:
        for owner, job_id in self._progress.open_jobs():
            if not self._may_lead():
                return
            self._with_job(owner, job_id, self._dispatcher.recover)
        if self._dispatcher.recover_interactive():
            RECOVERIES.labels("drain_sent").inc()

    def _with_job(self, owner: str, job_id: str, act: Callable[[Job], None]) -> None:
        """Act on one job; what is wrong with it is no concern of the others."""
        with bound(job_id):
            self._act(owner, job_id, act)

    def _act(self, owner: str, job_id: str, act: Callable[[Job], None]) -> None:
        try:
            job = self._ledger.job(owner, job_id)
            bind_request(job.request_id)
            act(job)
        except JobNotFound:
            self._dispatcher.forget(owner, job_id)
        except DamagedObject as error:
            if error.key == record_key(owner, job_id):
                self._give_up(owner, job_id, error)
            else:
                log.warning("job %s: %s", job_id, error.detail)
        except StoreError as error:
            log.warning("job %s: %s", job_id, error.detail)
        except QUEUE_ERRORS:
            raise
        except Exception:  # as above, for one job
            log.exception("job %s cannot be looked at", job_id)

    def _give_up(self, owner: str, job_id: str, error: DamagedObject) -> None:
        """Nobody knows what the job is any more: it has failed, and whoever asks for it is told so."""
        self._dispatcher.forget(owner, job_id)
        if job_id not in self._damaged:
            self._damaged.add(job_id)
            log.error("job %s has failed: %s", job_id, error.detail)
