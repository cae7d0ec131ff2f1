"""How far an upload and a job are, drawn for a person: in a terminal, or in a notebook. Knows nothing of requests."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, Protocol

from glyphq.records import JobStatus

_MIB = 1 << 20


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
    """On standard error, gone afterwards; nothing where that is no terminal."""
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, Progress, TextColumn
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

    with Drawing(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bars:
        yield bars


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
