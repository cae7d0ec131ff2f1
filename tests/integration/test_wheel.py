"""The wheel alone, in an empty environment: few packages, the client and the command line, and no service."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from glyphq import samples
from glyphq.embedded import EmbeddedService

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "numpy", "pyarrow", "opencv-python-headless", "celery", "fastapi", "pillow", "redis"}
PROGRAM = """
import sys
import glyphq
assert "httpx" not in sys.modules
from glyphq import Client
with Client() as client:
    rows = client.classify("scans", top_k=1)
    print(rows.job.summary)
try:
    client.arrow(rows.job)
except glyphq.SetupError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment with the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("wheel")
    _pip(Path(sys.executable), "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    _pip(folder / "venv/bin/python", "install", wheel)
    return folder / "venv"


def _pip(python: Path, *arguments: Path | str) -> None:
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = f"pip does not come to its packages here: {(done.stdout + done.stderr)[-2000:]}"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)


def run(environment: Path, *command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("GLYPHQ_", "PYTHON"))}
    return subprocess.run(
        [environment / "bin" / command[0], *command[1:]],
        cwd=cwd, env={**own, **variables}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_it_brings_few_packages(environment: Path, tmp_path: Path) -> None:
    listed = json.loads(run(environment, "pip", "list", "--format", "json", cwd=tmp_path).stdout)
    names = {package["name"].lower() for package in listed}
    assert {"glyphq", "httpx", "typer"} <= names
    assert names & HEAVY == set()
    assert len(names) < 30, sorted(names)


def test_a_program_talks_to_a_running_service(environment: Path, service: EmbeddedService, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for sample in samples.draw(5, seed=1):
        (tmp_path / "scans" / sample.filename).write_bytes(sample.png)
    done = run(environment, "python", "-c", PROGRAM, cwd=tmp_path, GLYPHQ_SERVER=service.url)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "5 rows: 5 classified, 0 blank, 0 rejected",
        "Arrow tables need the package pyarrow: pip install pyarrow",
    ]


def test_so_does_the_command_line(environment: Path, service: EmbeddedService, tmp_path: Path) -> None:
    samples.write_zip(tmp_path / "scans.zip", 50, seed=1)
    done = run(environment, "glyphq", "classify", "scans.zip", "--server", service.url, "-o", "rows.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rows.csv").read_text().count("\n") == 51
    assert run(environment, "glyphq", "doctor", "--server", service.url, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve",), "The service runs from a checkout of glyphq, not from the wheel"),
        (("classify", "scans.zip"), "The service runs from a checkout of glyphq, not from the wheel"),
        (("keys", "list"), "pip install -e '.[api]'"),
        (("keys", "revoke", "0123456789ab"), "pip install -e '.[api]'"),
        (("inspect", "scans.zip"), "pip install -e '.[worker]'"),
        (("sample", "3", "-o", "drawn.zip"), "pip install -e '.[embedded]'"),
    ],
)
def test_what_it_cannot_do_alone_it_says(
    environment: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "scans.zip").write_bytes(b"PK\x03\x04")
    done = run(environment, "glyphq", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
