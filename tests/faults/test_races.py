"""Cancel, delete and the end of a job, all at once, at moments that a seed chooses."""

import random
import threading
from collections.abc import Callable

import pytest

from glyphq.client import Client
from glyphq.errors import GlyphqError, JobNotFound
from glyphq.object_names import data_prefix
from tests.faults.conftest import Batch
from tests.faults.stack import PATIENCE_SECONDS, Stack, until


def refusal_of(call: Callable[[str], object], job_id: str) -> str | None:
    """The code of the problem that the service answers with, if it does."""
    try:
        call(job_id)
    except GlyphqError as problem:
        return problem.code
    return None


@pytest.mark.parametrize("seed", range(8))
def test_a_job_that_is_cancelled_as_it_ends_has_one_outcome(
    running: Stack, client: Client, batch: Batch, seed: int
) -> None:
    job = client.submit(batch.archive)
    at = random.Random(seed).choice([random.Random(seed).uniform(0, batch.total), batch.total - 1])
    until(lambda: client.status(job.id).counts.done >= at, "as much is done as the seed says")
    refusal = refusal_of(client.cancel, job.id)
    assert refusal in (None, "job-already-ended")
    ended = client.wait(job.id, timeout_seconds=PATIENCE_SECONDS)
    counts = ended.counts
    assert counts.total == batch.total == counts.classified + counts.blank + counts.rejected + counts.cancelled
    assert ended.state == ("completed" if refusal else "cancelled")
    table = client.results(job.id)
    assert table.count(b"\n") == batch.table.count(b"\n")
    if refusal:
        assert table == batch.table


@pytest.mark.parametrize("seed", range(8))
def test_a_job_that_is_deleted_leaves_nothing_whatever_else_goes_on(
    running: Stack, client: Client, batch: Batch, seed: int
) -> None:
    chance = random.Random(seed)
    job = client.submit(batch.archive)
    at = chance.uniform(0, batch.total)
    until(lambda: client.status(job.id).counts.done >= at, "as much is done as the seed says")

    def act(name: str) -> None:
        with running.client() as own:
            refusals.add(refusal_of(getattr(own, name), job.id))

    refusals: set[str | None] = set()
    names = ["delete", "cancel", "results", "status"]
    chance.shuffle(names)
    threads = [threading.Thread(target=act, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refusals <= {None, "job-not-found", "job-already-ended", "job-not-finished", "damaged-object"}
    until(lambda: not (running.store / data_prefix(job.id)).exists(), "nothing of the job is in the store")
    with pytest.raises(JobNotFound):
        client.status(job.id)
    other = client.submit(batch.archive)
    batch.is_kept(client, other.id)
    assert not list(running.store.glob(f"*/*/{job.id}*"))
