"""docs/reliability.md names for each fault a test that exists, and leaves out none."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_each_fault_test_is_named_once() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text())
    written = [
        (path.name, test)
        for path in (ROOT / "tests" / "faults").glob("test_*.py")
        for test in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
    ]
    assert sorted(named) == sorted(written)
