"""Faults inside the programs under test: every Python process of theirs loads this when it starts.

A point, such as `worker-result`, is armed by a file of its name in the folder FAULTS, which says `kill` or `halt`. The
first process that has just done what the point is named after (for `worker-decode`: is about to) takes the file, by
renaming it to POINT.PID, and does that to itself. Without FAULTS this does nothing.
"""

import faulthandler
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = b"glyphq-fault:"
"""In an image: what its decoder does."""


def _install(folder: Path) -> None:
    program = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv else ""
    if program in ("api", "worker"):
        _install_points(folder, program)
        _record_syncs(folder)
    if program in ("worker", "glyphq.vision.isolated"):
        _install_decoder(folder)


def _install_points(folder: Path, program: str) -> None:
    from glyphq.dispatch import Dispatcher
    from glyphq.ledger import Ledger

    for owner, method, point in (
        (Ledger, "accept", "record"),
        (Ledger, "accept_together", "record"),
        (Ledger, "put_result", "result"),
        (Ledger, "_create_end", "end"),
        (Dispatcher, "restore", "restore"),
    ):
        setattr(owner, method, _struck_after(folder, f"{program}-{point}", getattr(owner, method)))


def _struck_after(folder: Path, point: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **options: Any) -> Any:
        answer = function(*arguments, **options)
        _strike(folder, point)
        return answer

    return wrapped


def _strike(folder: Path, point: str) -> None:
    taken = folder / f"{point}.{os.getpid()}"
    try:
        (folder / point).rename(taken)
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL if taken.read_text() == "kill" else signal.SIGSTOP)


def _install_decoder(folder: Path) -> None:
    from glyphq.vision import decode as module
    from glyphq.vision.isolated import IsolatedDecoder

    decode = module.decode
    defaults = IsolatedDecoder.__init__.__kwdefaults__
    assert defaults is not None
    defaults.update(timeout_seconds=2.0, memory_bytes=1 << 30)

    def faulty(data: bytes, *arguments: Any) -> Any:
        _strike(folder, "worker-decode")
        start = data.find(MARK)
        if start >= 0:
            name = data[start + len(MARK) :].split(b".")[0]
            if name in _FAULTS:
                _FAULTS[name]()
        return decode(data, *arguments)

    module.decode = faulty


def _bloat() -> None:
    """Takes 2 GiB. Where that is within the limits the process ends as the kernel's killer would end it."""
    taken = [b"\1" * (1 << 20) for _ in range(2048)]
    assert taken
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    if "glyphq.vision.isolated" not in sys.orig_argv:
        faulthandler.dump_traceback_later(2, exit=True)  # the worker's own watchdog, hurried
    while True:
        pass


_FAULTS: dict[bytes, Callable[[], None]] = {b"crash": os.abort, b"hang": _hang, b"bloat": _bloat}


def _record_syncs(folder: Path) -> None:
    """What is durable, and since when at the latest: inodes of files, and entries of folders."""
    from glyphq import local_blobs

    sync = local_blobs._fsync
    log = os.open(folder / "synced.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def recording(path: Path) -> None:
        began, inode = time.monotonic_ns(), path.stat().st_ino
        entries = {entry.name: entry.inode() for entry in os.scandir(path)} if path.is_dir() else None
        sync(path)
        os.write(log, json.dumps([began, inode, entries]).encode() + b"\n")

    local_blobs._fsync = recording


if "FAULTS" in os.environ:
    _install(Path(os.environ["FAULTS"]))
