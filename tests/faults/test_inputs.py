"""Images that kill, hang or bloat whatever decodes them."""

import csv
import io
import os
import signal
import zipfile

import pytest

from glyphq import samples
from glyphq.client import Client
from tests.faults.conftest import Batch
from tests.faults.stack import PATIENCE_SECONDS, Stack

SCANS = 200
AT = 77


def archive_with(fault: bytes) -> bytes:
    """A zip of drawn scans, one of which makes its decoder do that."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, sample in enumerate(samples.draw(SCANS, seed=4)):
            evil = b"glyphq-fault:" + fault + b"." if number == AT else b""  # after the image's end
            archive.writestr(sample.filename, sample.png + evil)
    return buffer.getvalue()


def rows_of(client: Client, job_id: str) -> list[dict[str, str]]:
    job = client.wait(job_id, timeout_seconds=PATIENCE_SECONDS)
    assert job.state == "completed"
    return list(csv.DictReader(io.StringIO(client.results(job_id).decode())))


@pytest.mark.parametrize("fault", [b"crash", b"hang", b"bloat"])
def test_an_image_that_breaks_its_decoder_is_rejected_alone(running: Stack, client: Client, fault: bytes) -> None:
    rows = rows_of(client, client.submit(archive_with(fault)).id)
    undisturbed = rows_of(client, client.submit(archive_with(b"none")).id)
    assert [row["status"] for row in undisturbed] == ["classified"] * SCANS
    assert (rows[AT]["status"], rows[AT]["reason"]) == ("rejected", "decoder_crashed")
    assert rows[:AT] + rows[AT + 1 :] == undisturbed[:AT] + undisturbed[AT + 1 :]


def test_an_image_that_breaks_its_decoder_and_a_kill_from_outside(running: Stack, client: Client, batch: Batch) -> None:
    running.arm("worker-decode", "halt")
    job = client.submit(batch.archive)
    halted = running.struck("worker-decode")
    evil = client.submit(archive_with(b"crash"))
    os.kill(halted, signal.SIGKILL)
    rows = rows_of(client, evil.id)
    assert [number for number, row in enumerate(rows) if row["status"] == "rejected"] == [AT]
    batch.is_kept(client, job.id)
