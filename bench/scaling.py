"""`python -m bench.scaling`: what a chunk costs each part of the service here, and what that comes to on more machines.

Measures one to one more worker processes than there are cores, the costs of a chunk by part, and its requests to a
store of the S3 protocol; then lets `bench.simulation` reckon. Writes docs/scaling.md between its marks, the figure
beside it, and bench/results/scaling.json.
"""

import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from redis import Redis
from rich.console import Console

from bench.footprint import redis_bytes
from bench.inputs import write_zip
from bench.limits import stages
from bench.report import machine, spread, told, versions
from bench.simulation import Costs, Outcome, Place, simulate
from bench.throughput import glyphq_side
from glyphq.client import Client
from glyphq.embedded import EmbeddedService, embedded_service
from glyphq.errors import GlyphqError
from glyphq.settings import Settings
from glyphq.vision.checkpoint import SHIPPED
from tests.s3 import Bucket, bucket

ROOT = Path(__file__).parent.parent
PAGE, FIGURE, NUMBERS = ROOT / "docs/scaling.md", ROOT / "docs/scaling.svg", ROOT / "bench/results/scaling.json"
CORES = len(os.sched_getaffinity(0))
# Not measured: what a bucket and a network of a large provider promise, in one prefix and on one machine.
ELSEWHERE = Place(
    workers=1,
    store_latency_seconds=0.015,
    store_reads_per_second=5500,
    store_writes_per_second=3500,
    store_bytes_per_second=12.5e9,
)
WORKERS = 10, 100, 1000
CURVE = 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000
JOB_CHUNKS = 40


def main(
    images: Annotated[int, typer.Option(min=2048, help="In the zip that is measured with.")] = 60_000,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that count.")] = 3,
    write: Annotated[bool, typer.Option(help="Write page, figure and numbers.")] = True,
) -> None:
    """Measure here, and reckon for more machines."""
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="glyphq-bench-") as name, Console(stderr=True).status("starting") as status:
        archive = Path(name) / "scans.zip"
        write_zip(archive, images)
        measured = measure(archive, images, repeats, status.update)
    tables = {
        "measured": _measured_table(measured),
        "checked": _checked_table(measured, images),
        "reckoned": _reckoned_table(measured.costs, status.update),
    }
    for table in tables.values():
        console.print(table, markup=False)
    if write:
        NUMBERS.write_text(json.dumps(vars(measured) | {"costs": vars(measured.costs)}, indent=2) + "\n")
        _draw(measured.costs, FIGURE)
        page = PAGE.read_text()
        for mark, table in tables.items():
            page = re.sub(rf"(<!-- {mark} -->\n).*?(<!-- end -->)", rf"\1{table}\n\2", page, flags=re.DOTALL)
        PAGE.write_text(page)


# What is measured.


@dataclass(frozen=True)
class Measured:
    """Of one zip of 28x28 PNG."""

    stages: Mapping[str, float]  # us an image, in one process
    rates: Mapping[int, Mapping[str, float]]  # images a second by number of worker processes
    costs: Costs
    redis_commands: float  # a chunk
    redis_bytes: float  # a chunk
    stored_bytes: Mapping[str, float]  # an image
    store_requests: Mapping[str, float]  # a chunk, while it is worked on
    machine: Mapping[str, Any]
    versions: Mapping[str, str]


