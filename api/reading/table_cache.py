"""A job's rows all at once, for those who ask for some of them in some order. One a process; knows nothing of HTTP."""

import asyncio
import threading
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pyarrow as pa

from glyphq import selection
from glyphq.jobs import Job

_KEPT_BYTES = 256 << 20
_AT_ONCE = 2


class TableCache:
    """The rows of ended jobs as tables, the latest used kept for the next page."""

    def __init__(self) -> None:
        self._tables: OrderedDict[str, pa.Table] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._owners_turn: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Within, a table may be read: one of an owner at a time and few of all, each of which may be large. Who waits
        does so on the event loop, where it holds no thread.
        """
        async with self._owners_turn[owner], self._turns:
            yield

    def of(self, job: Job, rows: Iterable[pa.RecordBatch], *, ended: bool) -> pa.Table:
        """A `selection.table` of the job's `rows`, which are read unless it is kept."""
        with self._lock:
            table = self._tables.pop(job.id, None)
        if table is None:
            table = selection.table(rows, job.options.top_k)
        if ended and table.nbytes <= _KEPT_BYTES:
            with self._lock:
                self._tables[job.id] = table
                while sum(each.nbytes for each in self._tables.values()) > _KEPT_BYTES:
                    self._tables.popitem(last=False)
        return table

    def drop(self, job: Job) -> None:
        """The job is gone."""
        with self._lock:
            self._tables.pop(job.id, None)
