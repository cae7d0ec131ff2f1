"""What the workers' hosts take from the store: ranges of an archive, each byte about once."""

import csv
import io
import zipfile
from pathlib import Path

import httpx

from glyphq import samples
from glyphq.client import Client
from tests.faults.stack import PATIENCE_SECONDS
from tests.hosts.cluster import ADDRESSES, CHUNK_IMAGES, WORKERS, Asked, Cluster
from tests.hosts.conftest import FIGURES, Run

OVERHEAD = 0.1
"""Of the archive: headers of packets and answers, the index; whoever ends a job reads all its results."""


def of_input(running: Cluster, job_id: str) -> list[Asked]:
    """How the workers' hosts have read the job's input."""
    hosts = {ADDRESSES[name] for name in WORKERS}
    return [each for each in running.asked() if each.address in hosts and each.path.endswith(f"{job_id}/input")]


def test_workers_read_ranges_and_no_byte_of_the_archive_twice(running: Cluster, undisturbed: Run) -> None:
    reads = of_input(running, undisturbed.job_id)
    assert {(each.method, each.status) for each in reads} == {("GET", httpx.codes.PARTIAL_CONTENT)}
    archive, received = undisturbed.archive.stat().st_size, undisturbed.received
    assert 1 < sum(received.values()) / archive < 1 + OVERHEAD
    for name in WORKERS:
        rows = CHUNK_IMAGES * list(running.writers(undisturbed.job_id).values()).count(name)
        assert received[name] / archive < rows / undisturbed.total + OVERHEAD  # its own part alone
    FIGURES["bytes of the archive"] = f"{archive:,}"
    FIGURES["bytes from the store by host, packets' headers with them"] = ", ".join(
        f"{host} {number:,}" for host, number in received.items()
    )
    FIGURES["bytes from the store an image"] = f"{sum(received.values()) / undisturbed.total:,.0f}"
    FIGURES["bytes from the store, of the archive's"] = f"{sum(received.values()) / archive:.0%}"
    FIGURES["reads of the archive"] = f"{len(reads)}, each of a range"


def test_an_entry_that_fails_its_checksum_has_the_whole_archive_read_once_more(
    running: Cluster, client: Client, undisturbed: Run, tmp_path: Path
) -> None:
    archive, damaged = tmp_path / "scans.zip", 700
    _write_with_damage(archive, damaged)
    before = running.received()
    job = client.wait(client.submit(archive).id, timeout_seconds=PATIENCE_SECONDS)
    received = {name: after - before[name] for name, after in running.received().items()}
    rows = list(csv.DictReader(io.StringIO(client.results(job.id).decode())))
    assert [int(row["row"]) for row in rows if row["status"] != "classified"] == [damaged]
    assert rows[damaged]["reason"] == "damaged_entry"

    size, (who_met_it, other) = archive.stat().st_size, sorted(received, key=received.__getitem__, reverse=True)
    assert running.writers(job.id)[damaged // CHUNK_IMAGES] == who_met_it
    assert received[who_met_it] > size
    assert received[other] < size
    assert 2 < sum(received.values()) / size < 2 + 2 * OVERHEAD
    gets = [each for each in of_input(running, job.id) if each.method == "GET"]
    assert {each.status for each in gets} == {httpx.codes.PARTIAL_CONTENT}
    FIGURES["the same where an entry fails its checksum"] = f"{sum(received.values()) / size:.0%}"


def _write_with_damage(archive: Path, damaged: int) -> None:
    """A zip in which one entry's bytes are not what its checksum says."""
    samples.write_zip(archive, 1500, seed=5)
    with zipfile.ZipFile(archive) as opened:
        entry = opened.infolist()[damaged]
    content = bytearray(archive.read_bytes())
    content[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 0xFF
    archive.write_bytes(content)
