"""Where a worker serves the metrics of its processes: by HTTP, from the parent, which does none of their work.

Each process keeps its values in files of a folder, in prometheus_client's multiprocess mode, and the parent reads them
when it is asked. What processes have counted stays when they end; what is said of living ones goes.

The server's thread is there when processes are forked. It holds nothing that they use: it reads their files.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from glyphq.metrics import build_info
from glyphq.settings import Settings


def serve_metrics(settings: Settings, folder: Path) -> None:
    """From now on, what processes keep in `folder`. Ends this process where the port is taken."""
    registry = CollectorRegistry()
    registry.register(Processes(folder))
    try:
        server, _ = start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:
        sys.exit(
            f"error: metrics cannot be served at {settings.metrics_host}:{settings.metrics_port}: {error.strerror}. "
            "Choose another GLYPHQ_METRICS_PORT; 0 serves none."
        )
    server.RequestHandlerClass = _Scrape
    os.register_at_fork(after_in_child=server.socket.close)  # else a process that outlives this one keeps the port


class _Scrape(WSGIRequestHandler):
    """One connection, which has a thread. The library's own handler would keep it for whoever asks nothing."""

    timeout = 30.0  # seconds

    def handle(self) -> None:
        with suppress(OSError):  # nobody is there who could be answered
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


class Processes(Collector):
    """What all processes of this worker have counted in `folder`, those that have ended too."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ended = folder, 0
        self._values = MultiProcessCollector(None, str(folder))
        self._lock = threading.Lock()  # several may ask at once

    def describe(self) -> Iterator[Metric]:
        """Known when there is something."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            self._fold_ended()
            counted, ended = self._values.collect(), self._ended
        yield build_info()
        yield from counted
        yield CounterMetricFamily(
            "glyphq_worker_processes_ended", "Processes of this worker that have ended.", value=ended
        )

    def _fold_ended(self) -> None:
        """Add up what ended processes have counted: a scrape takes no longer for them."""
        files = list(self._folder.glob("*_[0-9]*.db"))
        for pid in {_pid(file) for file in files}:
            if _lives(pid):
                continue
            mark_process_dead(pid, str(self._folder))
            for file in self._folder.glob(f"*_{pid}.db"):
                _add_to(file.with_name(file.name.replace(str(pid), "ended")), file)
                file.unlink()
            self._ended += 1


def _pid(file: Path) -> int:
    return int(file.stem.rsplit("_", 1)[1])


def _add_to(total: Path, counted: Path) -> None:
    """Counts and sums of one file of values to those of another."""
    values = MmapedDict(str(total))
    for key, value, *_ in MmapedDict.read_all_values_from_file(counted):
        values.write_value(key, values.read_value(key)[0] + value, 0.0)
    values.close()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # its number may be somebody else's by now
        return False
    return True
