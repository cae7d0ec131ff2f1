"""What a chunk costs each part of the service, measured on this machine with a zip of 28x28 PNG."""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from redis import Redis

from bench.bucket import Bucket, bucket
from bench.footprint import redis_bytes
from bench.limits import stages
from bench.report import machine, spread, versions
from bench.scaling.reckoned import ELSEWHERE
from bench.simulation import Costs
from bench.throughput import glyphq_side
from glyphq.client import Client
from glyphq.embedded import EmbeddedService, embedded_service
from glyphq.errors import GlyphqError
from glyphq.progress import OPEN, open_progress
from glyphq.settings import Settings
from glyphq.vision.checkpoint import SHIPPED

CORES = len(os.sched_getaffinity(0))
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Measured:
    """Of one zip of 28x28 PNG."""

    images: int
    stages: Mapping[str, float]  # us an image, in one process
    rates: Mapping[int, Mapping[str, float]]  # images a second by number of worker processes
    costs: Costs
    redis_commands: float  # a chunk
    redis_bytes: float  # a chunk
    stored_bytes: Mapping[str, float]  # an image
    store_requests: Mapping[str, Mapping[str, float]]  # a chunk, by phase and method
    rate_far_away: Mapping[str, float]  # of one worker process, as `rates`
    machine: Mapping[str, Any]
    versions: Mapping[str, str]


def measure(archive: Path, images: int, repeats: int, status: Callable[[str], object]) -> Measured:
    """Rounds of all numbers of processes in turn; before them each runs once, uncounted."""
    at_start, stolen, began = machine(), _stolen_seconds(), time.monotonic()
    status("stages")
    steps = stages(archive, min(images, 20_000), SHIPPED)
    with ExitStack() as stack:
        services = {}
        for processes in range(1, CORES + 2):
            status(f"starting {processes} processes")
            services[processes] = stack.enter_context(embedded_service(workers=processes))
        rates: dict[int, list[float]] = {processes: [] for processes in services}
        for number in range(repeats + 1):
            for processes, service in services.items():
                status(f"round {number} of {repeats}: {processes} processes")
                with Client(service.url) as client:
                    seconds = glyphq_side(client)(archive, archive.with_suffix(".csv"))
                if number:
                    rates[processes].append(images / seconds)
        status("costs of a chunk")
        found = _costs_of(services[CORES], archive, images)
        redis_url = services[CORES].redis_url
        engines = set(open_progress(Settings(redis_url=redis_url)).workers().values())
        named = {"engine": " and ".join(sorted(engines)), **versions(redis_url)}
    status("requests to a store")
    with bucket() as s3:
        requests = _store_requests(s3, archive, images)
    status("a store that is far away")
    far_away = _rate_far_away(archive, images, repeats)
    stolen = (_stolen_seconds() - stolen) / (time.monotonic() - began) / CORES
    chunks = found.pop("chunks")
    sizes = {name: found.pop(name) for name in ("input", "index", "results", "CSV")}
    return Measured(
        images=images,
        stages=steps,
        rates={processes: spread(each) for processes, each in rates.items()},
        costs=Costs(
            images=images // chunks,
            reads=sum(requests["work"].get(method, 0) for method in ("GET", "HEAD")),
            writes=sum(requests["work"].get(method, 0) for method in ("PUT", "POST")),
            end_reads=sum(requests["end"].values()),
            rows_reads=sum(requests["CSV"].values()),
            bytes_moved=(sizes["input"] + sizes["index"] + sizes["results"]) / chunks,
            **{name: found.pop(name) / chunks for name in list(found) if name.endswith("seconds")},
        ),
        redis_commands=found["commands"] / chunks,
        redis_bytes=found["redis bytes"] / chunks,
        stored_bytes={name: size / images for name, size in sizes.items()},
        store_requests=requests,
        rate_far_away=far_away,
        machine={**at_start, "stolen by other guests": f"{stolen:.1%}"},
        versions=named,
    )


