"""The command line as a process: its streams, the signals it gets, and what importing it costs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_cli import JOB_ID

ROOT = Path(__file__).parent.parent.parent


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


_INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, even where it is ignored here
class Interrupt:
    @staticmethod
    def find_spec(name, *_):
        if name == "glyphq.cli.app":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt)
from glyphq.cli import main
main(["--version"])
"""
_WITH_A_RUNNING_JOB = """
import os, signal, sys
import httpx
from glyphq.cli import main
from tests.unit.test_cli import FakeService
def terminate(request):
    if request.method == "GET":
        os.kill(os.getpid(), signal.SIGTERM)
main(sys.argv[1:], httpx.MockTransport(FakeService("running", on_request=terminate)))
"""
_RESULTS = """
import sys
from pathlib import Path
from glyphq.cli.words import target_of
with target_of(Path(sys.argv[1])) as file:
    file.write(b"rows\\n")
"""


def test_importing_it_needs_only_the_base_install() -> None:
    heavy = "{'torch', 'cv2', 'PIL', 'fastapi', 'celery', 'pyarrow', 'numpy', 'redis', 'pydantic', 'HersheyFonts'}"
    done = in_a_process("-c", f"import sys, glyphq.cli.app; print(sorted({heavy} & set(sys.modules)))")
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_what_the_shell_has_opened_is_written_on_not_replaced(tmp_path: Path) -> None:
    command = f"{{ echo begin; {sys.executable} -c '{_RESULTS}' /dev/fd/1; echo end; }} > rows.txt"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "rows.txt").read_text().splitlines() == ["begin", "rows", "end"]


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_a_stream_that_is_closed_is_no_fault(closed: str) -> None:
    command = f"{sys.executable} -m glyphq.cli --version {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_has_read_enough_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m glyphq.cli --help | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.stdout.count("\n")) == ("", 1)


def test_nobody_at_the_address_is_one_line_without_a_traceback() -> None:
    done = in_a_process("-m", "glyphq.cli", "cancel", JOB_ID, "--server", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Nobody answers at http://127.0.0.1:1: ")
    assert done.stderr.endswith("Start one with `glyphq serve`, or name one with --server.\n")
    assert done.stderr.count("\n") == 1


def test_ctrl_c_while_it_imports_ends_it_without_a_traceback() -> None:
    done = in_a_process("-c", _INTERRUPTED)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_terminated_while_it_waits_it_says_where_the_job_is_left(tmp_path: Path) -> None:
    (tmp_path / "scans.zip").write_bytes(b"PK\x03\x04")
    rows = tmp_path / "rows.csv"
    arguments = ("classify", tmp_path / "scans.zip", "-o", rows, "--server", "http://service")
    done = in_a_process("-c", _WITH_A_RUNNING_JOB, *map(str, arguments))
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == f"Interrupted. The job goes on: glyphq wait {JOB_ID}\n"
    assert not rows.exists()


def test_an_id_that_cannot_be_printed_is_said_on_standard_error(tmp_path: Path) -> None:
    (tmp_path / "scans.zip").write_bytes(b"PK\x03\x04")
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", _WITH_A_RUNNING_JOB, "submit", tmp_path / "scans.zip"],
            cwd=ROOT, env=buffered, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"The job is {JOB_ID}.\nerror: ")
    assert done.stderr.count("\n") == 2
