"""A job's scans as a zip, in a folder for each label, written as it is read. Knows files and names; nothing of HTTP."""

import codecs
import re
import time
import zipfile
from bisect import bisect_right
from collections.abc import Iterator
from functools import partial

import pyarrow as pa

from api.reading.images import image_of
from glyphq import results
from glyphq.contents import contents
from glyphq.errors import LimitExceeded
from glyphq.jobs import Job, Rejection
from glyphq.ledger import Ledger
from glyphq.pieces import Pieces

_PIECE_ROWS = 1024
_MAX_NAME_BYTES = 200
_NOT_IN_NAMES = re.compile(r'[<>:"|?*]')  # on Windows


def sorted_zip(ledger: Ledger, job: Job, rows: pa.Table, most: int) -> Iterator[bytes]:
    """The zip in pieces: `rows.csv` first, with what was corrected, and the files of these rows of the job, as they
    were handed in, but those that cannot be read. Raises LimitExceeded, at once, for more rows than `most`, and
    DamagedObject.
    """
    if len(rows) > most:  # a zip's directory is kept until it is written
        raise LimitExceeded(
            "max_zip_rows", most, f"A zip has at most {most:,} scans. Take them in parts with offset and limit."
        )
    return _pieces(ledger, job, rows)


def _pieces(ledger: Ledger, job: Job, rows: pa.Table) -> Iterator[bytes]:
    rows, pieces = rows.sort_by("row"), Pieces()
    date = time.gmtime(job.created_at)[:6]
    archive = zipfile.ZipFile(pieces, "w")
    try:
        with archive.open(zipfile.ZipInfo("rows.csv", date), "w", force_zip64=True) as listing:
            listing.write(codecs.BOM_UTF8 + results.csv_header(job.options.top_k, corrected=True))
            for batch in rows.to_batches(_PIECE_ROWS):
                listing.write(results.to_csv(batch, job.options.top_k))
                yield pieces.take()
        for name, content in _files(ledger, job, rows):
            archive.writestr(zipfile.ZipInfo(name, date), content)
            yield pieces.take()
    except BaseException:
        archive.filelist.clear()  # whoever wanted it is gone: no directory of it is written
        raise
    finally:
        archive.close()
    yield pieces.take()


def folder_of(label: str | None, status: str) -> str:
    """What a label's folder is called, also where `a` and `A` would be one folder, and others none."""
    if label is None:
        return f"_{status}"
    if len(label) == 1 and label.isascii() and label.isalnum():
        return f"{label}-small" if label.islower() else label
    return "+".join(f"U{ord(character):04X}" for character in label)


def _files(ledger: Ledger, job: Job, rows: pa.Table) -> Iterator[tuple[str, bytes]]:
    numbers, labels, statuses = (rows[name].to_pylist() for name in ("row", "final_label", "status"))
    begun = 0
    while begun < len(numbers):
        chunk = bisect_right(job.first_rows, numbers[begun]) - 1
        ended = bisect_right(numbers, job.first_rows[chunk + 1] - 1)
        mine = slice(begun, ended)
        within = pa.array([row - job.first_rows[chunk] for row in numbers[mine]])
        index = ledger.inputs.sound_index(job, chunk).take(within)
        found = contents(index, partial(ledger.inputs.read, job))
        names = index.column("name").to_pylist()
        for row, label, status, name, content in zip(
            numbers[mine], labels[mine], statuses[mine], names, found, strict=True
        ):
            if not isinstance(content, Rejection):
                image = image_of(job.kind, name, bytes(content))
                yield f"{folder_of(label, status)}/{row:07d}-{_file_name(image.name)}", image.content
        begun = ended


def _file_name(name: str) -> str:
    """The name as every system takes it, its beginning cut off where it is long."""
    cut = _NOT_IN_NAMES.sub("_", name).encode("utf-8", "replace")[-_MAX_NAME_BYTES:]
    return cut.decode("utf-8", "ignore").rstrip(". ")
