"""`python -m worker.health BEAT_FILE`: whether the worker of this container takes work. Exits 1 and says why if not.

It asks for three things: the process that takes messages is heard from (`worker.consumer`), so is a process that has
the model in memory, and no message stays where it is while nothing is being done.
"""

import argparse
import os
import socket
import sys
import time
from pathlib import Path

from redis import RedisError

from glyphq.progress import BULK_QUEUE, INTERACTIVE_QUEUE, Progress, open_redis

_SILENT_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 2.0  # an idle worker takes a message within milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker.health", description=__doc__)
    parser.add_argument("beat", type=Path, metavar="BEAT_FILE", help="the same as of `python -m worker --beat`")
    # Not by way of glyphq.settings: that takes thrice as long to load as all of this.
    redis = open_redis(os.environ.get("GLYPHQ_REDIS_URL", "redis://127.0.0.1:6379/0"))
    progress = Progress(redis, window=0, owner_window=0, lease_seconds=0)  # it is only asked who and what is there
    try:
        sys.exit(wrong(parser.parse_args().beat, progress))
    except RedisError as error:
        sys.exit(f"Redis: {error}")


def wrong(beat: Path, progress: Progress) -> str | None:
    """What is wrong with this host's worker; None if nothing is. Takes 2 s if it is not obvious. Raises RedisError."""
    if not beat.exists() or time.time() - beat.stat().st_mtime > _SILENT_SECONDS:
        return f"The consumer has not been heard from for {_SILENT_SECONDS:.0f} s."
    if not any(name.startswith(f"{socket.gethostname()}:") for name in progress.workers()):
        return "No process with a model is heard from."
    for queue in INTERACTIVE_QUEUE, BULK_QUEUE:
        message = progress.next_message(queue)
        if message and not _busy(beat):
            time.sleep(_LOOK_AGAIN_SECONDS)  # that nothing happens has no event
            if not _busy(beat) and progress.next_message(queue) == message:
                return f"A message stays in the queue {queue} while nothing is being done."
    return None


def _busy(beat: Path) -> bool:
    return beat.read_text() != "0"  # while it is being written it is empty


if __name__ == "__main__":
    main()
