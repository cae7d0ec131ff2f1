"""Programs die, hang and are stopped in the middle of everything."""

import os
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from glyphq.client import Client
from glyphq.object_names import data_prefix
from glyphq.progress import BULK_QUEUE
from tests.faults.conftest import Batch, worker_replaced
from tests.faults.stack import Program, Stack, free_port, state_of, until


def test_a_process_of_the_pool_is_killed_within_a_chunk(running: Stack, client: Client, batch: Batch) -> None:
    running.arm("worker-decode", "kill")
    job = client.submit(batch.archive)
    running.struck("worker-decode")
    batch.is_kept(client, job.id)


def test_the_worker_is_killed_with_all_its_processes(running: Stack, client: Client, batch: Batch) -> None:
    with worker_replaced(running, client, batch) as job_id:
        pass
    batch.is_kept(client, job_id)


def test_a_message_is_lost_on_its_way_to_the_worker(running: Stack, client: Client, batch: Batch) -> None:
    running.worker.signal(signal.SIGSTOP)
    job = client.submit(batch.archive)
    with running.redis_client() as redis:
        until(lambda: redis.lpop(BULK_QUEUE), "there was a message to lose")
    running.worker.signal(signal.SIGCONT)
    batch.is_kept(client, job.id)


@pytest.mark.parametrize("stored", ["result", "end"])
def test_a_process_is_killed_when_it_has_stored_something_and_told_nobody(
    running: Stack, client: Client, batch: Batch, stored: str
) -> None:
    running.arm(f"worker-{stored}", "kill")
    job = client.submit(batch.archive)
    running.struck(f"worker-{stored}")
    batch.is_kept(client, job.id)


def test_the_api_is_killed_during_an_upload(running: Stack, client: Client, batch: Batch) -> None:
    before = {job.id for job in client.jobs()}
    data = batch.archive.read_bytes() * 20
    staged = running.store / ".staging"
    with socket.create_connection(("127.0.0.1", httpx.URL(running.url).port or 0)) as connection:
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {2 * len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data)
        until(lambda: any(path.stat().st_size for path in staged.iterdir()), "some of the upload is on the disk")
        running.api.kill()
    (left,) = staged.iterdir()
    os.utime(left, (0, 0))  # as if a day had passed
    running.start()
    until(lambda: not left.exists(), "what had arrived is erased")
    assert {job.id for job in client.jobs()} == before


@contextmanager
def _killed_after_the_record(running: Stack) -> Iterator[None]:
    """Within, a request is answered by a broken connection; after, the API runs again."""
    running.arm("api-record", "kill")
    with pytest.raises(httpx.TransportError):
        yield
    running.struck("api-record")
    running.api.kill()  # wait for it
    running.start()


def test_the_api_is_killed_when_it_has_accepted_a_zip_and_sent_nothing(
    running: Stack, client: Client, batch: Batch
) -> None:
    before = {job.id for job in client.jobs()}
    with _killed_after_the_record(running):
        httpx.post(f"{running.url}/v1/jobs", content=batch.archive.read_bytes(), trust_env=False)
    (accepted,) = {job.id for job in client.jobs()} - before
    batch.is_kept(client, accepted)


def test_the_api_is_killed_when_it_has_accepted_an_image_and_sent_nothing(
    running: Stack, client: Client, scan: bytes
) -> None:
    before = {job.id for job in client.jobs()}
    undisturbed = client.results(client.wait(client.submit(scan).id).id)
    before |= {job.id for job in client.jobs()}
    with _killed_after_the_record(running):
        httpx.post(f"{running.url}/v1/jobs", content=scan, trust_env=False)
    (accepted,) = {job.id for job in client.jobs()} - before
    client.wait(accepted, timeout_seconds=60)
    assert client.results(accepted) == undisturbed


def test_a_request_is_repeated_whose_answer_was_lost(running: Stack, client: Client, batch: Batch, scan: bytes) -> None:
    before = {job.id for job in client.jobs()}
    key = {"Idempotency-Key": uuid.uuid4().hex}
    with _killed_after_the_record(running):
        httpx.post(f"{running.url}/v1/jobs", content=batch.archive.read_bytes(), headers=key, trust_env=False)
    with httpx.Client(base_url=running.url, headers=key, timeout=60, trust_env=False) as http:
        repeated = http.post("/v1/jobs", content=batch.archive.read_bytes())
        assert repeated.status_code == 202
        assert {job.id for job in client.jobs()} - before == {repeated.json()["id"]}
        other = http.post("/v1/jobs", content=scan)
        assert other.status_code == 422
    batch.is_kept(client, repeated.json()["id"])


