"""The store fills up, what is in it is damaged, the power fails, clocks differ, the model is gone."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from glyphq.client import Client
from glyphq.errors import JobFailed
from glyphq.object_names import end_key, index_key, input_key, record_key, result_key
from glyphq.vision.checkpoint import SHIPPED
from tests.faults.conftest import Batch, cannot_run, worker_replaced
from tests.faults.stack import PATIENCE_SECONDS, Program, Stack, stack, until

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        cannot_run("To mount a small file system takes root.")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run([str(mount), "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # wherever it is


def test_the_disk_is_full(small_disk: Path, tmp_path: Path, batch: Batch) -> None:
    variables = {"GLYPHQ_DISK_RESERVE_BYTES": "0"}
    with stack(tmp_path / "stack", store=small_disk / "store", variables=variables) as own, own.client() as client:
        own.start()
        ballast = small_disk / "ballast"
        before = {job.id for job in client.jobs()}
        answer = httpx.post(f"{own.url}/v1/jobs", content=batch.archive.read_bytes() + bytes(30 * MIB), trust_env=False)
        assert (answer.status_code, answer.json()["code"]) == (507, "store-full")
        assert {job.id for job in client.jobs()} == before
        assert not list((own.store / ".staging").iterdir())

        own.arm("worker-decode", "halt")
        job = client.submit(batch.archive)
        halted = own.struck("worker-decode")
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        assert shutil.disk_usage(small_disk).free < 4096
        os.kill(halted, 18)  # SIGCONT
        until(lambda: "store is full" in own.log.read_text(), "a result finds no room")
        assert not client.status(job.id).state.ended
        ballast.unlink()
        batch.is_kept(client, job.id)


def altered(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.fixture(params=[altered, truncated])
def damage(request: pytest.FixtureRequest):
    return request.param


def test_a_stored_result_is_damaged_and_made_again(running: Stack, client: Client, batch: Batch, damage) -> None:
    job = client.submit(batch.archive)
    batch.is_kept(client, job.id)
    damage(running.store / result_key(job.id, 3))
    with pytest.raises(httpx.RemoteProtocolError):  # it had begun when the damage was seen
        httpx.get(f"{running.url}/v1/jobs/{job.id}/results", trust_env=False)
    assert client.results(job.id) == batch.table  # goes on with the first row that is missing


def test_a_stored_index_is_damaged_and_made_again(running: Stack, client: Client, batch: Batch, damage) -> None:
    with worker_replaced(running, client, batch) as job_id:
        damage(running.store / index_key(job_id))
    batch.is_kept(client, job_id)


def test_a_stored_record_is_damaged_and_the_job_says_so(running: Stack, client: Client, batch: Batch, damage) -> None:
    job = client.submit(batch.archive)
    batch.is_kept(client, job.id)
    damage(running.store / record_key("local", job.id))
    running.api.kill()  # it has the record in memory
    running.start()
    assert client.status(job.id).state == "failed"
    with pytest.raises(JobFailed):
        client.results(job.id)
    client.delete(job.id)


def test_a_stored_end_is_damaged_and_made_again(running: Stack, client: Client, batch: Batch, damage) -> None:
    job = client.submit(batch.archive)
    batch.is_kept(client, job.id)
    damage(running.store / end_key("local", job.id))
    batch.is_kept(client, job.id)


def test_a_stored_end_that_holds_the_rows_is_damaged_and_made_again(
    running: Stack, client: Client, scan: bytes, damage
) -> None:
    job = client.wait(client.submit(scan).id)
    table = client.results(job.id)
    damage(running.store / end_key("local", job.id))
    assert client.wait(job.id, timeout_seconds=60).state == "completed"
    assert client.results(job.id) == table


def test_a_stored_end_is_left_empty_by_a_power_cut_and_made_again_unasked(
    running: Stack, client: Client, batch: Batch
) -> None:
    job = client.submit(batch.archive)
    batch.is_kept(client, job.id)
    running.kill()
    end = running.store / end_key("local", job.id)
    os.truncate(end, 0)
    running.start()
    until(lambda: end.stat().st_size, "the end is made again")
    batch.is_kept(client, job.id)


def test_a_stored_input_is_damaged_and_its_rows_say_so(running: Stack, client: Client, batch: Batch, damage) -> None:
    with worker_replaced(running, client, batch) as job_id:
        damage(running.store / input_key(job_id))
    ended = client.wait(job_id, timeout_seconds=PATIENCE_SECONDS)
    assert (ended.state, ended.counts.total, ended.counts.pending) == ("completed", batch.total, 0)
    assert ended.counts.rejected
    lines, expected = client.results(job_id).splitlines(), batch.table.splitlines()
    assert len(lines) == len(expected)
    for line, other in zip(lines, expected, strict=True):
        assert line == other or b"stored_input_damaged" in line


def durable_only(store: Path, log: Path) -> None:
    """Take from the store whatever a power cut may take: each file and each entry of a folder that was not synced."""
    files: set[int] = set()
    folders: dict[int, dict[str, int]] = {}
    for line in sorted(log.read_text().splitlines(), key=lambda line: json.loads(line)[0]):
        _, inode, entries = json.loads(line)
        if entries is None:
            files.add(inode)
        else:
            folders[inode] = entries

    def cut(folder: Path) -> None:
        durable = folders.get(folder.stat().st_ino, {})
        for path in folder.iterdir():
            inode = path.stat().st_ino
            if durable.get(path.name) != inode:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            elif path.is_dir():
                cut(path)
            elif inode not in files:
                os.truncate(path, 0)

    cut(store)


def test_the_power_fails_and_what_was_acknowledged_is_there(tmp_path: Path, batch: Batch, scan: bytes) -> None:
    with stack(tmp_path / "stack") as own, own.client() as client:
        own.start()
        images, zips, failed = [], [], threading.Event()
        alone = client.results(client.wait(client.submit(scan).id).id)

        def load(body: bytes, accepted: list[str], most: int) -> None:
            with httpx.Client(base_url=own.url, timeout=60, trust_env=False) as http, suppress(httpx.TransportError):
                while len(accepted) < most and not failed.is_set():
                    accepted.append(http.post("/v1/jobs", content=body).raise_for_status().json()["id"])

        data = batch.archive.read_bytes()
        loads = (data, zips, 6), (scan, images, 1000), (scan, images, 1000)
        clients = [threading.Thread(target=load, args=each) for each in loads]
        for thread in clients:
            thread.start()
        until(lambda: len(zips) == 6 and client.status(zips[0]).state.ended, "a job has ended")
        assert not client.status(zips[-1]).state.ended
        ended = [job_id for job_id in zips if client.status(job_id).state.ended]
        reviewed = [*zips, images[0]]
        for job_id in reviewed:
            _corrections_of(own, job_id, label="@")
        own.kill()
        failed.set()
        for thread in clients:
            thread.join()
        durable_only(own.store, own.folder / "faults" / "synced.jsonl")
        own.start()
        for job_id in ended:
            assert client.status(job_id).state == "completed"
        for job_id in zips:
            batch.is_kept(client, job_id)
        for job_id in images:
            client.wait(job_id, timeout_seconds=PATIENCE_SECONDS)
            assert client.results(job_id) == alone
        for job_id in reviewed:
            assert _corrections_of(own, job_id) == ["@"]


def _corrections_of(own: Stack, job_id: str, *, label: str | None = None) -> list[str]:
    """The labels that people gave the job's rows, once `label` was given the first one."""
    with httpx.Client(base_url=f"{own.url}/v1/jobs/{job_id}/", timeout=60, trust_env=False) as http:
        if label is not None:
            http.put("items/0/correction", json={"label": label}).raise_for_status()
        query = {"format": "json", "corrected": "true", "reviewed": "true", "partial": "true"}
        return [row["final_label"] for row in http.get("results", params=query).raise_for_status().json()["results"]]


