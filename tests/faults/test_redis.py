"""Redis hangs, forgets, fills up, dies and cannot be reached. It is a queue and a cache: no row is lost with it."""

import signal
import threading
from contextlib import suppress

import httpx
import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from glyphq.client import Client
from glyphq.progress import BULK_QUEUE, EPOCH, LATEST_CLAIMED
from tests.faults.conftest import Batch, cannot_run
from tests.faults.stack import CAN_LOSE_PACKETS, PACE, Stack, packets_lost, until

WINDOW = int(PACE["GLYPHQ_WINDOW_CHUNKS"])
IN_HAND = 4  # messages that two processes had taken when Redis forgot them: one in work and one reserved each


def claimed(redis: Redis) -> bool:
    with suppress(RedisError):
        return bool(redis.exists(LATEST_CLAIMED))
    return False


def test_redis_hangs_and_uploads_are_accepted_all_the_same(running: Stack, client: Client, batch: Batch) -> None:
    running.redis.signal(signal.SIGSTOP)
    try:
        answer = httpx.post(f"{running.url}/v1/jobs", content=batch.archive.read_bytes(), timeout=30, trust_env=False)
        assert answer.status_code == 202
        assert httpx.get(f"{running.url}/readyz", timeout=30, trust_env=False).status_code == 503
    finally:
        running.redis.signal(signal.SIGCONT)
    batch.is_kept(client, answer.json()["id"])


def test_redis_hangs_within_a_job(running: Stack, client: Client, batch: Batch) -> None:
    job = client.submit(batch.archive)
    until(lambda: client.status(job.id).counts.done, "work is under way")
    running.redis.signal(signal.SIGSTOP)
    try:
        assert client.status(job.id).counts.total == batch.total
    finally:
        running.redis.signal(signal.SIGCONT)
    batch.is_kept(client, job.id)


def test_redis_is_started_again_twenty_times_under_load(running: Stack, client: Client, batch: Batch) -> None:
    ids: list[str] = []
    enough = threading.Event()

    def load() -> None:
        with running.client() as own:
            while not enough.is_set():
                ids.append(own.submit(batch.archive).id)
                own.wait(ids[-1], timeout_seconds=120)

    clients = [threading.Thread(target=load) for _ in range(2)]
    for thread in clients:
        thread.start()
    try:
        with running.redis_client() as redis:
            for _ in range(20):
                running.redis.kill()
                running.redis.start()
                until(lambda: claimed(redis), "a chunk has been claimed since")
    finally:
        enough.set()
        for thread in clients:
            thread.join()
    assert len(ids) >= len(clients)
    for job_id in ids:
        batch.is_kept(client, job_id)


def test_redis_is_flushed_under_many_open_jobs_and_there_is_no_storm(
    running: Stack, client: Client, batch: Batch
) -> None:
    jobs = [client.submit(batch.archive) for _ in range(8)]
    longest = 0

    def all_ended() -> bool:
        nonlocal longest
        longest = max(longest, redis.llen(BULK_QUEUE))
        return all(client.status(job.id).state.ended for job in jobs)

    with running.redis_client() as redis:
        for _ in range(3):
            redis.flushall()
            until(lambda: redis.exists(EPOCH), "the reconciler has been over the store")
        until(all_ended, "all jobs have ended")
    assert 0 < longest <= WINDOW * len(jobs) + IN_HAND
    for job in jobs:
        batch.is_kept(client, job.id)


def test_redis_is_killed_within_a_job_with_all_it_knew(running: Stack, client: Client, batch: Batch) -> None:
    job = client.submit(batch.archive)
    until(lambda: client.status(job.id).counts.done, "work is under way")
    running.redis.kill()
    running.redis.start()
    batch.is_kept(client, job.id)


def test_redis_is_full(running: Stack, client: Client, batch: Batch) -> None:
    with running.redis_client() as redis:
        redis.config_set("maxmemory", 1)
        try:
            job = client.submit(batch.archive)
            with pytest.raises(OutOfMemoryError):
                redis.set("any", "thing")
        finally:
            redis.config_set("maxmemory", 0)
    batch.is_kept(client, job.id)


def test_redis_pauses_its_clients(running: Stack, client: Client, batch: Batch) -> None:
    job = client.submit(batch.archive)
    with running.redis_client() as redis:
        redis.client_pause(5000)
    batch.is_kept(client, job.id)


def test_packets_to_redis_are_lost_without_a_word(running: Stack, client: Client, batch: Batch) -> None:
    before = client.submit(batch.archive)
    until(lambda: client.status(before.id).counts.done, "work is under way")
    if not CAN_LOSE_PACKETS:
        cannot_run("To lose packets takes iptables and root.")
    with packets_lost(httpx.URL(running.redis_url).port or 0):
        meanwhile = httpx.post(
            f"{running.url}/v1/jobs", content=batch.archive.read_bytes(), timeout=60, trust_env=False
        )
        assert meanwhile.status_code == 202
    batch.is_kept(client, before.id)
    batch.is_kept(client, meanwhile.json()["id"])
