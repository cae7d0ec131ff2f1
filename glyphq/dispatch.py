"""Where ledger, progress and Celery meet: start a job, send what is due, put Redis right, end what is done.

API and worker share this. Every method may raise `broker.QUEUE_ERRORS`, and each is harmless to repeat: what could
not be sent now is found by the reconciler.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress

from celery import Celery

from glyphq.broker import send_chunk, send_drain
from glyphq.errors import JobNotFound, StoreError
from glyphq.jobs import Job
from glyphq.ledger import Ledger
from glyphq.metrics import RECOVERIES
from glyphq.progress import BULK_QUEUE, Progress, Sending, Waiting

log = logging.getLogger(__name__)


class Dispatcher:
    """Sends work for jobs of one ledger through one Redis."""

    def __init__(self, ledger: Ledger, progress: Progress, celery: Celery) -> None:
        self._ledger = ledger
        self._progress = progress
        self._celery = celery

    def start(self, job: Job) -> None:
        """Send what may be out at once of a job that was just accepted."""
        if job.interactive:
            self.start_interactive([job])
        else:
            self._progress.open(job.owner, job.id)
            self._send_next(job)

    def start_interactive(self, jobs: Sequence[Job]) -> None:
        """Let jobs of the interactive lane wait, and send a drain where none is pending."""
        if self._progress.push(*map(waiting, jobs)):
            send_drain(self._celery)

    def send(self, job: Job, sending: Sending) -> None:
        """Send these chunks, which are marked as sent already."""
        for chunk in sending.chunks:
            send_chunk(self._celery, job.owner, job.id, chunk, sending.sent)

    def _send_next(self, job: Job) -> None:
        self.send(job, self._progress.next_chunks(job.owner, job.id, len(job.chunks)))

    def forget(self, owner: str, job_id: str) -> None:
        """The job has ended or is gone: stop what is done for it, and send the first chunks of the one that takes its
        place in the owner's window.
        """
        self._progress.forget(owner, job_id)
        next_id = self._progress.last_let_in(owner)
        if next_id is not None:
            with suppress(StoreError, JobNotFound):  # the reconciler looks at it
                self._send_next(self._ledger.job(owner, next_id))

    def mend(self, job: Job, chunk: int) -> None:
        """Ask for a result that was found damaged after the job had ended."""
        if self._progress.may_mend(job.id, chunk):
            send_chunk(self._celery, job.owner, job.id, chunk, 0)

    def restore(self, job: Job) -> None:
        """Make Redis say what the ledger says of an open job, end it if that is due, and send what may be out."""
        if job.interactive:
            if not self._progress.is_interactive_known(waiting(job)):
                self.start(job)
            return
        self._progress.open(job.owner, job.id)
        missing = self._ledger.finish(job)
        if not missing:
            self.forget(job.owner, job.id)
            return
        done = set(range(len(job.chunks))) - missing
        if done != self._progress.done_chunks(job.id):
            tally = self._ledger.tally(job, done)
            self._progress.rebuild(job.id, sorted(tally.counted), tally.counts)
            RECOVERIES.labels("progress_rebuilt").inc()
        self._send_next(job)

    def recover(self, job: Job) -> None:
        """Send again what is lost of a job: a worker that went silent, a message that nobody will claim, an end not
        made.
        """
        if self._ledger.has_ended(job):
            self.forget(job.owner, job.id)
            RECOVERIES.labels("end_told").inc()
            return
        if len(self._progress.done_chunks(job.id)) == len(job.chunks):
            self.restore(job)
            RECOVERIES.labels("end_made").inc()
            return
        lost = self._progress.lost_chunks(job.id, BULK_QUEUE)
        if lost.chunks:
            # Of a worker that starts, the first messages wait longer than a message may, until it has its model.
            level = logging.WARNING if self._progress.any_claimed() else logging.INFO
            log.log(level, "job %s: chunks %s are sent again", job.id, list(lost.chunks))
            RECOVERIES.labels("chunk_resent").inc(len(lost.chunks))
        self.send(job, lost)
        self._send_next(job)

    def recover_interactive(self) -> bool:
        """Send a drain where jobs wait and none is pending. Answers whether one was sent."""
        due = self._progress.recover_interactive()
        if due:
            send_drain(self._celery)
        return due


def waiting(job: Job) -> Waiting:
    """The job as it waits in the interactive lane."""
    return Waiting(job.owner, job.id, job.total)
