"""What was measured, where, and how it is told. Knows numbers and machines; runs nothing that is measured."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from redis import Redis
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Spread = Mapping[str, float]


def machine() -> dict[str, Any]:
    """The CPU, its cores, and the load of the last minute: what else ran makes the numbers worse."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    cpu = named[1] if named else platform.machine()
    return {"cpu": cpu, "cores": os.cpu_count(), "load before": round(os.getloadavg()[0], 2)}


def versions(redis_url: str) -> dict[str, str]:
    """Of glyphq the commit, with `-dirty` where the checkout differs from it."""
    with Redis.from_url(redis_url) as redis:
        server: dict[str, str] = redis.info("server")
    name = "valkey" if "valkey_version" in server else "redis"
    packages = {package: version(package) for package in ("torch", "openvino", "celery")}
    python = platform.python_version()
    return {"glyphq": commit(), "python": python, **packages, name: server[f"{name}_version"]}


def commit() -> str:
    command = [shutil.which("git") or "/usr/bin/git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.check_output(command, cwd=Path(__file__).parent, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return "of no known commit"


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def told(spread: Spread, form: str) -> str:
    return f"{spread['median']:{form}} [{spread['min']:{form}}-{spread['max']:{form}}]"


def print_report(report: Mapping[str, Any]) -> None:
    """The sections that were measured, ratios first."""
    console = Console(highlight=False, soft_wrap=True)
    for name in ("throughput", "peers"):
        if name in report:
            _print_comparison(console, report[name])
    if "stages" in report:
        steps = report["stages"]
        table = Table("step, one process", "us an image", title="where the time of a scan of 28x28 goes")
        for step, microseconds in {**steps, "all": sum(steps.values())}.items():
            table.add_row(step, f"{microseconds:.2f}")
        console.print(table)
    if "scale" in report:
        table = Table("scans", "glyphq, images/s", "us an image", title="what is handed in")
        for name, rate in report["scale"].items():
            table.add_row(name, escape(told(rate, ",.0f")), f"{1e6 / rate['median']:,.1f}")
        console.print(table)
    if "latency" in report:
        _print_latency(console, report["latency"])
    for name, what in report.get("footprint", {}).items():
        console.print(f"{name}: {what}", markup=False)
    for name in ("engines", "machine", "versions"):
        console.print(f"{name}:", ", ".join(f"{key} {value}" for key, value in report[name].items()), markup=False)


def _print_comparison(console: Console, compared: Mapping[str, Any]) -> None:
    console.print(f"{compared['images']:,} PNG of 28x28 in one zip, zip on disk to CSV on disk")
    for name, ratio in compared["ratios"].items():
        console.print(f"glyphq is {told(ratio, '.2f')} times as fast as {name}", markup=False)
    for name, share in compared["share_of"].items():
        console.print(f"glyphq does {told(share, '.0%')} of the bare limit: {name}", markup=False)
    table = Table("images a second", escape("median [min-max]"), "same labels")
    for name, rate in compared["per_second"].items():
        table.add_row(name, escape(told(rate, ",.0f")), f"{compared['agreement'][name]:.2%}")
    for name, rate in compared["beside"].items():
        table.add_row(f"bare limit: {name}", escape(told(rate, ",.0f")), "")
    console.print(table)
    console.print(f"{len(compared['rounds'])} rounds, interleaved; each ratio is of two times of one round")


def _print_latency(console: Console, latency: Mapping[str, Any]) -> None:
    table = Table("one image, Prefer: wait", "clients", "p50 ms", "p99 ms", "requests/s")
    for name, at in latency.items():
        for clients, measured in at.items():
            numbers = (f"{measured['p50_ms']:.1f}", f"{measured['p99_ms']:.1f}", f"{measured['per_second']:,.0f}")
            table.add_row(name, clients, *numbers)
    console.print(table)
