"""Scans followed from the file to the answer, step by step, as one HTML page. Needs the extra `worker`."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from glyphq.archive import index_zip, is_litter
from glyphq.charset_rules import charset_chooser, parse_rules
from glyphq.contents import contents
from glyphq.jobs import Invert, Options, Reason, Rejection
from glyphq.labels import LABELS, charset_classes
from glyphq.settings import Settings, read_settings
from glyphq.sniff import HEAD_BYTES, sniff
from glyphq.vision.checkpoint import SHIPPED, read_card
from glyphq.vision.decode import decode, prepare_process
from glyphq.vision.engine import answers, open_engine
from glyphq.vision.normalize import normalize
from glyphq.vision.picture import PICTURE_SIZE, to_png

Gray = NDArray[np.uint8]
Content = bytes | memoryview | Rejection

TOP_K = 5
_SHOWN_BY_BROWSERS = ("png", "jpeg", "webp", "bmp")
_MOST_SHOWN_BYTES = 1 << 18  # of an original; of a larger one its first step is shown
_SMALL = 84  # pixels, the height at which steps are shown; a smaller picture is enlarged without smoothing


@dataclass(frozen=True)
class Inspected:
    """One scan: what was made of it step by step, and the likeliest characters, or why there are none.

    `scan` is the file as a data URL, where a browser can show it. A blank has neither answers nor a rejection.
    """

    name: str
    scan: str | None
    steps: Sequence[tuple[str, Gray]]
    rejection: Rejection | None
    answers: Sequence[tuple[str, float]] = ()

    @property
    def line(self) -> str:
        """Name, label, confidence, and the second of both."""
        if self.rejection is not None:
            said = f"rejected: {self.rejection.detail}"
        else:
            said = "  ".join(f"{label} {confidence:.3f}" for label, confidence in self.answers[:2]) or "blank"
        return f"{_printable(self.name)}  {said}"

    def as_json(self) -> dict[str, Any]:
        """Name, characters and rejection, as in the rows of a job."""
        return {
            "filename": self.name,
            "top": [{"label": label, "confidence": confidence} for label, confidence in self.answers],
            "reason": self.rejection and self.rejection.reason,
            "detail": self.rejection and self.rejection.detail,
        }


@dataclass(frozen=True)
class Inspection:
    """The scans, whether there are `more` than were asked for, and what answered."""

    scans: Sequence[Inspected]
    more: bool
    model: str
    engine: str


def inspect(paths: Sequence[Path], options: Options, limit: int) -> Inspection:
    """Look at the first `limit` scans of images, folders and zips, with the model and the limits of the settings.

    Every file is a scan, as in a job. Raises InvalidOption, InvalidArchive, ModelError, SetupError, OSError.
    """
    settings = read_settings()
    charset_of = charset_chooser(parse_rules(options.charset_rules), options.charset)
    prepare_process()
    files = _files(paths, settings, options.filename_encoding)
    seen = [_seen(name, content, options.invert, settings.max_pixels) for name, content in islice(files, limit)]
    more = next(files, None) is not None
    folder = settings.model or SHIPPED
    card, engine = read_card(folder), open_engine(settings.engine, folder)
    pictures = [picture for _, picture in seen if picture is not None]
    logits = engine.logits(np.stack(pictures) if pictures else np.empty((0, PICTURE_SIZE, PICTURE_SIZE), np.uint8))
    rows = iter(logits)

    def answered(scan: Inspected) -> Inspected:
        classes = charset_classes(charset_of(scan.name))
        (labels,), (confidences,) = answers(next(rows)[np.newaxis], card.temperature, classes, min(TOP_K, len(classes)))
        return replace(scan, answers=[(LABELS[i], float(c)) for i, c in zip(labels, confidences, strict=True)])

    scans = [scan if picture is None else answered(scan) for scan, picture in seen]
    return Inspection(scans, more, card.digest, engine.name)


def _files(paths: Sequence[Path], settings: Settings, filename_encoding: str) -> Iterator[tuple[str, Content]]:
    """Name and content of each scan, read when its turn comes."""
    for path in paths:
        if path.is_dir():
            for inner in sorted(inner for inner in path.rglob("*") if inner.is_file()):
                if not is_litter(inner.relative_to(path).as_posix()):
                    yield str(inner), _read(inner, settings.max_entry_bytes)
            continue
        with path.open("rb") as file:
            if sniff(file.read(HEAD_BYTES)) != "zip":
                yield str(path), _read(path, settings.max_entry_bytes)
                continue
            for batch in index_zip(file, settings.archive_limits, filename_encoding).batches():
                names = batch.column("name").to_pylist()
                yield from zip(names, contents(batch, partial(_range, file)), strict=True)


def _read(path: Path, max_bytes: int) -> Content:
    size = path.stat().st_size
    if size > max_bytes:
        return Rejection.of(Reason.TOO_MANY_BYTES, f"The file has {size:,} bytes; up to {max_bytes:,} are read.")
    return path.read_bytes()


def _range(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def _seen(name: str, content: Content, invert: Invert, max_pixels: int) -> tuple[Inspected, Gray | None]:
    """A scan that is not answered yet, and the picture for the network."""
    if isinstance(content, Rejection):
        return Inspected(name, None, (), content), None
    decoded = decode(bytes(content), max_pixels)
    if isinstance(decoded, Rejection):
        return Inspected(name, None, (), decoded), None
    steps: list[tuple[str, Gray]] = []
    picture = normalize(decoded, invert, lambda step, seen: steps.append((step, seen)))
    return Inspected(name, _data_url(bytes(content)), steps, None), picture


def _data_url(content: bytes) -> str | None:
    form = sniff(content[:HEAD_BYTES])
    if form not in _SHOWN_BY_BROWSERS or len(content) > _MOST_SHOWN_BYTES:
        return None
    return f"data:image/{form};base64,{base64.b64encode(content).decode()}"


def page(inspection: Inspection) -> str:
    """One HTML page that needs nothing beside it; all text in it is escaped."""
    count = f"{len(inspection.scans):,} scan{'' if len(inspection.scans) == 1 else 's'}"
    told = f"{count}; model {inspection.model[:16]}, engine {inspection.engine}"
    sections = "\n".join(map(_section, inspection.scans))
    return f"{_HEAD}<h1>What the network saw</h1>\n<p>{escape(told)}</p>\n{sections}\n</html>\n"


def _section(scan: Inspected) -> str:
    figures = [_figure("scan", scan.scan, enlarged=False)] if scan.scan else []
    for name, picture in scan.steps:
        url = f"data:image/png;base64,{base64.b64encode(to_png(picture)).decode()}"
        figures.append(_figure(name, url, enlarged=max(picture.shape) < _SMALL))
    return (
        f"<section>\n<h2>{escape(_printable(scan.name))}</h2>\n"
        f'<div class="steps">{"".join(figures)}</div>\n{_outcome(scan)}\n</section>'
    )


def _figure(name: str, url: str, *, enlarged: bool) -> str:
    enlarging = ' class="enlarged"' if enlarged else ""
    return f'<figure><img src="{escape(url)}" alt=""{enlarging}><figcaption>{escape(name)}</figcaption></figure>'


def _outcome(scan: Inspected) -> str:
    if scan.rejection is not None:
        return f"<p><b>rejected</b>: {escape(scan.rejection.detail)} <code>{escape(scan.rejection.reason)}</code></p>"
    if not scan.answers:
        return "<p><b>blank</b>: there is no ink on it.</p>"
    rows = (
        f'<tr><th>{escape(label)}</th><td><div style="width: {100 * confidence:.1f}%"></div></td>'
        f"<td>{confidence:.3f}</td></tr>"
        for label, confidence in scan.answers
    )
    return f"<table>{''.join(rows)}</table>"


def _printable(name: str) -> str:
    """Without what would move a terminal's cursor, and whatever bytes a file's name has."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>What the network saw</title>
