"""What people say is on a scan, beside what the network said: on blobs alone. Knows no HTTP.

An object a row, put in place at once and durably, so that two people who correct at the same time lose nothing: the
later word on a row stands.
"""

import logging
from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from glyphq.blobs import Blobs
from glyphq.errors import DamagedObject, InvalidOption, JobNotFound
from glyphq.jobs import Correction, Job
from glyphq.object_names import correction_key, corrections_prefix
from glyphq.removal import erase_if_deleted
from glyphq.seals import seal, unseal

log = logging.getLogger(__name__)

_CORRECTION = TypeAdapter(Correction)


class Corrections:
    """The corrections in one store. Every method may raise StoreError."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def put(self, job: Job, row: int, correction: Correction) -> None:
        """Keep it in the place of an earlier one. Raises JobNotFound where the job was deleted meanwhile."""
        self._blobs.replace(correction_key(job.id, row), seal(_CORRECTION.dump_json(correction) + b"\n"))
        if erase_if_deleted(self._blobs, job):
            raise JobNotFound(f"Job {job.id} was deleted.")

    def delete(self, job: Job, row: int) -> None:
        """Take it back, if there is one."""
        self._blobs.delete(correction_key(job.id, row))

    def of(self, job: Job) -> Mapping[int, Correction]:
        """By row, in the order of rows. A damaged one is left out: its row is to be looked at again."""
        found = {}
        keys = list(self._blobs.list(corrections_prefix(job.id)))
        for key, sealed in zip(keys, self._blobs.get_each(keys), strict=True):
            row = key.rsplit("/", 1)[1].removesuffix(".json")
            if sealed and row.isdecimal():
                try:
                    found[int(row)] = _CORRECTION.validate_json(unseal(key, sealed))
                except (DamagedObject, ValidationError, InvalidOption):
                    log.error("job %s: the correction %s is damaged", job.id, key)
        return dict(sorted(found.items()))
