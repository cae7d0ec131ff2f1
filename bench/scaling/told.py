"""The measured and the reckoned as tables of Markdown, and as a figure."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.report import told
from bench.scaling.measured import CORES, Measured
from bench.scaling.reckoned import CURVE, ELSEWHERE, WORKERS, api_processes, many_owners, steps
from bench.simulation import Costs, Place, simulate


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def measured_table(measured: Measured) -> str:
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
    in_store = ", ".join(f"{name} {size:.0f}" for name, size in measured.stored_bytes.items())
    other = [
        ("through Redis", f"{measured.redis_commands:.1f} commands, {measured.redis_bytes:,.0f} bytes a chunk"),
        *(
            (
                f"requests to the store, {phase}",
                f"{', '.join(f'{method} {count:.2f}' for method, count in asked.items())} a chunk",
            )
            for phase, asked in measured.store_requests.items()
        ),
        ("bytes of an image", in_store),
        *(
            (f"{processes} worker processes", f"{told(rate, ',.0f')} images/s, zip on disk to CSV on disk")
            for processes, rate in measured.rates.items()
        ),
    ]
    names = ("machine", "versions")
    facts = [(n, ", ".join(f"{key} {value}" for key, value in getattr(measured, n).items())) for n in names]
    return _rows(["", f"chunks of {costs.images:,} PNG of 28x28"], [*in_stages, *by_part, *other, *facts])


def checked_table(measured: Measured) -> str:
    chunks = measured.images // measured.costs.images
    here = Place(1, cores=CORES, one_machine=True)
    checks = [(str(processes), rate, replace(here, workers=processes)) for processes, rate in measured.rates.items()]
    latency = ELSEWHERE.store_latency_seconds
    far_away = replace(here, store_latency_seconds=latency)
    checks.append((f"1, with a store that answers in {latency * 1e3:.0f} ms", measured.rate_far_away, far_away))
    rows = []
    for what, rate, place in checks:
        reckoned = simulate(measured.costs, place, clients=1, chunks=chunks, jobs=1).images_per_second
        rows.append([what, told(rate, ",.0f"), f"{reckoned:,.0f}", f"{reckoned / rate['median'] - 1:+.0%}"])
    return _rows(["worker processes", "measured, images/s", "simulated", "off by"], rows)


def reckoned_table(costs: Costs, status: Callable[[str], object]) -> str:
    rows = []
    for workers in WORKERS:
        bare = workers * costs.images / costs.worker_seconds
        for what, outcome in steps(costs, workers):
            status(f"{workers:,} workers: {what}")
            busiest = f"{outcome.saturated} {outcome.busy[outcome.saturated]:.0%}"
            rate = outcome.images_per_second
            rows.append([f"{workers:,}", what, f"{rate:,.0f}", f"{rate / bare:.0%}", busiest])
    return _rows(["cores for workers", "", "images/s", "of what the cores could", "busiest part"], rows)


def draw(costs: Costs, target: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    bare = costs.images / costs.worker_seconds
    one = [
        simulate(costs, replace(ELSEWHERE, workers=n), clients=1, chunks=max(400, 5 * n), jobs=1).images_per_second
        for n in CURVE
    ]
    many = [many_owners(costs, replace(ELSEWHERE, workers=2 * n, cores=n), 1).images_per_second for n in CURVE]
    more = [
        many_owners(costs, replace(ELSEWHERE, workers=2 * n, cores=n, api_processes=api_processes(costs, n)), 1)
        .images_per_second
        for n in CURVE
    ]  # fmt: skip
    axes.loglog(CURVE, [n * bare for n in CURVE], ":", color="gray", label="what the cores could")
    axes.loglog(CURVE, more, "o-", label="many owners, enough API processes")
    axes.loglog(CURVE, many, "s-", label="many owners, one API process")
    axes.loglog(CURVE, one, "^-", label="one job, windows as they are")
    a_chunk = costs.upload_seconds + costs.following_seconds + costs.results_seconds
    reads = costs.reads + costs.end_reads + costs.rows_reads
    limits = {
        "one API process": costs.images / a_chunk,
        "Redis": costs.images / costs.redis_seconds,
        "reads of one prefix": costs.images * ELSEWHERE.store_reads_per_second / reads,
    }
    for name, rate in limits.items():
        axes.axhline(rate, color="black", linewidth=0.6)
        axes.text(1, rate * 1.08, name, fontsize=8)
    axes.set(xlabel="cores for workers", ylabel="images a second, simulated")
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(target, metadata={"Date": None})
