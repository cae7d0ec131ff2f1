"""Every command of the documentation is run as it stands, page by page, in a folder like a fresh clone.

What builds environments, trains, or asks for other machines is not run again here: `ELSEWHERE` says where it is.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from glyphq import samples
from glyphq.cli.app import app
from glyphq.embedded import EmbeddedService, embedded_service

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    if re.search(r"^```sh$", page.read_text(), re.MULTILINE)
)
WRITTEN_AT = "http://127.0.0.1:8000"
ELSEWHERE = {
    "docker": "tests/compose",
    ".venv/bin/pytest": "this",
    ".venv/bin/ruff": "make check",
}
"""Programs that are not started here, and what does that."""


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def programs(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def runnable(block: str) -> str:
    """The block without what is run elsewhere; of `make`, that the target exists: most take an hour."""
    lines = []
    for line in block.splitlines():
        program = (shlex.split(line, comments=True) or [""])[0]
        if program == "make":
            lines.append(line.replace("make", "make --dry-run --silent", 1) + " > /dev/null")
        elif program not in ELSEWHERE:
            lines.append(line)
    return "\n".join(lines)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    with embedded_service(tmp_path_factory.mktemp("service") / "store", 2) as running:
        yield running


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What is in the repository, the environment that `make` makes, and the scans that `make demo` draws."""
    folder = tmp_path / "glyphq"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / "demo").mkdir()
    samples.write_zip(folder / "demo" / "scans.zip", 200, seed=1)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_do_what_they_are_for(page: Path, clone: Path, service: EmbeddedService) -> None:
    here = clone / "blocks"
    here.mkdir()
    for number, program in enumerate(programs(page)):
        (here / f"{number}.py").write_text(program.replace(WRITTEN_AT, service.url))
    script = "\n".join(map(runnable, blocks(page))).replace(WRITTEN_AT, service.url)
    script += "".join(f"\n.venv/bin/python blocks/{each.name}" for each in sorted(here.iterdir()))
    variables = {**os.environ, "GLYPHQ_SERVER": service.url, "GLYPHQ_STORE_URL": f"file://{service.store}"}
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=clone, env=variables, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


def printed_by(target: str, clone: Path) -> list[str]:
    """The lines that `make TARGET` prints."""
    done = subprocess.run(
        ["make", "--no-print-directory", "--old-file=.venv/service", target],  # the environment stays as it is
        cwd=clone, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout.splitlines()


def test_the_demonstration_prints_what_the_readme_shows(clone: Path) -> None:
    header = "row,filename,label,confidence,label_2,confidence_2,label_3,confidence_3,status,reason,detail"
    assert header in (clone / "README.md").read_text().splitlines()
    assert header in printed_by("demo", clone)


def test_the_demonstration_of_a_crash_ends_with_the_same_table(clone: Path) -> None:
    assert printed_by("demo-crash", clone)[-1] == "the CSV is the same, byte for byte"


def test_the_readmes_in_two_languages_have_the_same_commands() -> None:
    russian = blocks(ROOT / "README.ru.md")
    assert russian
    assert [block for block in blocks(ROOT / "README.md") if block in russian] == russian


def test_each_folder_of_tests_is_named_to_contributors() -> None:
    folders = {f"`{each.parent.relative_to(ROOT)}`" for each in (ROOT / "tests").glob("*/__init__.py")}
    assert [name for name in sorted(folders) if name not in (ROOT / "CONTRIBUTING.md").read_text()] == []


def test_each_verb_is_named_in_the_documentation() -> None:
    table = (ROOT / "docs" / "usage.md").read_text().split("\n## Command line\n")[1]
    named = re.findall(r"`([a-z]+)`", "".join(line.split("|")[1] for line in table.splitlines() if line[:1] == "|"))
    of_app = [(each.name or each.callback.__name__) for each in app.registered_commands]
    assert sorted(named) == sorted([*of_app, *(group.name for group in app.registered_groups)])


def test_links_between_the_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []
