"""Servers and workers as child processes: started in a group of their own, awaited, ended with all they started."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from glyphq.errors import SetupError

ROOT = Path(__file__).parents[2]
READY_SECONDS = 120.0
_STOP_SECONDS = 20.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def environment_python(name: str) -> Path:
    """The interpreter of the peer's own environment. Raises SetupError when it has not been made."""
    python = ROOT / ".venv-bench" / name / "bin" / "python"
    if not python.exists():
        raise SetupError(f"The environment of {name} has not been made: make bench-peers")
    return python


class StartedPeer:
    """A peer that consists of running processes: what `start` opens is closed when the context ends."""

    def __init__(self, model: Path) -> None:
        self._model = model.resolve()
        self._stack = ExitStack()

    def start(self, stack: ExitStack) -> None:
        """Open on `stack` whatever it takes, and warm it up."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


@contextmanager
def running(
    command: Sequence[str], ready: Callable[[], bool], variables: Mapping[str, str] | None = None
) -> Iterator[None]:
    """The process, from when `ready` is true until the context ends.

    Raises SetupError, with the end of what it wrote, when it dies before or takes too long.
    """
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        ) as process,
    ):
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(max(0, output.tell() - 2000))
                    said = output.read().decode("utf-8", "replace")
                    raise SetupError(f"{' '.join(command)} did not get ready:\n{said}")
                time.sleep(0.05)  # there is no event to await: another program comes up
            yield
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            with suppress(ProcessLookupError):  # what is left of its group
                os.killpg(process.pid, signal.SIGKILL)