<style>
  :root { --faint: #5b636c; --line: #e3e6ea; --bar: #3d7ea6; }
  @media (prefers-color-scheme: dark) { :root { --faint: #9aa4ae; --line: #363c43; --bar: #6fb1d8; } }
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.5rem; margin-bottom: 0; }
  h1 + p, figcaption { color: var(--faint); }
  section { display: grid; grid-template-columns: 1fr 13rem; gap: 0 2rem; padding: .8rem 0;
    border-top: 1px solid var(--line); }
  h2 { grid-column: 1 / -1; font: .95rem ui-monospace, monospace; margin: 0 0 .5rem; overflow-wrap: anywhere; }
  section > p { margin: 0; }
  .steps { display: flex; flex-wrap: wrap; align-items: end; gap: .6rem 1rem; }
  .steps:empty { display: none; }
  .steps:empty + p { grid-column: 1 / -1; }
  figure { margin: 0; text-align: center; font-size: .8rem; }
  img { display: block; height: 84px; max-width: 168px; margin: 0 auto; object-fit: contain;
    outline: 1px solid var(--line); }
  figure:last-child img { height: 112px; }
  img.enlarged { image-rendering: pixelated; }
  table { border-collapse: collapse; align-self: start; }
  th { font: 1rem ui-monospace, monospace; text-align: left; width: 1.5rem; }
  tr:first-child th { font-weight: bold; }
  td { padding: 0; }
  td:last-child { width: 3.5rem; text-align: right; font-variant-numeric: tabular-nums; }
  td div { height: .7rem; min-width: 1px; background: var(--bar); }
  @media (max-width: 48rem) { section { grid-template-columns: 1fr; gap: .6rem; } table { width: 100%; } }
</style>
"""
