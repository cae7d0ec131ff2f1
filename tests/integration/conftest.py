"""A whole service of real processes, shared by the tests of this folder."""

import io
import os
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from glyphq import samples
from glyphq.client import Client
from glyphq.embedded import EmbeddedService, embedded_service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    """Redis, two worker processes and the API, with limits low enough to be passed."""
    limits = {
        "GLYPHQ_MAX_UPLOAD_BYTES": "20000000",
        "GLYPHQ_MAX_JSON_BYTES": "1000000",
        "GLYPHQ_MAX_PIXELS": "5000000",
        "GLYPHQ_CHUNK_IMAGES": "256",
        "GLYPHQ_LEASE_SECONDS": "3",
        "GLYPHQ_RECONCILE_SECONDS": "0.5",
    }
    with embedded_service(tmp_path_factory.mktemp("service") / "store", 2, environment=limits) as running:
        yield running


@pytest.fixture
def http(service: EmbeddedService) -> Iterator[httpx.Client]:
    """Bare HTTP to the service."""
    with httpx.Client(base_url=service.url, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def client(service: EmbeddedService) -> Iterator[Client]:
    """The product's own client of the service."""
    with Client(service.url) as client:
        yield client


@pytest.fixture(scope="session")
def scans() -> dict[str, bytes]:
    """Twenty drawn scans: name -> PNG."""
    return {sample.filename: sample.png for sample in samples.draw(20, seed=3)}


def zip_of(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip with these files, in this order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)  # with no clock in it
    return buffer.getvalue()


@contextmanager
def halted(service: EmbeddedService) -> Iterator[None]:
    """Within, no worker does anything."""
    os.killpg(service.children["worker"].pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(service.children["worker"].pid, signal.SIGCONT)
