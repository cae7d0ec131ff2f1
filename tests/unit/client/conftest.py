"""Each test is run with `Client` and with `AsyncClient`, which have to do the same."""

from pathlib import Path

import pytest

from glyphq.client import AsyncClient, Client
from tests.unit.client.service import Service


@pytest.fixture(params=[Client, AsyncClient], autouse=True)
def flavour(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLYPHQ_SERVER", "GLYPHQ_KEY"):
        monkeypatch.delenv(name, raising=False)
    Service.flavour = request.param


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scans" / "page 2").mkdir(parents=True)
    for name in ("b.png", "a.png", "page 2/a.png", "inner.zip"):
        (tmp_path / "scans" / name).write_bytes(f"content of {name}".encode())
    return tmp_path / "scans"
