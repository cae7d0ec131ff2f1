"""What is written of a job while somebody deletes it."""

from glyphq.blobs import Blobs
from glyphq.jobs import Job
from glyphq.object_names import data_prefix, record_key


def erase_if_deleted(blobs: Blobs, job: Job) -> bool:
    """Whether the job's record is gone; then its data goes too. To be called after each write: whoever deleted the job
    may have been done before it. Raises StoreError.
    """
    deleted = not blobs.exists(record_key(job.owner, job.id))
    if deleted:
        blobs.delete_folder(data_prefix(job.id))
    return deleted
