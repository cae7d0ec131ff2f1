"""A job of several hosts: both work at it, and what happens to one of them costs no row."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from glyphq.client import Client
from tests.faults.stack import until
from tests.hosts.cluster import CHUNK_IMAGES, LEASE_SECONDS, WORKERS, Cluster
from tests.hosts.conftest import FIGURES, Run


def test_a_job_runs_across_both_worker_hosts(running: Cluster, undisturbed: Run) -> None:
    writers = running.writers(undisturbed.job_id)
    assert sorted(writers) == list(range(-(-undisturbed.total // CHUNK_IMAGES)))
    rows = dict.fromkeys(WORKERS, 0)
    for chunk, host in writers.items():
        rows[host] += min(CHUNK_IMAGES, undisturbed.total - chunk * CHUNK_IMAGES)
    assert all(rows.values())
    assert sum(rows.values()) == undisturbed.total
    FIGURES["rows by host"] = ", ".join(f"{host} {number:,}" for host, number in rows.items())


def test_a_lone_image_is_answered_at_once(running: Cluster, scan: bytes) -> None:
    headers = {"Authorization": f"Bearer {running.key}", "Prefer": "wait=20"}
    answer = httpx.post(f"{running.url}/v1/jobs", content=scan, headers=headers, timeout=30, trust_env=False)
    assert answer.json()["results"][0]["status"] == "classified"


@contextmanager
def cut_off_within_a_job(running: Cluster, client: Client, undisturbed: Run) -> Iterator[str]:
    """Within: the id of a job; worker-2 had begun with a chunk of it when its cable was pulled, and goes on."""
    running.faults.arm("worker-decode", "halt")
    job = client.submit(undisturbed.archive)
    process = running.faults.struck("worker-decode")
    with running.network.unplugged("worker-2"):
        os.kill(process, signal.SIGCONT)
        yield job.id


def works_again(running: Cluster, client: Client, undisturbed: Run) -> None:
    """Wait until worker-2 has a part in a job, and every job so far is kept."""

    def takes_part() -> bool:
        job = client.submit(undisturbed.archive)
        undisturbed.is_kept(client, job.id)
        return "worker-2" in running.writers(job.id).values()

    until(takes_part, "worker-2 works again")


def test_a_host_is_cut_off_within_a_job_and_comes_back(running: Cluster, client: Client, undisturbed: Run) -> None:
    with cut_off_within_a_job(running, client, undisturbed) as job_id:
        cut = time.monotonic()
        with running.redis() as redis:
            out = {int(chunk) for chunk in redis.hkeys(f"glyphq:job:{job_id}:out")}
        assert out
        until(lambda: out <= set(running.writers(job_id)), "others have done what was out")
        taken_over = time.monotonic() - cut
        undisturbed.is_kept(client, job_id)
    plugged = time.monotonic()
    works_again(running, client, undisturbed)
    FIGURES[f"s until what was out at a cut was done (lease {LEASE_SECONDS} s)"] = f"{taken_over:.1f}"
    FIGURES["s from the link's return to a job with a part of both"] = f"{time.monotonic() - plugged:.1f}"


def test_redis_is_started_anew_while_a_host_is_cut_off(running: Cluster, client: Client, undisturbed: Run) -> None:
    with cut_off_within_a_job(running, client, undisturbed) as job_id:
        running.programs["redis"].kill()  # worker-2 hears nothing of it
        running.programs["redis"].start()
        undisturbed.is_kept(client, job_id)
    works_again(running, client, undisturbed)


def test_redis_and_the_store_vanish_together_within_a_job(running: Cluster, client: Client, undisturbed: Run) -> None:
    told = len(running.log("api"))
    job = client.submit(undisturbed.archive)
    until(lambda: running.writers(job.id), "work is under way")
    with running.network.unplugged("services"):
        answer = httpx.get(f"{running.url}/readyz", timeout=120, trust_env=False)
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        checks = answer.json()["checks"]
        assert "ok" not in (checks["redis"], checks["store"])
        until(lambda: "events: " in running.log("api")[told:], "the API listens no longer to what says nothing")
        assert httpx.get(f"{running.url}/healthz", timeout=30, trust_env=False).is_success
    undisturbed.is_kept(client, job.id)


def test_a_host_is_cut_off_until_it_has_given_up_store_and_redis(
    running: Cluster, client: Client, undisturbed: Run
) -> None:
    told = len(running.log("worker-2"))
    with cut_off_within_a_job(running, client, undisturbed) as job_id:
        undisturbed.is_kept(client, job_id)
        until(lambda: "it is tried again" in running.log("worker-2")[told:], "the process has given up its chunk")
        until(lambda: "Connection to broker lost" in running.log("worker-2")[told:], "the consumer has noticed")
        until(lambda: not running.heard_from("worker-2"), "the host is missed")
    works_again(running, client, undisturbed)
