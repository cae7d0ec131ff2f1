"""What a person sees of an upload and a job: in a terminal, in a notebook, and where nobody looks."""

import io
import sys
from types import ModuleType, SimpleNamespace

import pytest

from glyphq.client.bars import drawn, terminal_bars
from glyphq.records import JobStatus

RUNNING = JobStatus.from_json(
    {
        "id": "0199", "name": None, "kind": "zip", "state": "running", "created_at": None, "ended_at": None,
        "counts": {"total": 4000, "pending": 3000, "classified": 1000, "blank": 0, "rejected": 0, "cancelled": 0},
        "ignored": 0, "progress": 0.25, "rate": 1234.5, "eta_seconds": 2.4, "warnings": ["<They> look inverted."],
    }
)  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a cell shows, in turn: a stand-in for IPython."""
    shown: list[str] = []

    def display(html: str, display_id: bool) -> SimpleNamespace:
        assert display_id
        shown.append(html)
        return SimpleNamespace(update=shown.append)

    shell, page = ModuleType("IPython"), ModuleType("IPython.display")
    vars(shell).update(get_ipython=lambda: SimpleNamespace(kernel=object()))
    vars(page).update(HTML=str, display=display)
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", page)
    return shown


def test_a_terminal_shows_counts_rate_time_left_and_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with terminal_bars() as bars:
        bars.uploading(3 << 20, 6 << 20)
        bars.classifying(RUNNING)
    said = sys.stderr.getvalue()  # type: ignore[attr-defined]
    for words in (
        "Uploading",
        "3.0/6.0 MiB",
        "1,000/4,000, 1,234 images/s, 2 s left",
        "warning: <They> look inverted.",
    ):
        assert words in said


def test_a_notebook_shows_one_line_that_changes(notebook: list[str]) -> None:
    with drawn(wanted=True) as bars:
        assert bars is not None
        bars.uploading(3 << 20, None)
        bars.classifying(RUNNING)
    uploading, classifying = notebook
    assert uploading == "<progress></progress> Uploading 3.0 MiB"
    bar, warning = classifying.split("<br>")
    assert bar == '<progress value="1000" max="4000"></progress> Classifying 1,000/4,000, 1,234 images/s, 2 s left'
    assert warning == "warning: &lt;They&gt; look inverted."


def test_nothing_is_drawn_unless_it_is_wanted_and_can_be_seen(capsys: pytest.CaptureFixture[str]) -> None:
    with drawn(wanted=True) as bars:
        assert bars is None
    with drawn(wanted=False) as bars:
        assert bars is None
    with terminal_bars() as bars:
        bars.classifying(RUNNING)
    assert capsys.readouterr().err == ""
