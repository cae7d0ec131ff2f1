"""Servers that batch requests of one image each, LitServe and mosec, fed by `http_load` with 64 connections.

Both run Pillow and eager float32, a process for every core.
"""

import io
import json
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import numpy as np
from PIL import Image

from bench.peers import Latency
from bench.peers.processes import ROOT, environment_python, free_port, running
from glyphq.vision.network import PICTURE_SIZE

_WARM_UP = 2000


class HttpPeer:
    """A server in its own environment, started on a free port of this machine, and its client. Each is a subclass."""

    name: str
    environment: str
    path: str
    health: str
    as_json: tuple[str, ...] = ()

    def __init__(self, model: Path) -> None:
        self._model = model.resolve()
        self._stack = ExitStack()

    def command(self, port: int) -> Sequence[str]:
        """What the environment's Python is started with."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._python = str(environment_python(self.environment))
        port = free_port()
        self._root = f"http://127.0.0.1:{port}"
        with ExitStack() as stack:
            command = [self._python, *self.command(port)]
            stack.enter_context(running(command, self._is_up, {"BENCH_MODEL": str(self._model)}))
            png = io.BytesIO()
            Image.fromarray(np.zeros((PICTURE_SIZE, PICTURE_SIZE), np.uint8)).save(png, "PNG")
            self.latency(png.getvalue(), 64, _WARM_UP)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def classify(self, archive: Path, table: Path) -> float:
        return float(self._load("zip", str(archive.resolve()), str(table.resolve())))

    def latency(self, png: bytes, clients: int, requests: int) -> Latency:
        """Of `requests` requests of one image each, sent by `clients` clients that each await their answer."""
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            file.write(png)
            file.flush()
            return Latency(**json.loads(self._load("latency", file.name, str(clients), str(requests))))

    def _load(self, command: str, *arguments: str) -> str:
        """What the client prints."""
        url = f"{self._root}{self.path}"
        client = [self._python, "-m", "bench.peers.http_load", command, url, *arguments, *self.as_json]
        return subprocess.check_output(client, cwd=ROOT, text=True)

    def _is_up(self) -> bool:
        try:
            return httpx.get(f"{self._root}{self.health}", trust_env=False).is_success
        except httpx.TransportError:
            return False


class LitServePeer(HttpPeer):
    name = "LitServe, 64 clients"
    environment, path, health = "litserve", "/predict", "/health"
    as_json = ("--as-json",)

    def command(self, port: int) -> Sequence[str]:
        return ["-m", "bench.peers.litserve_server", str(port), "--model", str(self._model)]


class MosecPeer(HttpPeer):
    name = "mosec, 64 clients"
    environment, path, health = "mosec", "/inference", "/"

    def command(self, port: int) -> Sequence[str]:
        return ["-m", "bench.peers.mosec_server", "--address", "127.0.0.1", "--port", str(port)]
