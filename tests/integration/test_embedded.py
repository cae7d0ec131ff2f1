"""The embedded service says what is wrong instead of letting people wait."""

import os
import shutil
import signal
import socket
from pathlib import Path

import pytest

from glyphq import embedded
from glyphq.embedded import embedded_service
from glyphq.errors import SetupError
from glyphq.vision.checkpoint import SHIPPED


def test_a_wrong_model_stops_the_start_with_a_clear_message(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(SHIPPED, model)
    with (model / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, os.SEEK_END)
        weights.write(b"\xff")
    with (
        pytest.raises(SetupError, match="are not those of the card beside them"),
        embedded_service(workers=1, environment={"GLYPHQ_MODEL": str(model)}),
    ):
        pass


def test_a_worker_that_can_no_longer_start_ends_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_MOST_DEATHS", 1)
    model = tmp_path / "model"
    shutil.copytree(SHIPPED, model)

    def use_up() -> None:
        with embedded_service(workers=1, environment={"GLYPHQ_MODEL": str(model)}) as service:
            (model / "card.json").unlink()
            os.kill(service.children["worker"].pid, signal.SIGKILL)
            assert service.failed.wait(60)

    with pytest.raises(SetupError, match="The worker process died 2 times in a row"):
        use_up()


def test_a_port_that_is_taken_and_a_store_that_is_in_use_are_said_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=f"127.0.0.1:{port} cannot be bound"), embedded_service(port=port):
            pass
    with (
        embedded_service(tmp_path / "store", workers=1),
        pytest.raises(SetupError, match="Another glyphq service uses the store"),
        embedded_service(tmp_path / "store", workers=1),
    ):
        pass


def test_it_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with embedded_service(workers=1) as service:
        pids = [child.pid for child in service.children.values()]
    assert list(tmp_path.iterdir()) == []
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
