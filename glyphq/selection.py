"""Some of a job's rows, in some order. Pure: knows Arrow batches of `glyphq.results`; nothing of storage or HTTP."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from glyphq import results
from glyphq.jobs import Correction, RowStatus, Sort

HISTOGRAM_STEP = 0.005


@dataclass(frozen=True)
class Selection:
    """Which rows: those that all of what is given holds for. `labels` are final ones, `filename` is a part of the name
    in any case of letters, `reviewed` is whether a person has given the row a label.
    """

    sort: Sort = Sort.ROW
    labels: tuple[str, ...] = ()
    statuses: tuple[RowStatus, ...] = ()
    min_confidence: float | None = None
    max_confidence: float | None = None
    filename: str | None = None
    reviewed: bool | None = None
    offset: int = 0
    limit: int | None = None

    def of(self, rows: pa.Table) -> tuple[pa.Table, int]:
        """The rows of a `table`, and how many there are without offset and limit."""
        conditions = list(self._conditions(rows))
        if conditions:
            rows = rows.filter(reduce(pc.and_, conditions))
        if self.sort is not Sort.ROW:
            rows = rows.sort_by([(self.sort.value, "ascending"), ("row", "ascending")])
        return rows.slice(self.offset, self.limit), rows.num_rows

    def _conditions(self, rows: pa.Table) -> Iterator[pa.ChunkedArray]:
        if self.labels:
            yield pc.is_in(rows["final_label"], value_set=pa.array(self.labels))
        if self.statuses:
            yield pc.is_in(rows["status"], value_set=pa.array([status.value for status in self.statuses]))
        if self.min_confidence is not None:
            yield pc.greater_equal(rows["confidence"], self.min_confidence)
        if self.max_confidence is not None:
            yield pc.less_equal(rows["confidence"], self.max_confidence)
        if self.filename is not None:
            yield pc.match_substring(rows["filename"], self.filename, ignore_case=True)
        if self.reviewed is not None:
            yield pc.equal(pc.is_valid(rows["corrected_by"]), self.reviewed)


def table(batches: Iterable[pa.RecordBatch], top_k: int) -> pa.Table:
    """The batches with a column `confidence`, to be selected from."""
    schema = results.result_schema(top_k).append(pa.field("confidence", pa.float64()))
    return pa.Table.from_batches(
        (results.widened(batch, top_k).append_column("confidence", results.confidences(batch)) for batch in batches),
        schema,
    )


def corrected(rows: pa.Table, corrections: Mapping[int, Correction]) -> pa.Table:
    """A `table` with what was corrected, which a selection may ask for. Its rows ascend."""
    batches = rows.to_batches() or [pa.RecordBatch.from_pylist([], rows.schema)]
    return pa.Table.from_batches([results.with_corrections(batch, corrections) for batch in batches])


def summary(rows: pa.Table) -> dict[str, Any]:
    """How sure the network was of a `corrected` table's rows, in steps of confidence, and what people said.

    `expected_errors` is how many of the rows that nobody has reviewed are wrong if confidences mean what they say.
    """
    classified = rows.filter(pc.is_valid(rows["confidence"]))
    confidence = classified["confidence"].to_numpy()
    reviewed = pc.is_valid(classified["corrected_by"]).to_numpy()
    steps = round(1 / HISTOGRAM_STEP)
    bins = np.minimum((confidence * steps + 1e-6).astype(int), steps - 1)
    columns = {
        "rows": np.bincount(bins, minlength=steps),
        "reviewed": np.bincount(bins, reviewed, minlength=steps).astype(int),
        "expected_errors": np.bincount(bins, np.where(reviewed, 0, 1 - confidence), minlength=steps).round(4),
    }
    labels = {each["values"]: each["counts"] for each in rows["final_label"].drop_null().value_counts().to_pylist()}
    given = rows.filter(pc.is_valid(rows["corrected_by"]))
    predicted = pc.fill_null(_predicted(given), "")
    histogram = [
        {"confidence": round(float(each) / steps, 4), **{name: counts[each].item() for name, counts in columns.items()}}
        for each in np.flatnonzero(columns["rows"])
    ]
    return {
        "step": HISTOGRAM_STEP,
        "histogram": histogram,
        "labels": [{"label": label, "rows": count} for label, count in sorted(labels.items())],
        "reviewed": given.num_rows,
        "changed": pc.sum(pc.not_equal(predicted, given["final_label"])).as_py() or 0,
    }


def _predicted(rows: pa.Table) -> pa.ChunkedArray:
    return pa.chunked_array([results.labels(batch) for batch in rows.to_batches()], pa.string())
