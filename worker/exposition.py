"""Where a worker serves the metrics of its processes: by HTTP, from the parent, which does none of their work.

Each process keeps its values in files of a folder, in prometheus_client's multiprocess mode, and the parent reads them
when it is asked. Values of processes that have ended stay, but for what is said of living ones.

The server's thread is there when processes are forked. It holds nothing that they use: it reads files.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, Metric
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
    os.register_at_fork(after_in_child=server.socket.close)  # else a process that outlives this one keeps the port


class Processes(Collector):
    """What all processes of this worker have counted in `folder`, those that have ended too."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ended = folder, 0
        self._values = MultiProcessCollector(None, str(folder))

    def describe(self) -> Iterator[Metric]:
        """Known when there is something."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        for file in self._folder.glob("gauge_live*.db"):
            pid = int(file.stem.rsplit("_", 1)[1])
            if not _lives(pid):
                mark_process_dead(pid, str(self._folder))
                self._ended += 1
        yield build_info()
        yield from self._values.collect()
        yield CounterMetricFamily(
            "glyphq_worker_processes_ended", "Processes of this worker that have ended.", value=self._ended
        )


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
