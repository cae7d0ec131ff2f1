"""How long a lone image takes over HTTP, with so many clients that each have one request under way.

The client is a few lines on a socket: one that parses more would compete with the service for the cores.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

from glyphq.errors import GlyphqError


@dataclass(frozen=True)
class Latency:
    """Of requests of one image each: the time to the answer, and how many were answered a second."""

    p50_ms: float
    p99_ms: float
    per_second: float


def latency(url: str, body: bytes, clients: int, requests: int, headers: Mapping[str, str]) -> Latency:
    """POST `body` to `url`, `requests` times in all. Raises GlyphqError for an answer that is not 200."""
    return asyncio.run(_latency(url, body, clients, requests, headers))


async def _latency(url: str, body: bytes, clients: int, requests: int, headers: Mapping[str, str]) -> Latency:
    parts = urlsplit(url)
    lines = {"Host": parts.netloc, "Content-Length": str(len(body)), **headers}
    head = f"POST {parts.path}?{parts.query} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
    request = f"{head}\r\n".encode() + body
    taken: list[float] = []
    left = iter(range(requests))

    async def client() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for _ in left:
            started = time.perf_counter()
            writer.write(request)
            await _answer(reader)
            taken.append(time.perf_counter() - started)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - started
    p50, p99 = (float(np.percentile(taken, percent)) * 1e3 for percent in (50, 99))
    return Latency(p50, p99, requests / seconds)


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
    content = await reader.readexactly(length)
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise GlyphqError(f"The service answered {head.split(b' ')[1].decode()}: {content[:200]!r}")
    return content
