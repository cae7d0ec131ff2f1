"""Decode and normalize in a child process with limits, for bytes that may kill. Knows processes; nothing of jobs.

Only the child imports cv2 and Pillow, so a process that must not may hold an IsolatedDecoder.

The child is this module run by a fresh interpreter (Celery's workers are daemonic and may not have multiprocessing's
children). It has a limit on memory and, for each image, on processor time; the parent limits the time on the clock.
It is a guard against crashes and hangs, not a sandbox.

On the pipes, little-endian: the child says one byte when it is ready; a request is a byte for the polarity and four for
the length, then the image; an answer is a byte for its kind and four for the length, then 784 pixels, nothing, or JSON.
"""

import json
import math
import os
import resource
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, BinaryIO, Self, cast

import numpy as np
from numpy.typing import NDArray

from glyphq.errors import SetupError
from glyphq.jobs import Invert, Reason, Rejection
from glyphq.vision.picture import PICTURE_SIZE

Gray = NDArray[np.uint8]
Answer = Gray | None | Rejection
Wait = Callable[[int, int], None]  # for an event of a pipe; raises _ChildDied when it takes too long

COMMAND = (sys.executable, "-m", "glyphq.vision.isolated")
_START_SECONDS = 60.0  # an interpreter with numpy, cv2 and Pillow takes 0.3 s on an idle machine
_PULSE_SECONDS = 1.0
_ATTEMPTS = 2
_HEADER = struct.Struct("<BI")
_POLARITIES = (Invert.AUTO, Invert.YES, Invert.NO)
_READY = b"!"
_PICTURE, _BLANK, _REJECTED = range(3)


class _ChildDied(Exception):
    """Raised when the child has ended, or does not answer in time. What `pulse` raises is something else."""


class IsolatedDecoder:
    """A context manager around one child, started at the first image and again after each death."""

    def __init__(
        self,
        max_pixels: int,
        *,
        memory_bytes: int = 3 << 30,
        timeout_seconds: float = 30.0,
        command: Sequence[str] = COMMAND,
        pulse: Callable[[], None] = lambda: None,
    ) -> None:
        """`command` starts a program that calls `serve` with the arguments added to it; `pulse` is called every second
        while an image takes long."""
        cpu_seconds = math.ceil(timeout_seconds)
        self._command = [*command, str(max_pixels), str(memory_bytes), str(cpu_seconds)]
        self._timeout_seconds = timeout_seconds
        self._pulse = pulse
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def picture(self, data: bytes, invert: Invert = Invert.AUTO) -> Answer:
        """What `decode` and `normalize` make of the image: uint8[28, 28], None for a blank, or a Rejection.

        An image on which the child dies or hangs is tried once more in a fresh child, so one kill from outside costs
        no row. Raises SetupError when no child can be started.
        """
        for _ in range(_ATTEMPTS):
            child = self._running()
            try:
                return _asked(child, data, invert, self._until(self._timeout_seconds))
            except _ChildDied:
                self._end()
        return Rejection.of(Reason.DECODER_CRASHED)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._end()
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        child = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0
        )
        self._child = child
        try:
            _received(child, len(_READY), self._until(_START_SECONDS))
        except _ChildDied as error:
            self._end()
            raise SetupError(
                f"The isolated decoder does not start ({' '.join(self._command)}): exit status {child.returncode}."
            ) from error
        return child

    def _until(self, seconds: float) -> Wait:
        return partial(_await, deadline=time.monotonic() + seconds, pulse=self._pulse)

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def _asked(child: subprocess.Popen[bytes], data: bytes, invert: Invert, wait: Wait) -> Answer:
    """Raises _ChildDied when the child dies or takes too long."""
    _send(child, _HEADER.pack(_POLARITIES.index(invert), len(data)) + data, wait)
    kind, length = _HEADER.unpack(_received(child, _HEADER.size, wait))
    content = _received(child, length, wait)
    if kind == _PICTURE:
        return np.frombuffer(content, np.uint8).reshape(PICTURE_SIZE, PICTURE_SIZE)
    if kind == _BLANK:
        return None
    reason, detail = json.loads(content)
    return Rejection(Reason(reason), detail)


def _send(child: subprocess.Popen[bytes], message: bytes, wait: Wait) -> None:
    pipe = cast("IO[bytes]", child.stdin).fileno()
    os.set_blocking(pipe, False)  # or a write larger than the pipe would wait for a child that hangs
    rest = memoryview(message)
    while rest:
        wait(pipe, select.POLLOUT)
        try:
            rest = rest[os.write(pipe, rest) :]
        except OSError as error:
            raise _ChildDied from error


def _received(child: subprocess.Popen[bytes], length: int, wait: Wait) -> bytes:
    pipe = cast("IO[bytes]", child.stdout).fileno()
    content = b""
    while len(content) < length:
        wait(pipe, select.POLLIN)
        part = os.read(pipe, length - len(content))
        if not part:
            raise _ChildDied
        content += part
    return content


def _await(pipe: int, event: int, deadline: float, pulse: Callable[[], None]) -> None:
    poll = select.poll()  # unlike select() it takes descriptors over 1023
    poll.register(pipe, event)
    while not poll.poll(min(max(0.0, deadline - time.monotonic()), _PULSE_SECONDS) * 1000):
        if time.monotonic() >= deadline:
            raise _ChildDied
        pulse()


def serve(arguments: Sequence[str], read: Callable[[bytes, int], Gray | Rejection] | None = None) -> None:
    """The child: answer requests on standard input until it closes.

    `arguments` end with the limits that IsolatedDecoder adds; `read` takes the place of `decode` where tests need a
    child that dies.
    """
    from glyphq.vision.decode import decode, prepare_process
    from glyphq.vision.normalize import normalize

    max_pixels, memory_bytes, cpu_seconds = (int(argument) for argument in arguments[-3:])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    prepare_process()
    requests = sys.stdin.buffer
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not look like an answer
        answers.write(_READY)
        answers.flush()
        while header := requests.read(_HEADER.size):
            polarity, length = _HEADER.unpack(header)
            _allow_cpu(cpu_seconds)
            decoded = (read or decode)(requests.read(length), max_pixels)
            answer = decoded if isinstance(decoded, Rejection) else normalize(decoded, _POLARITIES[polarity])
            _reply(answers, answer)


def _allow_cpu(seconds: int) -> None:
    """From now on; past it the kernel ends the process with SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + seconds, hard))


def _reply(answers: BinaryIO, answer: Answer) -> None:
    if answer is None:
        kind, content = _BLANK, b""
    elif isinstance(answer, Rejection):
        kind, content = _REJECTED, json.dumps((answer.reason, answer.detail)).encode()
    else:
        kind, content = _PICTURE, answer.tobytes()
    answers.write(_HEADER.pack(kind, len(content)) + content)
    answers.flush()


if __name__ == "__main__":
    serve(sys.argv[1:])
