"""Erases what is old: jobs past retention, and what has had no record for a day."""

import logging
import time

from glyphq.blobs import Entry
from glyphq.errors import JobNotFound, StoreError
from glyphq.ledger import Ledger
from glyphq.object_names import data_prefix, id_in

log = logging.getLogger(__name__)

_ORPHAN_SECONDS = 24 * 3600.0  # no upload may last over 6 h, so what is this old without a record has none to come
_ORPHAN_DATA_SECONDS = 25 * 3600.0  # later than the key that could revive its job


class Sweep:
    """Of one store; one at a time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._keyed = dict[Entry, str]()  # the job of each idempotency key that the last run has read

    def run(self, retention_seconds: float) -> int:
        """Erase ended jobs past retention, and data, ends and keys that have had no record for a day. Answers how
        many.
        """
        now, blobs = time.time(), self._ledger.blobs
        owners = list(blobs.folders("jobs"))
        swept = 0
        for owner in owners:
            for entry in list(blobs.entries(f"ends/{owner}")):
                if entry.modified < now - retention_seconds:
                    swept += self._swept(owner, id_in(entry.key))
        recorded = {job_id for owner in owners for job_id in self._ledger.ids(owner)}
        old = {
            folder: [entry for entry in blobs.entries(folder) if entry.modified < now - _ORPHAN_SECONDS]
            for folder in ("idempotency", "ends", "callbacks")
        }
        unread = [entry for entry in old["idempotency"] if entry not in self._keyed]
        read = self._ledger.jobs_of_keys([entry.key for entry in unread])
        known = self._keyed | {entry: read[entry.key] for entry in unread}
        self._keyed = {entry: known[entry] for entry in old["idempotency"]}
        of_keys = [(entry.key, job_id) for entry, job_id in self._keyed.items()]
        others = [(entry.key, id_in(entry.key)) for entry in (*old["ends"], *old["callbacks"])]
        for key, job_id in (*of_keys, *others):  # keys before data: a key revives its job
            if job_id not in recorded:
                blobs.delete(key)
                swept += 1
        for job_id in list(blobs.folders("data")):
            if job_id not in recorded and blobs.modified(data_prefix(job_id)) < now - _ORPHAN_DATA_SECONDS:
                blobs.delete_folder(data_prefix(job_id))
                swept += 1
        blobs.discard_staged(now - _ORPHAN_SECONDS)
        return swept

    def _swept(self, owner: str, job_id: str) -> bool:
        """Erase a job whose time is over. What is in the way of that is no concern of the others."""
        try:
            self._ledger.delete(self._ledger.job(owner, job_id))
        except JobNotFound:
            return False
        except StoreError as error:
            log.warning("job %s: it is old and cannot be erased: %s", job_id, error.detail)
            return False
        return True
