"""A few thousand runs of each fuzzing target, always the same ones; `make fuzz` goes on for as long as one likes."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.faults.conftest import cannot_run
from tests.hostile.fuzz import ROOT, TARGETS

RUNS = {"archive": 5000, "image": 2000, "http": 2000, "names": 5000}


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_but_errors_of_the_tree_and_rows_comes_of_made_up_input(target: str) -> None:
    if find_spec("atheris") is None:
        cannot_run("atheris is not installed: it has wheels for Linux on x86-64 alone")
    command = [sys.executable, "-m", "tests.hostile.fuzz", target, "--runs", str(RUNS[target])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
