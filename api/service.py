"""What the routes ask: jobs as they are now, from ledger and progress. Knows nothing of HTTP.

The ledger is asked for what is true; Redis only for what is quick. Every answer is the same without Redis, if slower.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice

import pyarrow as pa
from redis import RedisError
from starlette.concurrency import run_in_threadpool

from api.background.events import Events
from api.background.reconciler import Reconciler
from api.batcher import Batcher
from api.edge.authentication import Authenticator
from api.edge.quotas import Quotas
from api.intake.acceptance import accept, prepare_inline
from api.intake.uploads import Upload, require_room
from api.metrics import Exposition, count_accepted
from api.readiness import ReadinessCheck
from api.reading.images import Images
from api.reading.table_cache import TableCache
from api.schemas import JobPage, JobView, failed_view, job_view
from glyphq import selection
from glyphq.ahead import map_ahead
from glyphq.broker import QUEUE_ERRORS
from glyphq.callbacks import Deliveries
from glyphq.corrections import Corrections
from glyphq.dispatch import Dispatcher
from glyphq.errors import (
    DamagedObject,
    GlyphqError,
    JobFailed,
    JobNotFinished,
    JobNotFound,
    Overloaded,
    StoreError,
)
from glyphq.jobs import Correction, Counts, End, Job, JobState, Options
from glyphq.ledger import Ledger
from glyphq.logs import bind_job
from glyphq.metrics import count_deleted
from glyphq.object_names import chunk_of
from glyphq.progress import Progress
from glyphq.selection import Selection
from glyphq.settings import Settings

log = logging.getLogger(__name__)

_LOOKED_AT_PER_PAGE = 1000  # jobs read for one page when a state is asked for
_LOOKS_AT_ONCE = 8  # for a page, at a store that may be far away
_LOOK_AGAIN_SECONDS = 1.0  # for an end, should its event be lost
_SNAPSHOT_SECONDS = 0.25  # between two of them at the least
_BATCHES_AT_ONCE = 16


@dataclass(frozen=True)
class Service:
    """The resources of the API process, opened by `api.app` and handed to every route."""

    settings: Settings
    ledger: Ledger
    progress: Progress
    dispatcher: Dispatcher
    reconciler: Reconciler
    events: Events
    images: Images
    authenticator: Authenticator
    quotas: Quotas
    deliveries: Deliveries
    corrections: Corrections
    kept_rows: TableCache
    readiness: ReadinessCheck
    exposition: Exposition

    async def submit(
        self, owner: str, upload: Upload, options: Options, idempotency_key: str | None, wait_seconds: float
    ) -> tuple[Job, End | None]:
        """Accept a job, send its first work and wait for its end. Raises QuotaExceeded, and as `accept`."""
        if not upload.interactive:
            upload.share.take_job()
        together = idempotency_key is None and upload.inline
        if together:
            job = prepare_inline(upload, options, owner)
        else:
            job = await run_in_threadpool(accept, upload, options, owner, idempotency_key)
        with self.events.watching(job.id) as moved:  # from before it is sent: its end is not missed
            if idempotency_key is not None:
                moved.set()  # the job may be an earlier one that has ended
            bind_job(job.id)
            await (self._begin(job) if together else run_in_threadpool(self._enqueue, job))
            if job.id == upload.job_id:  # else it is an earlier one, under the same key
                count_accepted(job)
                upload.share.book()
            return job, await self._until_ended(job, moved, wait_seconds)

    @cached_property
    def _begin(self) -> Batcher[Job, None]:
        return Batcher(self._begin_all)

    def _begin_all(self, jobs: Sequence[Job]) -> Sequence[None]:
        require_room(self.ledger, self.settings)
        self.ledger.accept_together(jobs)
        self._sent(", ".join(job.id for job in jobs), partial(self.dispatcher.start_interactive, jobs))
        return [None] * len(jobs)

    def _enqueue(self, job: Job) -> None:
        self._sent(job.id, partial(self.dispatcher.start, job))

    def _sent(self, what: str, send: Callable[[], None]) -> None:
        """May fail harmlessly: the reconciler finds what was not sent."""
        try:
            send()
        except QUEUE_ERRORS as error:
            log.warning("not yet sent: %s: %s", what, error)
            self.reconciler.look_at_store()

    def job(self, owner: str, job_id: str) -> Job:
        """The job's record. Raises JobNotFound, and JobFailed when it cannot be read."""
        try:
            return self.ledger.job(owner, job_id)
        except DamagedObject:
            raise JobFailed(f"The record of job {job_id} cannot be read. Delete the job and submit it again.") from None

    async def wait(self, job: Job, seconds: float) -> None:
        """Until the job has ended or the service stops, `seconds` at the most."""
        with self.events.watching(job.id) as moved:
            moved.set()  # it may have ended already
            await self._until_ended(job, moved, seconds)

    async def snapshots(self, owner: str, job_id: str) -> AsyncIterator[JobView]:
        """The job now, and whenever it has moved, until it has ended or the service stops. Raises JobNotFound where it
        is deleted.
        """
        with self.events.watching(job_id) as moved:
            while True:
                moved.clear()
                view = await run_in_threadpool(self.view, owner, job_id)
                yield view
                if view.state.ended or self.events.stopping:
                    return
                await asyncio.sleep(_SNAPSHOT_SECONDS)
                with suppress(TimeoutError):
                    await asyncio.wait_for(moved.wait(), _LOOK_AGAIN_SECONDS)

    async def _until_ended(self, job: Job, moved: asyncio.Event, seconds: float) -> End | None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self.events.stopping:
            with suppress(TimeoutError):
                await asyncio.wait_for(moved.wait(), min(left, _LOOK_AGAIN_SECONDS))
            moved.clear()
            end = await self._look(job)
            if end is not None:
                return end
        return None

    @cached_property
    def _look(self) -> Batcher[Job, End | None]:
        return Batcher(self._look_at_all)

    def _look_at_all(self, jobs: Sequence[Job]) -> list[End | GlyphqError | None]:
        """What is wrong with one of them is no concern of the others, but for a store that does not answer."""
        found: list[End | GlyphqError | None] = []
        for job in jobs:
            try:
                found.append(self._end(job))
            except (DamagedObject, JobNotFound) as error:
                found.append(error)
            except StoreError as error:  # others would wait as long for it, one after the other, and in vain
                return [*found, *[error] * (len(jobs) - len(found))]
        return found

    def _end(self, job: Job) -> End | None:
        """The job's end. Where that was damaged, and the job is open again by it, its work is sent again."""
        had_ended = self.ledger.has_ended(job)
        end = self.ledger.end(job)
        if had_ended and end is None:
            self.ledger.job(job.owner, job.id)  # JobNotFound: it was deleted in between
            self._sent(job.id, partial(self.dispatcher.restore, job))
        return end

    def view(self, owner: str, job_id: str) -> JobView:
        """The job now. Raises JobNotFound."""
        try:
            job = self.job(owner, job_id)
        except JobFailed:
            return failed_view(job_id)
        return self.view_of(job, self._end(job))

    def view_of(self, job: Job, end: End | None) -> JobView:
        """The job, with its end if it has one."""
        delivery = self.deliveries.of(job) if end and job.options.callback_url else None
        return job_view(job, end, end.counts if end else self._counts(job), time.time(), delivery)

    def _counts(self, job: Job) -> Counts:
        try:
            known = self.progress.counts(job.id, job.total)
        except RedisError:
            known = None
        return known or self.ledger.tally(job, self.ledger.stored_chunks(job)).counts

    def page(self, owner: str, limit: int, before: str | None, state: JobState | None) -> JobPage:
        """The owner's jobs, newest first, from just before the id `before`."""
        ids = [job_id for job_id in reversed(self.ledger.ids(owner)) if before is None or job_id < before]
        views: list[JobView] = []
        looks = map_ahead(self._looking, partial(self._view_if_any, owner), ids, _LOOKS_AT_ONCE)
        for looked_at, (job_id, view) in enumerate(zip(ids, looks, strict=True), 1):
            if view is not None and state in (None, view.state):
                views.append(view)
            if len(views) == limit or looked_at == _LOOKED_AT_PER_PAGE:
                return JobPage(jobs=views, next=job_id if looked_at < len(ids) else None)
        return JobPage(jobs=views, next=None)

    def _view_if_any(self, owner: str, job_id: str) -> JobView | None:
        try:
            return self.view(owner, job_id)
        except JobNotFound:  # deleted meanwhile
            return None

    @cached_property
    def _looking(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_LOOKS_AT_ONCE, thread_name_prefix="looking")

    def rows(self, job: Job, *, partial: bool, first_row: int = 0) -> tuple[End | None, Iterator[pa.RecordBatch]]:
        """The job's end, if any, and its rows from `first_row` on. Raises JobNotFinished, and DamagedObject for rows
        that must be made again.
        """
        end = self._end(job)
        if end is None and not partial:
            view = self.view(job.owner, job.id)
            raise JobNotFinished(
                f"{view.counts.pending:,} of {job.total:,} rows are still to come. "
                "Wait for the job to end, or ask with partial=true.",
                view.model_dump(mode="json", exclude_none=True),
            )
        rows = self._mending(job, end, first_row)
        first = next(rows, None)  # what is wrong with the first chunk is said before the answer begins
        return end, _put_back(first, rows)

    async def table(
        self, job: Job, *, partial: bool, wanted: Selection | None = None
    ) -> tuple[End | None, pa.Table, int]:
        """The job's end, if any, the rows that are wanted with what was corrected, and how many there are without
        offset and limit. Raises as `rows`.
        """
        async with self.kept_rows.turn(job.owner):
            return await run_in_threadpool(self._table, job, wanted or Selection(), partial)

    def _table(self, job: Job, wanted: Selection, partial: bool) -> tuple[End | None, pa.Table, int]:
        end, rows = self.rows(job, partial=partial)
        table = self.kept_rows.of(job, rows, ended=end is not None)
        return end, *wanted.of(selection.corrected(table, self.corrections.of(job)))

    def correct(self, job: Job, row: int, label: str, by: str) -> Correction:
        """Keep a person's label for a row. Raises InvalidOption, JobNotFound, RowNotFound and StoreFull."""
        job.require_row(row)
        require_room(self.ledger, self.settings)
        correction = Correction(label.strip(), by, time.time())
        self.corrections.put(job, row, correction)
        return correction

    async def follow(self, job: Job, first_row: int) -> AsyncIterator[pa.RecordBatch]:
        """The job's rows in order from `first_row` on, each as soon as those before it are there. Raises as `rows`, and
        JobNotFound where it is deleted meanwhile, Overloaded when the service stops.
        """
        with self.events.watching(job.id) as moved:
            end: End | None = None
            while end is None:
                end, batches = await run_in_threadpool(self._rows_without_gap, job, first_row)
                for batch in batches:
                    first_row += batch.num_rows
                    yield batch
                if end is None and self.events.stopping:
                    raise Overloaded("The service is stopping. Ask again in a few seconds.")
                if end is None and not batches:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(moved.wait(), _LOOK_AGAIN_SECONDS)
                    moved.clear()

    def _rows_without_gap(self, job: Job, first_row: int) -> tuple[End | None, list[pa.RecordBatch]]:
        """As many as can be taken at once of the rows that follow each other from `first_row` on; the end, if these are
        all.
        """
        self.ledger.job(job.owner, job.id)
        end = self._end(job)
        rows = self._mending(job, end, first_row, until_gap=True)
        found = list(islice(rows, _BATCHES_AT_ONCE))
        return (end if len(found) < _BATCHES_AT_ONCE else None), found

    def _mending(
        self, job: Job, end: End | None, first_row: int, *, until_gap: bool = False
    ) -> Iterator[pa.RecordBatch]:
        try:
            yield from self.ledger.rows(job, end, first_row, until_gap=until_gap)
        except DamagedObject as error:
            chunk = chunk_of(error.key)
            if chunk is not None:
                log.warning("job %s: %s; it is made again", job.id, error.detail)
                self._mend(job, chunk)
            raise

    def _mend(self, job: Job, chunk: int) -> None:
        try:
            self.dispatcher.mend(job, chunk)
        except QUEUE_ERRORS as error:
            log.warning("job %s: chunk %d could not be asked for: %s", job.id, chunk, error)

    def cancel(self, job: Job) -> JobView:
        """Stop the job and keep what is done. Raises JobAlreadyEnded."""
        self.ledger.cancel(job)
        self._forget(job)
        return self.view(job.owner, job.id)

    def delete(self, owner: str, job_id: str) -> None:
        """Erase the job, whatever its state. Raises JobNotFound."""
        try:
            job = self.job(owner, job_id)
        except JobFailed:
            self.ledger.delete_damaged(owner, job_id)
            return
        ended = self.ledger.has_ended(job)
        self.ledger.delete(job)
        if not ended:
            count_deleted(job)
        self.kept_rows.drop(job)
        self._forget(job)

    def _forget(self, job: Job) -> None:
        try:
            self.dispatcher.forget(job.owner, job.id)
        except QUEUE_ERRORS as error:
            log.warning("job %s: Redis was not told of its end: %s", job.id, error)


def _put_back(first: pa.RecordBatch | None, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    if first is not None:
        yield first
    yield from rest
