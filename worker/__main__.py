"""`python -m worker [--concurrency N] [--beat FILE]`: check the model, then become a Celery worker for both queues."""

import argparse
import logging
import os
import sys
import tempfile
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path

# One thread a process, for a core holds one process. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from glyphq.broker import create_celery
from glyphq.errors import GlyphqError
from glyphq.logs import set_up_logging
from glyphq.progress import BULK_QUEUE, INTERACTIVE_QUEUE
from glyphq.settings import Settings
from glyphq.vision.checkpoint import SHIPPED, read_weights

_MOST_SAID = 4096  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument(
        "--concurrency", type=int, default=len(os.sched_getaffinity(0)), help="worker processes; one a core"
    )
    parser.add_argument(
        "--beat", type=Path, metavar="FILE", help="written once a second, for `python -m worker.health`"
    )
    arguments = parser.parse_args()
    settings = Settings()
    set_up_logging(settings.log_format)
    logging.getLogger("celery").setLevel(logging.WARNING)  # it has two lines for each task
    # It warns root, for fear of pickled messages; these are JSON alone.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    try:  # before anything is forked, and without torch, which must not run in a process that forks
        read_weights(settings.model or SHIPPED)
    except GlyphqError as error:
        sys.exit(f"error: {error.detail}")
    with ExitStack() as stack:
        if settings.metrics_port:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="glyphq-metrics-"))
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # prometheus_client looks for it once, when it is imported
            from worker.exposition import serve_metrics

            serve_metrics(settings, Path(folder))
        _work(settings, arguments.concurrency, arguments.beat)


def _work(settings: Settings, concurrency: int, beat: Path | None) -> None:
    """Until told to end. Exits with an error where a process could not start."""
    from worker.consumer import beat_into
    from worker.tasks import register

    app = create_celery(settings)
    failures, failing = os.pipe()  # from the processes that will be forked
    os.set_blocking(failures, False)
    register(app, settings, lambda why: os.write(failing, f"{why}\n".encode()))
    if beat:
        beat_into(beat, app)
    options = ["--pool=prefork", f"--concurrency={concurrency}", f"--queues={INTERACTIVE_QUEUE},{BULK_QUEUE}"]
    app.worker_main(
        [
            "--quiet",
            "worker",
            *options,
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=INFO",
        ]
    )
    with suppress(BlockingIOError):  # there is none
        sys.exit(f"error: {os.read(failures, _MOST_SAID).decode(errors='replace').splitlines()[0]}")


if __name__ == "__main__":
    main()
