"""What a container's healthcheck says of a worker that seems to run."""

import os
import signal
import subprocess
import sys

from glyphq.client import Client
from tests.faults.conftest import Batch
from tests.faults.stack import ROOT, Stack, until


def health(running: Stack) -> tuple[int, str]:
    """The exit code, and what it says on standard error."""
    command = [sys.executable, "-m", "worker.health", str(running.beat)]
    done = subprocess.run(
        command, cwd=ROOT, env=running.worker.variables, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr


def healthy(running: Stack) -> bool:
    return health(running) == (0, "")


def test_a_worker_is_healthy_at_rest_and_at_work(running: Stack, client: Client, batch: Batch) -> None:
    until(lambda: healthy(running), "the worker is healthy")
    job = client.submit(batch.archive)
    while not client.status(job.id).state.ended:
        assert healthy(running)
    batch.is_kept(client, job.id)


def test_a_consumer_that_stands_still_is_seen_though_its_children_are_alive(running: Stack) -> None:
    until(lambda: healthy(running), "the worker is healthy")
    os.kill(running.worker.pid, signal.SIGSTOP)
    try:
        until(lambda: not healthy(running), "it is seen")
        assert "consumer has not been heard from" in health(running)[1]
    finally:
        os.kill(running.worker.pid, signal.SIGCONT)
    until(lambda: healthy(running), "the worker is healthy again")


def test_the_consumer_is_heard_from_again_when_redis_is(running: Stack) -> None:
    running.redis.kill()
    assert health(running)[0] == 1
    running.start()
    until(lambda: healthy(running), "the worker is healthy again")
