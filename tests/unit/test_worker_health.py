"""What is wrong with a worker, from its beat, a real Redis, and messages that nobody takes."""

import os
import socket
import sys
from pathlib import Path

import pytest
from redis import Redis

from glyphq.progress import BULK_QUEUE, INTERACTIVE_QUEUE, Progress
from worker.health import main, wrong


@pytest.fixture
def progress(redis: Redis) -> Progress:
    """With a process of this host that is heard from."""
    made = Progress(redis, window=8, owner_window=32, lease_seconds=30)
    made.heartbeat(f"{socket.gethostname()}:1", "openvino")
    return made


@pytest.fixture
def beat(tmp_path: Path) -> Path:
    """Of a consumer with nothing to do."""
    path = tmp_path / "beat"
    path.write_text("0")
    return path


def test_nothing_is_wrong_with_an_idle_worker_and_empty_queues(beat: Path, progress: Progress) -> None:
    assert wrong(beat, progress) is None


@pytest.mark.usefixtures("progress")
def test_it_asks_the_redis_that_the_worker_is_told_of(beat: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["worker.health", str(beat)])
    told = []
    for url in (server, "redis://127.0.0.1:9/0"):
        monkeypatch.setenv("GLYPHQ_REDIS_URL", url)
        with pytest.raises(SystemExit) as ended:
            main()
        told.append(ended.value.code)
    assert told[0] is None
    assert str(told[1]).startswith("Redis: ")


@pytest.mark.parametrize("age", [None, 60.0], ids=["never", "long ago"])
def test_a_consumer_that_is_not_heard_from(beat: Path, progress: Progress, age: float | None) -> None:
    if age is None:
        beat.unlink()
    else:
        then = beat.stat().st_mtime - age
        os.utime(beat, (then, then))
    assert "consumer has not been heard from" in str(wrong(beat, progress))


def test_processes_of_other_hosts_are_not_this_ones(beat: Path, redis: Redis, progress: Progress) -> None:
    redis.flushall()
    progress.heartbeat(f"{socket.gethostname()}-2:1", "openvino")
    assert "No process with a model" in str(wrong(beat, progress))


@pytest.mark.parametrize("queue", [BULK_QUEUE, INTERACTIVE_QUEUE])
def test_a_message_that_stays_while_nothing_is_done(beat: Path, redis: Redis, progress: Progress, queue: str) -> None:
    redis.lpush(queue, "message")
    assert f"stays in the queue {queue}" in str(wrong(beat, progress))


def test_a_message_that_waits_for_others_is_in_order(beat: Path, redis: Redis, progress: Progress) -> None:
    redis.lpush(BULK_QUEUE, "message")
    beat.write_text("2")
    assert wrong(beat, progress) is None


def test_a_message_that_is_taken_meanwhile_is_in_order(
    beat: Path, redis: Redis, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis.lpush(BULK_QUEUE, "message")
    monkeypatch.setattr("worker.health.time.sleep", lambda _seconds: redis.rpop(BULK_QUEUE))
    assert wrong(beat, progress) is None
    assert redis.llen(BULK_QUEUE) == 0
