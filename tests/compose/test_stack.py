"""The images and docker-compose.yml on a real Docker engine, used from outside. Skipped where there is none."""

import csv
import io
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
import yaml

from glyphq import samples
from glyphq.client import Client
from tests.faults.stack import free_port, until

ROOT = Path(__file__).parent.parent.parent
USER = "10001"
SIGNAL_CONSUMER = """
import os, signal, sys
from pathlib import Path
def children(pid):
    return " ".join(each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/children")).split()
main, *_ = children(1)
processes = main, *children(main)
consumer = next(pid for pid in processes if b"-m\\0worker\\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
print(*children(consumer))
os.kill(int(consumer), signal.Signals[sys.argv[1]])
"""  # the child of the container's init, or of `glyphq serve`, which is; prints its children
SCANS = 60_000
BUILD_SECONDS = 1800


def run(*command: str, seconds: float = 300, check: bool = True) -> str:
    """What it prints; what went wrong is shown where it fails."""
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout[-3000:]}"
    return done.stdout.strip()


def docker(*arguments: str, seconds: float = 300, check: bool = True) -> str:
    return run("docker", *arguments, seconds=seconds, check=check)


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("there is no Docker engine: `docker info` fails")


@dataclass
class Compose:
    """The stack of docker-compose.yml under a project of its own."""

    command: Sequence[str]
    url: str
    password: str
    started_at: float

    def __call__(self, *arguments: str, seconds: float = 300, check: bool = True) -> str:
        return run(*self.command, *arguments, seconds=seconds, check=check)

    def containers(self, service: str) -> list[str]:
        return self("ps", "-q", service).split()

    def healthy(self, service: str, count: int = 1) -> bool:
        return [health(each) for each in self.containers(service)].count("healthy") == count


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    command = [*(["docker", "compose"] if plugin else ["docker-compose"]), "-p", "glyphq-test"]
    port, password = free_port(), secrets.token_urlsafe()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBLISH", f"127.0.0.1:{port}")
        patch.setenv("REDIS_PASSWORD", password)
        run(*command, "build", seconds=BUILD_SECONDS)
        made = Compose(command, f"http://127.0.0.1:{port}", password, time.monotonic())
        try:
            made("up", "-d")
            yield made
        finally:
            made("down", "-v", "--timeout", "30")
    assert docker("ps", "-aq", "--filter", "label=com.docker.compose.project=glyphq-test") == ""
    assert docker("volume", "ls", "-q", "--filter", "label=com.docker.compose.project=glyphq-test") == ""


@pytest.fixture(scope="module")
def client(compose: Compose) -> Iterator[Client]:
    with Client(compose.url) as made:
        until(lambda: answers(made.ready), "the service is ready")
        yield made


@pytest.fixture(scope="module")
def scan() -> bytes:
    return next(iter(samples.draw(1, seed=5))).png


def answers(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except Exception:  # noqa: BLE001  # nothing listens yet
        return False


def inspect(container: str, template: str) -> str:
    return docker("inspect", "-f", template, container)


def health(container: str) -> str:
    return inspect(container, "{{.State.Health.Status}}")


def signal_consumer(container: str, name: str) -> set[str]:
    """The ids of the processes that it has forked."""
    return set(docker("exec", container, "python", "-c", SIGNAL_CONSUMER, name).split())


def classified(url: str, scan: bytes, key: str | None = None) -> bool:
    headers = {"Prefer": "wait=20", **({"Authorization": f"Bearer {key}"} if key else {})}
    answer = httpx.post(f"{url}/v1/jobs", content=scan, headers=headers, timeout=60, trust_env=False)
    return answer.is_success and answer.json()["results"][0]["status"] == "classified"


def test_the_first_image_is_answered(compose: Compose, client: Client, scan: bytes) -> None:
    until(lambda: answers(lambda: classified(compose.url, scan)), "an image is classified")
    print(f"\n`up` to the first answer: {time.monotonic() - compose.started_at:.1f} s")
    base = int(inspect("python:3.11-slim-bookworm", "{{.Size}}"))
    for image in "glyphq-api", "glyphq-worker":
        size = int(inspect(image, "{{.Size}}"))
        print(f"{image}: {size / 1e6:,.0f} MB, {(size - base) / 1e6:,.0f} of them on top of the base image")
    assert client.ready()


def test_a_job_outlives_a_worker_and_redis(compose: Compose, client: Client, tmp_path: Path) -> None:
    archive = tmp_path / "scans.zip"
    samples.write_zip(archive, SCANS, seed=2)
    job = client.submit(archive)
    compose("up", "-d", "--scale", "worker=3")
    until(lambda: compose.healthy("worker", 3), "three workers are healthy")
    workers = compose.containers("worker")
    if client.status(job.id).state.ended:  # so that all three have something to do
        job = client.submit(archive)
    assert not client.status(job.id).state.ended
    signal_consumer(workers[0], "SIGKILL")
    compose("restart", "--timeout", "5", "redis")
    done = client.wait(job.id, timeout_seconds=300)
    lines = list(csv.DictReader(io.StringIO(client.results(job.id).decode())))
    with_names = [(line["row"], line["filename"]) for line in lines]
    assert with_names == [(str(row), f"scan-{row:05}.png") for row in range(SCANS)]
    assert {line["status"] for line in lines} == {"classified"}
    assert pq.read_table(io.BytesIO(client.results(job.id, format="parquet"))).num_rows == SCANS
    until(lambda: compose.healthy("worker", 3), "the killed one has been started again")
    print(f"\n{len(lines):,} rows of {done.counts.total:,}, with a worker of three killed and Redis restarted")


def test_a_consumer_that_stands_still_makes_its_container_unhealthy(compose: Compose) -> None:
    until(lambda: compose.healthy("worker", len(compose.containers("worker"))), "the workers are healthy")
    worker = compose.containers("worker")[0]
    check = ("exec", worker, "python", "-m", "worker.health", "/tmp/beat")
    signal_consumer(worker, "SIGSTOP")
    until(lambda: "not been heard from" in docker(*check, check=False), "it is seen")
    signal_consumer(worker, "SIGCONT")
    until(lambda: docker(*check, check=False) == "", "it is healthy again")


@pytest.mark.parametrize("service", ["api", "worker"])
def test_nothing_runs_as_root_or_writes_to_its_image(compose: Compose, service: str) -> None:
    until(lambda: compose.containers(service), "it runs")
    container = compose.containers(service)[0]
    assert docker("exec", container, "id", "-u") == USER
    assert "Read-only file system" in docker("exec", container, "touch", "/app/written", check=False)
    assert inspect(container, "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}") == "true [ALL]"


def test_redis_is_not_published_and_asks_for_a_password(compose: Compose) -> None:
    (redis,) = compose.containers("redis")
    assert docker("port", redis) == ""
    assert docker("exec", redis, "id", "-un") == "redis"
    with socket.socket() as outside:
        outside.settimeout(5)
        assert outside.connect_ex(("127.0.0.1", 6379)) != 0, "something of this machine listens at Redis' port"
    asked = "exec", "-e", "REDISCLI_AUTH=", redis, "redis-cli", "ping"
    assert "NOAUTH" in docker(*asked)
    assert docker("exec", redis, "redis-cli", "ping") == "PONG"
    assert docker("exec", redis, "redis-cli", "config", "get", "maxmemory-policy").endswith("noeviction")


def test_prometheus_may_ask_each_worker_and_the_api_from_within(compose: Compose) -> None:
    (api,) = compose.containers("api")
    read = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())"
    for address, metric in ("worker:9100", "glyphq_images_total"), ("api:8000", "glyphq_jobs_accepted_total"):
        assert metric in docker("exec", api, "python", "-c", read, f"http://{address}/metrics")


