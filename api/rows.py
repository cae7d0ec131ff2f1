"""A job's rows all at once, for those who ask for some of them in some order. One a process; knows nothing of HTTP."""

import threading
from collections import OrderedDict
from collections.abc import Iterable

import pyarrow as pa

from glyphq import selection
from glyphq.jobs import Job

_KEPT_BYTES = 256 << 20


class KeptRows:
    """The rows of ended jobs as tables, the latest used kept for the next page; the last one whatever its size."""

    def __init__(self) -> None:
        self._tables: OrderedDict[str, pa.Table] = OrderedDict()
        self._lock = threading.Lock()  # while one is read, too: two large ones at a time would be twice the memory

    def of(self, job: Job, rows: Iterable[pa.RecordBatch], *, ended: bool) -> pa.Table:
        """A `selection.table` of the job's `rows`, which are read unless it is kept."""
        with self._lock:
            table = self._tables.pop(job.id, None)
            if table is None:
                table = selection.table(rows, job.options.top_k)
            if ended:
                self._tables[job.id] = table
            while len(self._tables) > 1 and sum(each.nbytes for each in self._tables.values()) > _KEPT_BYTES:
                self._tables.popitem(last=False)
            return table

    def drop(self, job: Job) -> None:
        """The job is gone."""
        with self._lock:
            self._tables.pop(job.id, None)