def _set_two_hours_off(own: Stack, name: str) -> None:
    found = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), *Path("/usr/lib/faketime").glob("libfaketime.so.1")]
    if not found:
        cannot_run("To set one program's clock takes libfaketime: apt-get install libfaketime")
    program = getattr(own, name)
    program.variables |= {"LD_PRELOAD": str(found[0]), "FAKETIME": "-2h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@pytest.mark.parametrize("name", ["worker", "api", "redis"])
def test_one_programs_clock_is_two_hours_off(tmp_path: Path, batch: Batch, name: str) -> None:
    with stack(tmp_path / "stack") as own, own.client() as client:
        _set_two_hours_off(own, name)
        own.start()
        own.arm("worker-decode", "kill")
        job = client.submit(batch.archive)
        own.struck("worker-decode")
        batch.is_kept(client, job.id)


@pytest.mark.parametrize("damage", [altered, Path.unlink])
def test_a_worker_without_a_sound_model_says_so_and_takes_no_work(tmp_path: Path, batch: Batch, damage) -> None:
    model = tmp_path / "model"
    shutil.copytree(SHIPPED, model)
    weights = model / "model.safetensors"
    with stack(tmp_path / "stack", variables={"GLYPHQ_MODEL": str(model)}) as own, own.client() as client:
        damage(weights)
        for program in own.programs:
            program.start()
        until(lambda: not own.worker.running, "the worker gives up")
        until(lambda: _readiness(own.url) is not None, "the API answers")
        wrong = _readiness(own.url)
        assert set(wrong or ()) == {"worker", "model"}
        assert f"error: {wrong['model']}" in own.log.read_text()
        job = client.submit(batch.archive)
        shutil.copy(SHIPPED / weights.name, weights)
        own.start()
        batch.is_kept(client, job.id)


def test_a_worker_whose_model_fits_no_network_ends_with_an_error(tmp_path: Path) -> None:
    model, weights = tmp_path / "model", b"no weights"
    shutil.copytree(SHIPPED, model)
    (model / "model.safetensors").write_bytes(weights)
    card = json.loads((model / "card.json").read_text())
    (model / "card.json").write_text(json.dumps({**card, "digest": hashlib.sha256(weights).hexdigest()}))
    with stack(tmp_path / "stack", variables={"GLYPHQ_MODEL": str(model)}) as own:
        own.redis.start()
        own.worker.start()
        until(lambda: not own.worker.running, "the worker gives up")
        assert own.worker.terminate() == 1
        said = own.log.read_text()
        assert said.splitlines()[-1].startswith("error: A worker process cannot start: ")
        assert "Traceback" not in said


def test_a_worker_with_another_store_than_the_api_takes_no_work(
    running: Stack, client: Client, batch: Batch, tmp_path: Path
) -> None:
    log, variables = tmp_path / "log", {**running.worker.variables, "GLYPHQ_STORE_URL": f"file://{tmp_path}/other"}
    with log.open("wb") as output:
        misplaced = Program(
            "misplaced worker", [sys.executable, "-m", "worker", "--concurrency", "1"], variables, output
        )
        misplaced.start()
        try:
            until(lambda: "is not the store of the API" in log.read_text(), "it finds that out")
            batch.is_kept(client, client.submit(batch.archive).id)
            with running.redis_client() as redis:
                heard_from = {int(name.rsplit(":", 1)[1]) for name in redis.keys("glyphq:worker:*")}
            assert heard_from == set(running.worker.children())
        finally:
            misplaced.kill()


def _readiness(url: str) -> dict[str, object] | None:
    with suppress(httpx.TransportError):
        checks: dict[str, object] = httpx.get(f"{url}/readyz", timeout=10, trust_env=False).json()["checks"]
        return {name: check for name, check in checks.items() if check != "ok"}
    return None
