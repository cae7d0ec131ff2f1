"""A job's scans as a zip, in a folder for each label, written as it is read. Knows files and names; nothing of HTTP."""

import codecs
import re
import time
import zipfile
from bisect import bisect_right
from collections.abc import Iterator
from functools import partial
from itertools import accumulate

import pyarrow as pa

from api.images import image_of
from glyphq import results
from glyphq.archive import contents
from glyphq.jobs import Job, Rejection
from glyphq.ledger import Ledger

_NOT_IN_NAMES = re.compile(r'[<>:"|?*]')  # on Windows


def sorted_zip(ledger: Ledger, job: Job, rows: pa.Table) -> Iterator[bytes]:
    """The zip in pieces: `rows.csv` first, with what was corrected, and the files of these rows of the job, as they
    were handed in, but those that cannot be read. Raises DamagedObject.
    """
    rows, pieces = rows.sort_by("row"), results.Pieces()
    date = time.gmtime(job.created_at)[:6]
    with zipfile.ZipFile(pieces, "w") as archive:
        with archive.open(zipfile.ZipInfo("rows.csv", date), "w", force_zip64=True) as listing:
            listing.write(codecs.BOM_UTF8 + results.csv_header(job.options.top_k, corrected=True))
            for batch in rows.to_batches():
                listing.write(results.to_csv(batch, job.options.top_k))
                yield pieces.take()
        for name, content in _files(ledger, job, rows):
            archive.writestr(zipfile.ZipInfo(name, date), content)
            yield pieces.take()
    yield pieces.take()


def folder_of(label: str | None, status: str) -> str:
    """What a label's folder is called, also where `a` and `A` would be one folder, and others none."""
    if label is None:
        return f"_{status}"
    if len(label) == 1 and label.isascii() and label.isalnum():
        return f"{label}-small" if label.islower() else label
    return "+".join(f"U{ord(character):04X}" for character in label)


def _files(ledger: Ledger, job: Job, rows: pa.Table) -> Iterator[tuple[str, bytes]]:
    first_rows = list(accumulate((part.rows for part in job.chunks), initial=0))
    numbers, labels, statuses = (rows[name].to_pylist() for name in ("row", "final_label", "status"))
    begun = 0
    while begun < len(numbers):
        chunk = bisect_right(first_rows, numbers[begun]) - 1
        ended = bisect_right(numbers, first_rows[chunk + 1] - 1)
        mine = slice(begun, ended)
        index = ledger.index(job, chunk).take(pa.array([row - first_rows[chunk] for row in numbers[mine]]))
        found = contents(index, partial(ledger.input_range, job))
        names = index.column("name").to_pylist()
        for row, label, status, name, content in zip(
            numbers[mine], labels[mine], statuses[mine], names, found, strict=True
        ):
            if not isinstance(content, Rejection):
                image = image_of(job.kind, name, bytes(content))
                yield f"{folder_of(label, status)}/{row:07d}-{_NOT_IN_NAMES.sub('_', image.name)}", image.content
        begun = ended