def test_jobs_are_still_there_after_all_containers_are_made_anew(compose: Compose, client: Client, scan: bytes) -> None:
    known = {job.id for job in client.jobs()}
    compose("up", "-d", "--force-recreate", "--scale", "worker=1")
    until(lambda: answers(client.ready), "the service is ready again")
    assert {job.id for job in client.jobs()} == known != set()
    until(lambda: answers(lambda: classified(compose.url, scan)), "an image is classified")


@pytest.mark.parametrize("service", ["api", "worker"])
def test_it_ends_on_sigterm(compose: Compose, service: str) -> None:
    (container,) = compose.containers(service)
    docker("stop", "--time", "60", container)
    assert inspect(container, "{{.State.ExitCode}}") in ("0", str(128 + 15))  # 137: it had to be killed


def test_processes_and_gpus_are_given_as_env_example_says(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_OPTIONS", "--concurrency 4")
    monkeypatch.setenv("COMPOSE_FILE", "docker-compose.yml:docker-compose.gpu.yml")
    worker = yaml.safe_load(compose("config"))["services"]["worker"]
    assert worker["command"] in ("--concurrency 4", ["--concurrency", "4"])
    assert worker["build"]["args"]["TORCH_INDEX"].endswith("/cu130")
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"


@contextmanager
def standalone() -> Iterator[tuple[str, str]]:
    """The id of the container and its URL."""
    of_worker = "build", "-f", "Dockerfile.worker", "--target", "standalone"
    docker(*of_worker, "-t", "glyphq-standalone", ".", seconds=BUILD_SECONDS)
    port = free_port()
    often = "--health-interval", "1s", "--health-retries", "1"
    container = docker("run", "-d", "-p", f"127.0.0.1:{port}:8000", *often, "glyphq-standalone")
    try:
        yield container, f"http://127.0.0.1:{port}"
    finally:
        docker("rm", "-f", "-v", container)


def test_one_container_is_a_whole_service(scan: bytes) -> None:
    with standalone() as (container, url):
        started = time.monotonic()
        until(lambda: answers(lambda: httpx.get(f"{url}/readyz", trust_env=False).is_success), "it is ready")
        log = docker("logs", container)
        key = next(word for word in log.split() if word.startswith("glyphq_"))
        until(lambda: answers(lambda: classified(url, scan, key)), "an image is classified")
        print(f"\nstandalone: `run` to the first answer: {time.monotonic() - started:.1f} s")
        assert not classified(url, scan)
        assert docker("exec", container, "id", "-u") == USER
        assert "first" in docker("exec", container, "glyphq", "keys", "list")
        until(lambda: health(container) == "healthy", "it is healthy")
        signal_consumer(container, "SIGSTOP")
        until(lambda: health(container) == "unhealthy", "it is seen that no messages are taken")
        assert "not been heard from" in inspect(container, "{{range .State.Health.Log}}{{.Output}}{{end}}")
        signal_consumer(container, "SIGCONT")
        until(lambda: health(container) == "healthy", "it is healthy again")
        orphans = signal_consumer(container, "SIGKILL")
        until(lambda: not orphans & set(docker("exec", container, "ls", "/proc").split()), "the orphans are reaped")
        until(lambda: answers(lambda: classified(url, scan, key)), "another worker has been started")
        docker("stop", "--time", "60", container)
        assert inspect(container, "{{.State.ExitCode}}") in ("0", str(128 + 15))
