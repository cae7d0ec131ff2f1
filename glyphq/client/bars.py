"""How far an upload and a job are, drawn for a person: in a terminal, or in a notebook. Knows nothing of requests."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, Protocol

from glyphq.records import JobStatus

LINE_SECONDS = 10.0  # between two lines, where nothing can be drawn
_MIB = 1 << 20
_WORDS_COLUMNS, _BAR_COLUMNS = 70, 40


class Bars(Protocol):
    """Where it is drawn."""

    def uploading(self, sent: int, total: int | None) -> None: ...
    def classifying(self, job: JobStatus) -> None: ...


@contextmanager
def drawn(wanted: bool) -> Iterator[Bars | None]:
    """Bars that are there as long as the block; None where none are wanted, or nobody would see them."""
    notebook = _notebook() if wanted else None
    if notebook is not None:
        yield notebook
    elif wanted and sys.stderr.isatty():
        with terminal_bars() as bars:
            yield bars
    else:
        yield None


@contextmanager
def terminal_bars() -> Iterator[Bars]:
    """On standard error, gone afterwards; now and then a line where that is a file, a pipe, or cannot be drawn on."""
    if not sys.stderr.isatty() or os.environ.get("TERM") in ("dumb", "unknown"):
        yield _Lines()
        return
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Drawing(Progress):
        """The bars, and under them what the job warns of."""

        warnings: tuple[str, ...] = ()

        def get_renderables(self) -> Iterable[RenderableType]:
            yield from super().get_renderables()
            yield from (Text(f"warning: {warning}", style="yellow") for warning in self.warnings)

        def uploading(self, sent: int, total: int | None) -> None:
            self.show("Uploading", sent, total, _upload(sent, total))

        def classifying(self, job: JobStatus) -> None:
            self.warnings = job.warnings
            self.show("Classifying", job.counts.done, job.counts.total, job.so_far)

        def show(self, what: str, done: int, total: int | None, text: str) -> None:
            if not self.tasks or self.tasks[-1].description != what:
                for task in self.task_ids:
                    self.remove_task(task)
                self.add_task(what, total=total, text=text)
            self.update(self.task_ids[-1], completed=done, total=total, text=text)

    console = Console(stderr=True)
    words = TextColumn("{task.description} {task.fields[text]}", table_column=Column(overflow="fold"))  # never cut
    bar_columns = min(_BAR_COLUMNS, console.width - _WORDS_COLUMNS)
    bar = [BarColumn(bar_columns)] if bar_columns > 0 else []
    with Drawing(words, *bar, console=console, transient=True) as bars:
        yield bars


class _Lines:
    """A line every few seconds of a long wait."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def uploading(self, sent: int, total: int | None) -> None:
        self._say(f"Uploading {_upload(sent, total)}")

    def classifying(self, job: JobStatus) -> None:
        if not job.state.ended:
            self._say(f"Classifying {job.so_far}")

    def _say(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said >= LINE_SECONDS:
            self._said = now
            print(text, file=sys.stderr, flush=True)


def _notebook() -> Bars | None:
    """The cell of a notebook that this runs in, if it does."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return _NotebookBars() if shell is not None and hasattr(shell, "kernel") else None


class _NotebookBars:
    """One line of HTML that is replaced by the next."""

    def __init__(self) -> None:
        self._shown: Any = None

    def uploading(self, sent: int, total: int | None) -> None:
        self._show(sent, total, f"Uploading {_upload(sent, total)}", ())

    def classifying(self, job: JobStatus) -> None:
        words = job.summary if job.state.ended else f"Classifying {job.so_far}"
        self._show(job.counts.done, job.counts.total, words, job.warnings)

    def _show(self, done: int, total: int | None, text: str, warnings: tuple[str, ...]) -> None:
        from IPython.display import HTML, display

        value = f' value="{done}" max="{total}"' if total else ""
        lines = [f"<progress{value}></progress> {escape(text)}", *(f"warning: {escape(each)}" for each in warnings)]
        html = HTML("<br>".join(lines))
        if self._shown is None:
            self._shown = display(html, display_id=True)
        else:
            self._shown.update(html)


def _upload(sent: int, total: int | None) -> str:
    return f"{sent / _MIB:,.1f}{f'/{total / _MIB:,.1f}' if total else ''} MiB"
