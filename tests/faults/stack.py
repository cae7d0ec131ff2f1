"""The service as separate programs, each of which a test may kill, halt, starve and start again.

Redis listens on TCP here, so that its packets can be lost as well.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx
from redis import Redis

from glyphq.client import Client
from glyphq.embedded import redis_server

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 120.0
PACE = {
    "GLYPHQ_CHUNK_IMAGES": "64",
    "GLYPHQ_WINDOW_CHUNKS": "4",
    "GLYPHQ_LEASE_SECONDS": "2",
    "GLYPHQ_RECONCILE_SECONDS": "0.3",
}
"""Many small chunks, short leases: whatever dies is missed soon."""


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return as soon as the condition holds: of other processes there is no event to wait for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{seconds:.0f} s have passed and still not: {what}")
        time.sleep(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


CAN_LOSE_PACKETS = shutil.which("iptables") is not None and os.geteuid() == 0


@contextmanager
def packets_lost(port: int) -> Iterator[None]:
    """Within, packets to and from the port of this machine vanish, and nobody is told."""
    iptables = str(shutil.which("iptables"))
    rules = [["INPUT", "-i", "lo", "-p", "tcp", side, str(port), "-j", "DROP"] for side in ("--dport", "--sport")]
    with ExitStack() as exits:
        for rule in rules:
            subprocess.run([iptables, "--wait", "--insert", *rule], check=True)
            exits.callback(subprocess.run, [iptables, "--wait", "--delete", *rule], check=True)
        yield


class Program:
    """One program and its children, in a process group of their own."""

    def __init__(self, name: str, command: Sequence[str], variables: Mapping[str, str], output: BinaryIO) -> None:
        self.name, self.command, self.variables, self._output = name, command, dict(variables), output
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.running, f"{self.name} runs already"
        self._process = subprocess.Popen(
            self.command,
            env=self.variables,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            process_group=0,
        )

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        try:
            return [int(pid) for pid in path.read_text().split()]
        except OSError:
            return []

    def signal(self, number: signal.Signals) -> None:
        """Sent to the program and its children at once."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        """kill -9, children and all; returns when they are gone."""
        assert self._process is not None
        family = [self.pid, *self.children()]
        if self.running:
            self.signal(signal.SIGKILL)
        self._process.wait()
        until(lambda: not any(alive(pid) for pid in family), f"{self.name} is dead")

    def terminate(self) -> int:
        """SIGTERM to the program alone, as a supervisor sends it. The exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(PATIENCE_SECONDS)


def state_of(pid: int) -> str:
    """The letter of /proc/PID/stat: R, S, T (stopped), Z (dead, not yet waited for); empty when gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def alive(pid: int) -> bool:
    return state_of(pid) not in ("", "Z")


def resident_mib(pid: int) -> float:
    """The memory that a process has in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@dataclass(frozen=True)
class Faults:
    """Faults inside the programs that were started with `variables`; see `inject/sitecustomize.py`."""

    folder: Path

    @property
    def variables(self) -> dict[str, str]:
        return {
            "PYTHONPATH": f"{Path(__file__).parent / 'inject'}{os.pathsep}{ROOT}",
            "FAULTS": str(self.folder),
        }

    def arm(self, point: str, action: str) -> None:
        """Whichever process comes to the point first does `kill` or `halt` to itself, and no other."""
        aimed = self.folder / f"{point}.aimed"
        aimed.write_text(action)
        aimed.rename(self.folder / point)

    def struck(self, point: str) -> int:
        """Wait for the process that came to the point, and until it is dead or halted; its id."""
        found: list[int] = []

        def was_struck() -> bool:
            found[:] = [int(path.suffix[1:]) for path in self.folder.glob(f"{point}.*[0-9]")]
            return bool(found) and state_of(found[0]) in ("", "Z", "T")

        until(was_struck, f"a process comes to {point}")
        (self.folder / f"{point}.{found[0]}").unlink()
        return found[0]


@dataclass
class Stack:
    """A whole service in one folder."""

    folder: Path
    store: Path
    redis: Program
    api: Program
    worker: Program
    url: str
    redis_url: str
    log: Path
    beat: Path
    faults: Faults

    @property
    def programs(self) -> tuple[Program, ...]:
        return self.redis, self.worker, self.api

    def client(self) -> Client:
        return Client(self.url)

    def redis_client(self) -> Redis:
        return Redis.from_url(self.redis_url, decode_responses=True)

    def start(self) -> None:
        """Start what does not run, and wait until work can be done."""
        for program in self.programs:
            if not program.running:
                program.start()
        until(self.ready, "the service is ready")

    def ready(self) -> bool:
        for program in self.programs:
            assert program.running, f"{program.name} has ended:\n{self.log.read_text()[-3000:]}"
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        for program in self.programs:
            program.kill()

    def arm(self, point: str, action: str) -> None:
        """See `Faults`."""
        self.faults.arm(point, action)

    def struck(self, point: str) -> int:
        """See `Faults`."""
        return self.faults.struck(point)


@contextmanager
def stack(folder: Path, *, store: Path | None = None, variables: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """A service whose three programs have not been started yet; at the end they are killed."""
    faults = Faults(folder / "faults")
    faults.folder.mkdir(parents=True)
    log, beat = folder / "log", folder / "beat"
    port, redis_port = free_port(), free_port()
    redis_url = f"redis://127.0.0.1:{redis_port}/0"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GLYPHQ_")},
        **PACE,
        **(variables or {}),
        **faults.variables,
        "PYTHONUNBUFFERED": "1",
        "GLYPHQ_STORE_URL": f"file://{store or folder / 'store'}",
        "GLYPHQ_REDIS_URL": redis_url,
        "GLYPHQ_PORT": str(port),
    }
    redis_command = [
        redis_server(), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
        "--maxmemory-policy", "noeviction", "--dir", str(folder), "--loglevel", "warning",
    ]  # fmt: skip
    worker_command = [sys.executable, "-m", "worker", "--concurrency", "2", "--beat", str(beat)]
    with ExitStack() as exits:
        output = exits.enter_context(log.open("wb"))
        made = Stack(
            folder,
            store or folder / "store",
            Program("redis", redis_command, environment, output),
            Program("api", [sys.executable, "-m", "api"], environment, output),
            Program("worker", worker_command, environment, output),
            f"http://127.0.0.1:{port}",
            redis_url,
            log,
            beat,
            faults,
        )
        for program in made.programs:
            exits.callback(lambda ended=program: ended.running and ended.kill())
        yield made
