"""What was measured, where, and how it is told. Knows numbers and machines; runs nothing that is measured."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from redis import Redis
from rich.console import Console
from rich.markup import escape
from rich.table import Table

SIDES = {
    "glyphq": "glyphq, POST to the last byte of the CSV",
    "plain": "plain script, from the zip opened to the CSV closed",
    "plain_with_start": "plain script, the start of its process included",
}


@dataclass(frozen=True)
class Round:
    """The seconds that each of SIDES took in one repetition, and the part of all rows that got the same label."""

    glyphq: float
    plain: float
    plain_with_start: float
    agreement: float


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


def summary(images: int, rounds: Sequence[Round]) -> dict[str, Any]:
    """The numbers of a report: the ratio first, by the shorter of the script's two times; then images a second."""
    seconds = {side: [asdict(r)[side] for r in rounds] for side in SIDES}
    return {
        "ratio": spread([r.plain / r.glyphq for r in rounds]),
        "images_per_second": {side: spread([images / s for s in taken]) for side, taken in seconds.items()},
        "agreement": min(r.agreement for r in rounds),
        "images": images,
        "rounds": [asdict(r) for r in rounds],
    }


def print_report(report: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"glyphq is {told(report['ratio'], '.1f')} times as fast as the plain script", markup=False)
    table = Table("images a second", escape("median [min-max]"))
    for side, rate in report["images_per_second"].items():
        table.add_row(SIDES[side], escape(told(rate, ",.0f")))
    console.print(table)
    console.print(f"{report['images']:,} PNG of 28x28 in one zip, zip on disk to CSV on disk, 2 processes each")
    console.print(f"{len(report['rounds'])} rounds, interleaved; the ratio is of the two times of one round")
    console.print(f"{report['agreement']:.2%} of the labels are equal in the worst round")
    for name in ("engines", "machine", "versions"):
        console.print(f"{name}:", ", ".join(f"{key} {value}" for key, value in report[name].items()))


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def told(spread: dict[str, float], form: str) -> str:
    return f"{spread['median']:{form}} [{spread['min']:{form}}-{spread['max']:{form}}]"
