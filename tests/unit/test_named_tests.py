"""The pages that show a promise by a test name tests that exist, and docs/reliability.md leaves out none."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TESTS = [
    (path, test)
    for path in (ROOT / "tests").rglob("test_*.py")
    for test in re.findall(r"^ *def (test_\w+)\(", path.read_text(), re.MULTILINE)
]


def named(page: str) -> list[tuple[str, str]]:
    return re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / page).read_text())


def test_each_fault_test_is_named_once() -> None:
    faults = [(path.name, test) for path, test in TESTS if path.parent.name == "faults"]
    assert sorted(name for name in named("docs/reliability.md") if name in faults) == sorted(faults)


@pytest.mark.parametrize("page", ["docs/reliability.md", "SECURITY.md"])
def test_each_promise_names_a_test_there_is(page: str) -> None:
    assert len(named(page)) > 20
    assert set(named(page)) <= {(path.name, test) for path, test in TESTS}
