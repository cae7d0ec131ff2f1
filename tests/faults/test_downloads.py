"""Results that are read slowly, and downloads that break in the middle."""

import socket
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from glyphq import samples
from glyphq.client import Client
from glyphq.errors import ServiceUnreachable
from tests.faults.conftest import Batch
from tests.faults.stack import PATIENCE_SECONDS, Stack, resident_mib

SCANS = 60_000
MIB = 1 << 20


def _forwarded(source: socket.socket, sink: socket.socket, limit: int) -> None:
    """At most so many bytes; then the connection is broken."""
    with suppress(OSError):
        while limit > 0 and (data := source.recv(min(65536, limit))):
            sink.sendall(data)
            limit -= len(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _connected(client: socket.socket, target: tuple[str, int], after: int) -> None:
    with client, socket.create_connection(target) as server:
        requests = threading.Thread(target=_forwarded, args=(client, server, sys.maxsize))
        requests.start()
        _forwarded(server, client, after)
        requests.join()


@contextmanager
def breaking_proxy(url: str, after: int) -> Iterator[str]:
    """The address of a proxy that breaks each connection when so many bytes of answers have passed it."""
    target = httpx.URL(url).host, httpx.URL(url).port or 80
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=_connected, args=(listener.accept()[0], target, after)).start()

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            serving.join()


@pytest.mark.parametrize("format", ["csv", "ndjson"])
def test_a_download_that_breaks_goes_on_with_the_next_row(running: Stack, client: Client, batch: Batch, format) -> None:
    job = client.submit(batch.archive)
    batch.is_kept(client, job.id)
    whole = client.results(job.id, format)
    with breaking_proxy(running.url, after=len(whole) // 3) as url, Client(url) as unlucky:
        assert unlucky.results(job.id, format) == whole


def test_rows_come_once_each_over_connections_that_break(running: Stack, client: Client, batch: Batch) -> None:
    job = client.submit(batch.archive)
    with breaking_proxy(running.url, after=20_000) as url, Client(url) as unlucky:
        assert [row.row for row in unlucky.follow(job)] == list(range(batch.total))
        doubtful = list(unlucky.rows(job, sort="confidence"))
    assert doubtful == list(client.rows(job, sort="confidence"))
    assert sorted(row.row for row in doubtful) == list(range(batch.total))


def test_what_cannot_be_parted_comes_whole_or_not_at_all(
    running: Stack, client: Client, batch: Batch, tmp_path: Path
) -> None:
    job = client.wait(client.submit(batch.archive))
    for form in ("parquet", "zip"):
        with breaking_proxy(running.url, after=5000) as url, Client(url) as unlucky:
            with pytest.raises(ServiceUnreachable, match="broke within the results"):
                unlucky.download(job, tmp_path / f"rows.{form}")
            assert list(tmp_path.iterdir()) == []


def test_a_slow_reader_takes_no_memory(running: Stack, client: Client, tmp_path: Path) -> None:
    archive = tmp_path / "scans.zip"
    png = next(iter(samples.draw(1, seed=5))).png
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(SCANS):
            file.writestr(f"{number}.png", png)
    job = client.wait(client.submit(archive).id, timeout_seconds=PATIENCE_SECONDS)
    before = resident_mib(running.api.pid)
    slow = []
    try:
        for _ in range(40):
            connection = socket.create_connection(("127.0.0.1", httpx.URL(running.url).port or 0))
            slow.append(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            path = f"/v1/jobs/{job.id}/results?format=ndjson"
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        size = len(client.results(job.id, "ndjson"))
        assert resident_mib(running.api.pid) - before < 40 * size / MIB / 4
    finally:
        for connection in slow:
            connection.close()
    assert client.status(job.id).state == "completed"
