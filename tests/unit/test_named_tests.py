"""The pages that show a promise by a test name tests that exist, and docs/reliability.md leaves out none."""

import re
from pathlib import Path

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
    assert sorted(named("docs/reliability.md")) == sorted(faults)


def test_each_attack_names_a_test_there_is() -> None:
    assert len(named("SECURITY.md")) > 20
    assert set(named("SECURITY.md")) <= {(path.name, test) for path, test in TESTS}
