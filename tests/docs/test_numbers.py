"""Numbers in the READMEs are what `make bench`, `make evaluate` and `make card` print; the model's page is its card."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.report import print_report
from glyphq.vision.checkpoint import read_card
from training.card import page
from training.evaluate import TEST_SET
from training.report import print_table

ROOT = Path(__file__).parent.parent.parent
CARD = read_card()
BENCH: dict[str, Any] = json.loads((ROOT / "bench" / "results" / "latest.json").read_text())
EXACT = re.compile(r"\d[\d,]*\.\d+|\d{1,3}(?:,\d{3})+")  # not rounded to a small whole number


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What each command prints, without the lines of tables."""
    monkeypatch.setenv("COLUMNS", "80")
    measured = CARD.fields["measured"][TEST_SET]
    said = {}
    print_report(BENCH)
    said["make bench"] = plain(capsys.readouterr().out)
    print_table(CARD, SimpleNamespace(sample=SimpleNamespace(name=TEST_SET), measured=measured, engine="any"))
    said["make evaluate"] = plain(capsys.readouterr().out)
    return said


def plain(text: str) -> str:
    """Each line with single spaces and no frames."""
    return "\n".join(" ".join(re.sub(r"[\u2500-\u257f]", " ", line).split()) for line in text.splitlines())


def section(name: str, title: str) -> str:
    return (ROOT / name).read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("command", ["make evaluate", "make bench"])
def test_an_excerpt_of_a_command_has_its_lines(printed: dict[str, str], command: str) -> None:
    told = section("README.md", "How well, how fast").split(f"`{command}")[1]
    excerpt = plain(told.split("```text\n")[1].split("\n```")[0]).splitlines()
    assert len(excerpt) > 10
    assert [line for line in excerpt if line not in printed[command].splitlines()] == []


@pytest.mark.parametrize(
    ("name", "title"), [("README.md", "How well, how fast"), ("README.ru.md", "Точность и скорость")]
)
def test_an_exact_number_is_one_that_a_command_has_printed(printed: dict[str, str], name: str, title: str) -> None:
    told = section(name, title)
    if name == "README.ru.md":
        told = re.sub(r"(?<=\d),(?=\d)", ".", told)
    published = (ROOT / "training" / "recipes" / "published.toml").read_text()
    data = CARD.fields["data"]
    images = f"{data['trained_on'] + data['held_out']:,}"
    known = set(EXACT.findall("\n".join([*printed.values(), page(CARD), published, images])))
    assert sorted(set(EXACT.findall(told)) - known) == []


def test_a_number_that_is_rounded_in_a_sentence_is_that_of_the_bench() -> None:
    at = BENCH["latency"]
    idle, beside = at["glyphq, idle"], at["glyphq, beside jobs of 100,000 PNG of 28x28"]
    lit, mosec = at["LitServe, 64 clients"], at["mosec, 64 clients"]
    steps = BENCH["stages"]
    told = " ".join(section("README.md", "How well, how fast").split())
    assert (
        f"a lone image in {idle['1']['p50_ms']:.1f} ms (p50, one client), in {beside['1']['p50_ms']:.0f} beside jobs "
        f"of 100,000, where LitServe took {lit['1']['p50_ms']:.1f}; 64 clients got {idle['64']['per_second']:.0f} "
        f"answers a second, where LitServe gave {lit['64']['per_second']:.0f} and mosec "
        f"{mosec['64']['per_second']:,.0f}"
    ) in told
    assert f"Of {sum(steps.values()):.0f} us that a scan takes a process, {steps['forward']:.0f} are" in told


def test_the_page_of_the_model_is_what_its_card_says() -> None:
    assert (ROOT / "docs" / "model-card.md").read_text() == page(CARD)