def measure(archive: Path, images: int, repeats: int, status: Callable[[str], object]) -> Measured:
    """Rounds of all numbers of processes in turn; before them each runs once, uncounted."""
    at_start = machine()
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
        named = versions(services[CORES].redis_url)
    status("requests to a store")
    with bucket() as s3:
        requests = _store_requests(s3, archive, images)
    chunks = found.pop("chunks")
    sizes = {name: found.pop(name) for name in ("input", "index", "results", "CSV")}
    return Measured(
        stages=steps,
        rates={processes: spread(each) for processes, each in rates.items()},
        costs=Costs(
            images=images // chunks,
            reads=requests["GET"] + requests["HEAD"],
            writes=requests["PUT"] + requests["POST"],
            bytes_moved=(sizes["input"] + sizes["index"] + sizes["results"]) / chunks,
            **{name: found.pop(name) / chunks for name in list(found) if name.endswith("seconds")},
        ),
        redis_commands=found["commands"] / chunks,
        redis_bytes=found["redis bytes"] / chunks,
        stored_bytes={name: size / images for name, size in sizes.items()},
        store_requests=requests,
        machine=at_start,
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


def _store_requests(s3: Bucket, archive: Path, images: int) -> dict[str, float]:
    """Requests a chunk by method, from when the job was accepted until it had ended."""
    variables = {**s3.variables, "GLYPHQ_STORE_URL": "s3://scans/bench"}
    with embedded_service(workers=CORES, environment=variables) as service, Client(service.url) as client:
        job = client.submit(archive)
        s3.requests.clear()
        client.wait(job.id)
        asked = Counter(line.split()[0] for line in list(s3.requests) if job.id in line and line)
    chunks = -(-images // Settings().chunk_images)
    return {method: asked[method] / chunks for method in ("GET", "HEAD", "PUT", "POST")}


# What is reckoned.


def _many(costs: Costs, place: Place, jobs: int = 3) -> Outcome:
    """Twice as many owners as workers, each with one job after the other."""
    return simulate(costs, place, clients=2 * place.workers, chunks=JOB_CHUNKS, jobs=jobs)


def _steps(costs: Costs, workers: int) -> Iterator[tuple[str, Outcome]]:
    """From what is there unless something is said, each step with those before it."""
    place = replace(ELSEWHERE, workers=workers)
    one_job = max(2000, 20 * workers)
    yield "one job", simulate(costs, place, clients=1, chunks=one_job, jobs=1)
    wide = replace(place, window=4 * workers, owner_window=4 * workers)
    yield f"one job, windows of {wide.window:,} chunks", simulate(costs, wide, clients=1, chunks=one_job, jobs=1)
    yield "many owners", _many(costs, place)
    twice = replace(place, workers=2 * workers, cores=workers)
    yield "... two processes a core", _many(costs, twice, jobs=2)
    enough = _api_processes(costs, workers)
    if enough > 1:
        yield f"... {enough} API processes", _many(costs, replace(twice, api_processes=enough), jobs=2)


def _api_processes(costs: Costs, workers: int) -> int:
    a_chunk = costs.upload_seconds + costs.following_seconds + costs.results_seconds
    return int(1.25 * workers * a_chunk / costs.worker_seconds) + 1


# How it is told.


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _measured_table(measured: Measured) -> str:
    costs = measured.costs
    in_stages = [(step, f"{microseconds:.2f} us an image") for step, microseconds in measured.stages.items()]
    by_part = [
        (what, f"{seconds * 1e3:.2f} ms a chunk, {seconds * 1e6 / costs.images:.2f} us an image")
        for what, seconds in (
            ("a worker process, all of it", costs.worker_seconds),
            ("Redis", costs.redis_seconds),
            ("the API, taking the upload in", costs.upload_seconds),
            ("the API, while it is worked on", costs.following_seconds),
            ("the API, sending the CSV", costs.results_seconds),
        )
    ]
    requests = ", ".join(f"{method} {count:.2f}" for method, count in measured.store_requests.items())
    in_store = ", ".join(f"{name} {size:.0f}" for name, size in measured.stored_bytes.items())
    other = [
        ("through Redis", f"{measured.redis_commands:.1f} commands, {measured.redis_bytes:,.0f} bytes a chunk"),
        ("requests to the store while it is worked on", f"{requests} a chunk"),
        ("bytes of an image", in_store),
        *(
            (f"{processes} worker processes", f"{told(rate, ',.0f')} images/s, zip on disk to CSV on disk")
            for processes, rate in measured.rates.items()
        ),
    ]
    names = ("machine", "versions")
    facts = [(n, ", ".join(f"{key} {value}" for key, value in getattr(measured, n).items())) for n in names]
    return _rows(["", f"chunks of {costs.images:,} PNG of 28x28"], [*in_stages, *by_part, *other, *facts])


def _checked_table(measured: Measured, images: int) -> str:
    rows = []
    for processes, rate in measured.rates.items():
        place = Place(processes, cores=CORES, one_machine=True)
        reckoned = simulate(
            measured.costs, place, clients=1, chunks=images // measured.costs.images, jobs=1
        ).images_per_second
        off = reckoned / rate["median"] - 1
        rows.append([str(processes), told(rate, ",.0f"), f"{reckoned:,.0f}", f"{off:+.0%}"])
    return _rows(["worker processes", "measured, images/s", "simulated", "off by"], rows)


def _reckoned_table(costs: Costs, status: Callable[[str], object]) -> str:
    rows = []
    for workers in WORKERS:
        bare = workers * costs.images / costs.worker_seconds
        for what, outcome in _steps(costs, workers):
            status(f"{workers:,} workers: {what}")
            busiest = f"{outcome.saturated} {outcome.busy[outcome.saturated]:.0%}"
            rate = outcome.images_per_second
            rows.append([f"{workers:,}", what, f"{rate:,.0f}", f"{rate / bare:.0%}", busiest])
    return _rows(["cores for workers", "", "images/s", "of what the cores could", "busiest part"], rows)


def _draw(costs: Costs, target: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    bare = costs.images / costs.worker_seconds
    one = [
        simulate(costs, replace(ELSEWHERE, workers=n), clients=1, chunks=max(400, 5 * n), jobs=1).images_per_second
        for n in CURVE
    ]
    many = [_many(costs, replace(ELSEWHERE, workers=2 * n, cores=n), 1).images_per_second for n in CURVE]
    more = [
        _many(costs, replace(ELSEWHERE, workers=2 * n, cores=n, api_processes=_api_processes(costs, n)), 1)
        .images_per_second
        for n in CURVE
    ]  # fmt: skip
    axes.loglog(CURVE, [n * bare for n in CURVE], ":", color="gray", label="what the cores could")
    axes.loglog(CURVE, more, "o-", label="many owners, enough API processes")
    axes.loglog(CURVE, many, "s-", label="many owners, one API process")
    axes.loglog(CURVE, one, "^-", label="one job, windows as they are")
    a_chunk = costs.upload_seconds + costs.following_seconds + costs.results_seconds
    limits = {
        "one API process": costs.images / a_chunk,
        "Redis": costs.images / costs.redis_seconds,
        "reads of one prefix": costs.images * ELSEWHERE.store_reads_per_second / costs.reads,
    }
    for name, rate in limits.items():
        axes.axhline(rate, color="black", linewidth=0.6)
        axes.text(1, rate * 1.08, name, fontsize=8)
    axes.set(xlabel="cores for workers", ylabel="images a second, simulated")
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    try:
        typer.run(main)
    except GlyphqError as error:
        sys.exit(f"error: {error.detail}")
