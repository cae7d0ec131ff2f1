"""Servers that batch requests of one image each, LitServe and mosec, fed by CLIENTS connections.

Both run Pillow and eager float32, a process for every core.
"""

import base64
import io
import json
import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from bench.http_load import Latency, latency, post_all
from bench.peers.processes import StartedPeer, environment_python, free_port, running
from bench.peers.table import write_table
from glyphq.vision.picture import PICTURE_SIZE

CLIENTS = 64
_WARM_UP = 2000


class HttpPeer(StartedPeer):
    """A server in its own environment, started on a free port of this machine, and its client. Each is a subclass."""

    name: str
    environment: str
    path: str
    health: str
    headers: Mapping[str, str] = {"Content-Type": "image/png"}

    def command(self, port: int) -> Sequence[str]:
        """What the environment's Python is started with."""
        raise NotImplementedError

    def start(self, stack: ExitStack) -> None:
        port = free_port()
        self._root = f"http://127.0.0.1:{port}"
        self._address = f"{self._root}{self.path}"
        command = [str(environment_python(self.environment)), *self.command(port)]
        stack.enter_context(running(command, self._is_up, {"BENCH_MODEL": str(self._model)}))
        png = io.BytesIO()
        Image.fromarray(np.zeros((PICTURE_SIZE, PICTURE_SIZE), np.uint8)).save(png, "PNG")
        self.latency(png.getvalue(), CLIENTS, _WARM_UP)

    def request(self, png: bytes) -> bytes:
        """The body that the server takes."""
        return png

    def classify(self, archive: Path, table: Path) -> float:
        started = time.perf_counter()
        with zipfile.ZipFile(archive) as file:
            names = file.namelist()
            bodies = [self.request(file.read(name)) for name in names]
        found = [json.loads(answer) for answer, _ in post_all(self._address, bodies, CLIENTS, self.headers)]
        write_table(table, names, ((answer["label"], answer["confidence"]) for answer in found))
        return time.perf_counter() - started

    def latency(self, png: bytes, clients: int, requests: int) -> Latency:
        """Of `requests` requests of one image each, sent by `clients` clients that each await their answer."""
        return latency(self._address, self.request(png), clients, requests, self.headers)

    def _is_up(self) -> bool:
        try:
            return httpx.get(f"{self._root}{self.health}", trust_env=False).is_success
        except httpx.TransportError:
            return False


class LitServePeer(HttpPeer):
    name = "LitServe, 64 clients"
    environment, path, health = "litserve", "/predict", "/health"
    headers: Mapping[str, str] = {"Content-Type": "application/json"}

    def request(self, png: bytes) -> bytes:
        return json.dumps({"image": base64.b64encode(png).decode()}).encode()

    def command(self, port: int) -> Sequence[str]:
        return ["-m", "bench.peers.litserve_server", str(port), "--model", str(self._model)]


class MosecPeer(HttpPeer):
    name = "mosec, 64 clients"
    environment, path, health = "mosec", "/inference", "/"

    def command(self, port: int) -> Sequence[str]:
        return ["-m", "bench.peers.mosec_server", "--address", "127.0.0.1", "--port", str(port)]
