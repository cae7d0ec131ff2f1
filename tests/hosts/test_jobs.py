"""A job of several hosts: both work at it, and what happens to one of them costs no row."""

from tests.hosts.cluster import CHUNK_IMAGES, WORKERS, Cluster
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
    print(undisturbed.received, undisturbed.archive.stat().st_size)
    with running.redis() as redis:
        print(redis.acl_log())
    assert 0
