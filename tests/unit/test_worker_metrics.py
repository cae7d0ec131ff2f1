"""What a worker process tells of itself while a batch is under way, and whom the worker tells it."""

import socket
from pathlib import Path

import pytest

from glyphq.jobs import Lane
from glyphq.metrics import REGISTRY
from glyphq.settings import Settings
from tests.faults.stack import free_port
from worker import exposition
from worker.metrics import Stages


def busy() -> tuple[float, ...]:
    return tuple(REGISTRY.get_sample_value("glyphq_busy_processes", {"lane": lane}) or 0 for lane in Lane)


def test_a_process_is_busy_in_one_lane_at_a_time_and_told_so_before_the_batch_is_through() -> None:
    assert busy() == (0, 0)
    chunk = Stages(Lane.BULK)
    with chunk.timed("decode"), chunk.timed("read"):
        [during] = [lane for lane, count in zip(Lane, busy(), strict=True) if count]
        assert during is Lane.BULK
        with chunk.interrupted(), Stages(Lane.INTERACTIVE).timed("claim"):
            [during] = [lane for lane, count in zip(Lane, busy(), strict=True) if count]
            assert during is Lane.INTERACTIVE
        assert sum(busy()) == 1
    assert busy() == (0, 0)


def test_whoever_connects_and_asks_nothing_is_let_go_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exposition._Scrape, "timeout", 0.05)
    address = "127.0.0.1", free_port()
    exposition.serve_metrics(Settings(metrics_host=address[0], metrics_port=address[1]), tmp_path)
    for begin in (b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: "):
        with socket.create_connection(address, 5) as stranger:
            stranger.sendall(begin)
            assert stranger.recv(1) == b""
    assert capfd.readouterr() == ("", "")
