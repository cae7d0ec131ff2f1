"""What a running service takes: memory of each process, bytes through Redis; and what a durable write costs here."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
from redis import Redis

from glyphq.embedded import EmbeddedService

_WRITES = 200
_WRITTEN_BYTES = 4096
MIB = 1 << 20


def durable_write_ms(folder: Path) -> dict[str, float]:
    """A small file and its folder fsynced, one after the other, as one would by hand: median and 99th percentile."""
    taken = []
    with tempfile.TemporaryDirectory(dir=folder) as name:
        for number in range(_WRITES):
            started = time.perf_counter()
            for path, flags in ((f"{name}/{number}", os.O_CREAT | os.O_WRONLY), (name, os.O_RDONLY)):
                descriptor = os.open(path, flags)
                if flags != os.O_RDONLY:
                    os.write(descriptor, bytes(_WRITTEN_BYTES))
                os.fsync(descriptor)
                os.close(descriptor)
            taken.append((time.perf_counter() - started) * 1e3)
    return {"p50": float(np.median(taken)), "p99": float(np.percentile(taken, 99))}


def peak_mib(service: EmbeddedService) -> dict[str, float]:
    """Of the API, of Redis and of the largest worker process: the most memory that was resident since its start."""
    parent = service.children["worker"].pid
    found = {name: _peak_mib(service.children[name].pid) for name in ("api", "redis")}
    return {**found, "worker process": max(_peak_mib(pid) for pid in (parent, *_children(parent)))}


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _peak_mib(pid: int) -> float:
    """Linux counts it, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def redis_bytes(service: EmbeddedService) -> Iterator[list[int]]:
    """A list that has, afterwards, the bytes that went to and from Redis meanwhile."""
    total: list[int] = []
    with Redis.from_url(service.redis_url) as redis:
        before = _traffic(redis)
        yield total
        total.append(_traffic(redis) - before)


def _traffic(redis: Redis) -> int:
    stats = cast("dict[str, int]", redis.info("stats"))
    return stats["total_net_input_bytes"] + stats["total_net_output_bytes"]