def test_two_uploads_under_one_key_at_once_are_one_job(running: Stack, client: Client, batch: Batch) -> None:
    key, ids = uuid.uuid4().hex, []

    def submit() -> None:
        with running.client() as own:
            ids.append(own.submit(batch.archive, idempotency_key=key).id)

    threads = [threading.Thread(target=submit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 2
    assert len(set(ids)) == 1
    batch.is_kept(client, ids[0])


@contextmanager
def _halted_with_a_chunk(running: Stack, client: Client, batch: Batch) -> Iterator[str]:
    """Within, the job runs and a process of the pool holds one of its chunks without a sign of life."""
    running.arm("worker-decode", "halt")
    job = client.submit(batch.archive)
    halted = running.struck("worker-decode")
    try:
        yield job.id
    finally:
        running.worker.signal(signal.SIGCONT)
    until(lambda: state_of(halted) != "T", "the process goes on")


def test_a_process_goes_on_when_others_have_ended_its_job(running: Stack, client: Client, batch: Batch) -> None:
    with _halted_with_a_chunk(running, client, batch) as job_id:
        batch.is_kept(client, job_id)
    _answers(client, batch)
    batch.is_kept(client, job_id)


def test_a_process_goes_on_when_its_job_has_been_cancelled(running: Stack, client: Client, batch: Batch) -> None:
    with _halted_with_a_chunk(running, client, batch) as job_id:
        client.cancel(job_id)
        table = client.results(job_id)
    _answers(client, batch)
    assert client.status(job_id).state == "cancelled"
    assert client.results(job_id) == table
    assert table.count(b"\n") == batch.table.count(b"\n")


def test_a_process_goes_on_when_its_job_has_been_deleted(running: Stack, client: Client, batch: Batch) -> None:
    with _halted_with_a_chunk(running, client, batch) as job_id:
        client.delete(job_id)
    _answers(client, batch)
    until(lambda: not (running.store / data_prefix(job_id)).exists(), "nothing of the job is in the store")
    assert not list(running.store.glob(f"*/*/{job_id}*"))


def _answers_at(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).is_success
    return False


def _answers(client: Client, batch: Batch) -> None:
    """Two jobs, and so every process of the pool, have been worked on since."""
    for job in [client.submit(batch.archive) for _ in range(2)]:
        batch.is_kept(client, job.id)


def test_everything_is_stopped_under_load_and_started_again(running: Stack, client: Client, batch: Batch) -> None:
    jobs = [client.submit(batch.archive) for _ in range(4)]
    until(lambda: client.status(jobs[0].id).counts.done, "work is under way")
    assert client.status(jobs[-1].id).counts.pending
    for program in (running.api, running.worker, running.redis):
        program.terminate()
    running.start()
    for job in jobs:
        batch.is_kept(client, job.id)


def test_of_two_reconcilers_one_is_killed_in_the_middle_of_its_pass(
    running: Stack, client: Client, batch: Batch
) -> None:
    port = free_port()
    with running.log.open("ab") as output:
        second = Program("api", running.api.command, {**running.api.variables, "GLYPHQ_PORT": str(port)}, output)
        second.start()
        try:
            until(lambda: _answers_at(port), "the second API is up")
            running.worker.signal(signal.SIGSTOP)
            jobs = [client.submit(batch.archive) for _ in range(3)]
            running.arm("api-restore", "kill")
            with running.redis_client() as redis:
                redis.flushall()
            struck = running.struck("api-restore")
            survivor, url = (running.api, running.url) if struck == second.pid else (second, f"http://127.0.0.1:{port}")
            running.worker.signal(signal.SIGCONT)
            assert survivor.running
            with Client(url) as other:
                for job in jobs:
                    batch.is_kept(other, job.id)
        finally:
            with suppress(ProcessLookupError):
                second.kill()
    if not running.api.running:
        running.api.kill()
