"""Requests of one image each, by so many clients that each have one under way, on connections that are kept alive.

The client is a few lines on a socket: one that does more would compete with the servers for the cores.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
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
    """Of posting `body` so many times. Raises GlyphqError as `post_all` does."""
    started = time.perf_counter()
    answers = post_all(url, [body] * requests, clients, headers)
    seconds = time.perf_counter() - started
    p50, p99 = (float(np.percentile([taken for _, taken in answers], percent)) * 1e3 for percent in (50, 99))
    return Latency(p50, p99, requests / seconds)


def post_all(url: str, bodies: Sequence[bytes], clients: int, headers: Mapping[str, str]) -> list[tuple[bytes, float]]:
    """POST each body; the answers in their order, each with the seconds it took.

    Raises GlyphqError for an answer that is not 200.
    """
    return asyncio.run(_post_all(url, bodies, clients, headers))


async def _post_all(
    url: str, bodies: Sequence[bytes], clients: int, headers: Mapping[str, str]
) -> list[tuple[bytes, float]]:
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    answers = [(b"", 0.0)] * len(bodies)
    following = iter(range(len(bodies)))

    async def client() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for number in following:  # shared: whoever is free takes the next
            started = time.perf_counter()
            writer.write(f"{head}Content-Length: {len(bodies[number])}\r\n\r\n".encode() + bodies[number])
            answers[number] = await _answer(reader), time.perf_counter() - started
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
    content = await reader.readexactly(length)
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise GlyphqError(f"The service answered {head.split(b' ')[1].decode()}: {content[:200]!r}")
    return content
