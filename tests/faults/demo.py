"""`python -m tests.faults.demo`: a job whose worker is killed and whose Redis forgets everything, before your eyes."""

import os
import signal
import sys
import tempfile
from pathlib import Path

from redis import Redis
from rich.console import Console

from glyphq import samples
from glyphq.client import Client, JobStatus
from glyphq.embedded import EmbeddedService, embedded_service
from glyphq.errors import GlyphqError
from tests.faults.stack import until

SCANS = 20_000
PACE = {"GLYPHQ_LEASE_SECONDS": "3", "GLYPHQ_RECONCILE_SECONDS": "0.5", "GLYPHQ_CHUNK_IMAGES": "256"}
LINE_END = b"\n"

say = Console(highlight=False).print


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="glyphq-demo-") as folder, embedded_service(environment=PACE) as service:
        archive = Path(folder) / "scans.zip"
        say(f"drawing {SCANS:,} scans")
        samples.write_zip(archive, SCANS, seed=1)
        with Client(service.url) as client:
            say("a run in which nothing happens:")
            undisturbed = client.results(client.wait(client.submit(archive).id).id)
            say(f"  {undisturbed.count(LINE_END) - 1:,} rows")
            say("the same zip again:")
            job = client.submit(archive)
            _done(client, job, 0.2)
            parent = service.children["worker"].pid
            pool = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            say(f"  kill -9 {' '.join(pool)} {parent}: the worker with all its processes")
            for pid in (*pool, parent):
                os.kill(int(pid), signal.SIGKILL)
            _done(client, job, 0.5)
            _flush(service)
            _done(client, job, 0.8)
            say(f"  kill -9 {service.children['redis'].pid}: Redis")
            os.kill(service.children["redis"].pid, signal.SIGKILL)
            ended = client.wait(job.id, lambda now: say(f"  {now.counts.done:,} of {now.counts.total:,} rows"))
            same = client.results(job.id) == undisturbed
    say(f"{ended.state}: {ended.counts.classified:,} of {ended.counts.total:,} rows are classified")
    say("the CSV is the same, byte for byte" if same else "THE CSV IS ANOTHER")
    sys.exit(0 if same else 1)


def _done(client: Client, job: JobStatus, share: float) -> None:
    until(lambda: client.status(job.id).counts.done >= share * SCANS, f"{share:.0%} of the rows are done")
    say(f"  {client.status(job.id).counts.done:,} of {SCANS:,} rows are done")


def _flush(service: EmbeddedService) -> None:
    say("  FLUSHALL: Redis forgets everything")
    with Redis.from_url(service.redis_url) as redis:
        redis.flushall()


if __name__ == "__main__":
    try:
        main()
    except GlyphqError as error:
        sys.exit(f"error: {error.detail}")