def _costs_of(service: EmbeddedService, archive: Path, images: int) -> dict[str, Any]:
    """Of one job, in all: processor seconds by part, commands and bytes of Redis, and what lies in the store."""
    api, worker = (service.children[name].pid for name in ("api", "worker"))
    with (
        Client(service.url) as client,
        Redis.from_url(service.redis_url, decode_responses=True) as redis,
        redis_bytes(service) as traffic,
        _redis_work(redis) as work,
    ):
        began, worked = _cpu_seconds(api), _cpu_seconds(worker)
        job = client.submit(archive)
        accepted = _cpu_seconds(api)
        client.wait(job.id)
        ended = _cpu_seconds(api)
        table = client.results(job.id)
        sent = _cpu_seconds(api)
        folder = service.store / "data" / job.id
        results = list((folder / "results").iterdir())
        sizes = {
            "input": archive.stat().st_size,
            "index": (folder / "index.arrow").stat().st_size,
            "results": sum(path.stat().st_size for path in results),
            "CSV": len(table),
        }
        used = _cpu_seconds(worker) - worked
        client.delete(job.id)
    if job.counts.total != images:
        raise GlyphqError(f"The job has {job.counts.total:,} rows, the zip {images:,} images.")
    return {
        "chunks": len(results),
        "worker_seconds": used,
        "redis_seconds": work["seconds"],
        "upload_seconds": accepted - began,
        "following_seconds": ended - accepted,
        "results_seconds": sent - ended,
        "commands": work["commands"],
        "redis bytes": traffic[0],
        **sizes,
    }


def _cpu_seconds(pid: int) -> float:
    """Of the process and the children that it has now."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for each in (str(pid), *children):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def _redis_work(redis: Redis) -> Iterator[dict[str, float]]:
    """Afterwards: commands that Redis was given meanwhile, and the seconds it was at them."""
    work: dict[str, float] = {}
    before = _redis_stats(redis)
    yield work
    after = _redis_stats(redis)
    work.update(seconds=after[0] - before[0], commands=after[1] - before[1])


def _redis_stats(redis: Redis) -> tuple[float, float]:
    cpu, stats = (cast("dict[str, float]", redis.info(section)) for section in ("cpu", "stats"))
    return cpu["used_cpu_user"] + cpu["used_cpu_sys"], stats["total_commands_processed"]


def _store_requests(s3: Bucket, archive: Path, images: int) -> dict[str, dict[str, float]]:
    """Requests a chunk by method: of the workers until each chunk was done, of the one that ended the job, and of the
    API that sent its rows. Not those of an API that is asked for the job meanwhile: it stands still.
    """
    variables = {**s3.variables, "GLYPHQ_STORE_URL": "s3://scans/bench"}
    with (
        embedded_service(workers=CORES, environment=variables) as service,
        Client(service.url) as client,
        Redis.from_url(service.redis_url) as redis,
    ):
        job, api = client.submit(archive), service.children["api"].pid
        os.kill(api, signal.SIGSTOP)
        try:
            s3.requests.clear()
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while redis.exists(OPEN):
                if time.monotonic() > deadline:
                    raise GlyphqError(f"The job was not done within {_PATIENCE_SECONDS:.0f} s.")
                time.sleep(0.1)  # whoever would tell of the end stands still
            worked = [line for line in list(s3.requests) if job.id in line]
        finally:
            os.kill(api, signal.SIGCONT)
        s3.requests.clear()
        client.results(job.id)
        sent = [line for line in list(s3.requests) if job.id in line]
    # A process looks for a result before it makes one, and finds none; who ends the job finds each.
    ended = [line for line in worked if re.search(r"^GET .*(/results/.* 200|[?&]list-type=)", line)]
    chunks = -(-images // Settings().chunk_images)
    phases = {"work": (Counter(worked) - Counter(ended)).elements(), "end": ended, "CSV": sent}
    return {phase: _by_method(asked, chunks) for phase, asked in phases.items()}


def _by_method(asked: Iterable[str], chunks: int) -> dict[str, float]:
    return {method: count / chunks for method, count in Counter(line.split()[0] for line in asked).items()}


def _rate_far_away(archive: Path, images: int, repeats: int) -> dict[str, float]:
    """Images a second, zip on disk to CSV on disk, of one worker process whose store answers after a while."""
    with bucket(latency_seconds=ELSEWHERE.store_latency_seconds) as s3:
        variables = {**s3.variables, "GLYPHQ_STORE_URL": "s3://scans/bench"}
        with embedded_service(workers=1, environment=variables) as service, Client(service.url) as client:
            classify, table = glyphq_side(client), archive.with_suffix(".csv")
            rates = [images / classify(archive, table) for _ in range(repeats + 1)]
    return spread(rates[1:])


def _stolen_seconds() -> float:
    """That other guests of this host have taken from this machine's cores since it started."""
    return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")
