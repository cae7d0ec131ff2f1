"""The client of the HTTP servers, in a process of its own: aiohttp on uvloop, CLIENTS connections that are kept alive.

Each connection posts one image, awaits the answer and posts the next. The client takes about 0.1 ms of CPU a request,
which the servers on the same cores do not have.

    python -m bench.peers.http_load zip URL ZIP CSV [--as-json]                     prints the seconds
    python -m bench.peers.http_load latency URL PNG CLIENTS REQUESTS [--as-json]    prints p50_ms, p99_ms, per_second
"""

import asyncio
import base64
import json
import time
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

import aiohttp
import typer
import uvloop

from bench.peers.table import write_table

CLIENTS = 64

app = typer.Typer()

Answer = dict[str, Any]


@app.command("zip")
def classify(url: str, archive: Path, table: Path, as_json: bool = False) -> None:
    """Post every image of the zip and write the CSV."""
    started = time.perf_counter()
    with zipfile.ZipFile(archive) as file:
        names = file.namelist()
        pngs = [file.read(name) for name in names]
    answers, _ = uvloop.run(_post_all(url, pngs, CLIENTS, as_json))
    write_table(table, names, ((answer["label"], answer["confidence"]) for answer in answers))
    print(time.perf_counter() - started)


@app.command()
def latency(url: str, png: Path, clients: int, requests: int, as_json: bool = False) -> None:
    """Post one image again and again."""
    started = time.perf_counter()
    _, seconds = uvloop.run(_post_all(url, [png.read_bytes()] * requests, clients, as_json))
    whole = time.perf_counter() - started
    cuts = quantiles(seconds, n=100, method="inclusive")
    print(json.dumps({"p50_ms": 1000 * cuts[49], "p99_ms": 1000 * cuts[98], "per_second": requests / whole}))


async def _post_all(url: str, pngs: Sequence[bytes], clients: int, as_json: bool) -> tuple[list[Answer], list[float]]:
    """The answers, in the order of the images, and the seconds that each took."""
    answers: list[Answer] = [{}] * len(pngs)
    seconds = [0.0] * len(pngs)
    following = iter(range(len(pngs)))

    async def client(post: Callable[[bytes], Awaitable[Answer]]) -> None:
        for index in following:  # shared: whoever is free takes the next
            started = time.perf_counter()
            answers[index] = await post(pngs[index])
            seconds[index] = time.perf_counter() - started

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=clients), raise_for_status=True, trust_env=False
    ) as session:

        async def post(png: bytes) -> Answer:
            body = {"json": {"image": base64.b64encode(png).decode()}} if as_json else {"data": png}
            async with session.post(url, **body) as response:
                answer: Answer = await response.json()
                return answer

        await asyncio.gather(*(client(post) for _ in range(clients)))
    return answers, seconds


if __name__ == "__main__":
    app()
