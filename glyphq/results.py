"""The result schema (Arrow) and its CSV, JSON, NDJSON and Parquet forms. Knows rows and their text; nothing of storage,
HTTP or how a label was found.

All batches of one job have the same number k of classes a row; where a row's charset has fewer, the last ones are null.
A row that is not classified has null for them all.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from glyphq.jobs import DOUBTFUL_CONFIDENCE, Correction, Counts, Model, Rejection, RowStatus, Sign
from glyphq.labels import LABELS
from glyphq.pieces import Pieces

CONFIDENCE_STEPS = 10_000
"""Confidences are shown with four decimals, in every form rounded alike."""

CORRECTED = "final_label", "corrected_by", "corrected_at"
"""The columns that `with_corrections` adds."""

_ROWS_OF_A_GROUP = 65_536  # of a Parquet file

_MODEL_DIGEST, _MODEL_ENGINE = b"glyphq.model_digest", b"glyphq.model_engine"
# https://owasp.org/www-community/attacks/CSV_Injection: what begins a formula, full-width forms and all, behind any
# blanks, where a field starts, or where one starts for a spreadsheet that parts fields at semicolons or tabs.
_FORMULA = r"(^|[;\t\r\n])([\p{Z}\p{Cf}]*[=+\-@\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}])"
_BREAK = r"^[\t\r\n]"
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]"  # all but tab and line breaks
_NEEDS_QUOTES = r'[",\r\n]'  # RFC 4180


def result_schema(top_k: int) -> pa.Schema:
    """The columns of a result with `top_k` classes a row, best first; labels are indices into labels.LABELS."""
    return pa.schema(
        [
            pa.field("row", pa.uint32(), nullable=False),
            pa.field("filename", pa.string(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("labels", pa.list_(pa.uint8(), top_k)),
            pa.field("confidences", pa.list_(pa.float32(), top_k)),
            pa.field("reason", pa.string()),
            pa.field("detail", pa.string()),
            pa.field("signs", pa.uint8()),  # jobs.Sign, of a classified row
        ]
    )


def with_model(schema: pa.Schema, model: Model) -> pa.Schema:
    """The schema with a note of what made the rows."""
    return schema.with_metadata({_MODEL_DIGEST: model.digest, _MODEL_ENGINE: model.engine})


def model_of(schema: pa.Schema) -> Model:
    """What `with_model` noted. Raises KeyError where nothing was."""
    metadata = schema.metadata or {}
    return Model(metadata[_MODEL_DIGEST].decode(), metadata[_MODEL_ENGINE].decode())


def build(
    rows: NDArray[np.uint32],
    filenames: pa.StringArray | Sequence[str],
    statuses: Sequence[RowStatus],
    classes: NDArray[np.uint8],
    confidences: NDArray[np.float32],
    rejections: Mapping[int, Rejection],
    signs: NDArray[np.uint8] | None = None,
    notes: Mapping[int, str] = MappingProxyType({}),
) -> pa.RecordBatch:
    """The result of N inputs: uint32[N] rows, uint8[N, k] classes and float32[N, k] confidences, best first.

    Classes, confidences and uint8[N] signs, of jobs.Sign, count only where the status is CLASSIFIED; a row that has
    fewer than k has NaN confidences for the last ones. `rejections` has each REJECTED input by position (0 to N - 1),
    and no other; ValueError otherwise. `notes` are details of other inputs.
    """
    rejected = {position for position, status in enumerate(statuses) if status is RowStatus.REJECTED}
    if rejected != set(rejections):
        raise ValueError("every rejected row has a rejection, and no other row has one")
    reasons: list[str | None] = [None] * len(statuses)
    details: list[str | None] = [notes.get(position) for position in range(len(statuses))]
    for position, rejection in rejections.items():
        reasons[position], details[position] = rejection.reason, rejection.detail
    fewer = np.isnan(confidences)
    missing = pa.array([status is not RowStatus.CLASSIFIED for status in statuses], pa.bool_())
    columns = [
        pa.array(rows, pa.uint32()),
        pa.array(filenames, pa.string()),
        pa.array(statuses, pa.string()),
        _lists(classes, fewer, missing),
        _lists(confidences, fewer, missing),
        pa.array(reasons, pa.string()),
        pa.array(details, pa.string()),
        pa.nulls(len(statuses), pa.uint8())
        if signs is None
        else pa.array(signs, mask=missing.to_numpy(zero_copy_only=False)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=result_schema(classes.shape[1]))


def cancelled(rows: NDArray[np.uint32], filenames: pa.StringArray | Sequence[str], top_k: int) -> pa.RecordBatch:
    """The rows of inputs that were not reached before their job was cancelled."""
    count, schema = len(rows), result_schema(top_k)
    columns = [
        pa.array(rows, pa.uint32()),
        pa.array(filenames, pa.string()),
        pa.repeat(RowStatus.CANCELLED.value, count),
        pa.nulls(count, schema.field("labels").type),
        pa.nulls(count, schema.field("confidences").type),
        pa.nulls(count, pa.string()),
        pa.repeat(RowStatus.CANCELLED.sentence, count),
        pa.nulls(count, pa.uint8()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def counts(batch: pa.RecordBatch) -> Counts:
    """How many rows have each status, and each sign."""
    found = {count["values"]: count["counts"] for count in pc.value_counts(batch.column("status")).to_pylist()}
    confidence = _values(batch, "confidences")[_answered(batch)[:, 0], 0]
    signs = batch.column("signs").fill_null(Sign.NONE).to_numpy(zero_copy_only=False)
    return Counts(
        total=batch.num_rows,
        **found,
        doubtful=int((confidence < DOUBTFUL_CONFIDENCE).sum()),
        inverted=int((signs & Sign.INVERTED > 0).sum()),
        several=int((signs & Sign.SEVERAL > 0).sum()),
    )


def serialize(batch: pa.RecordBatch, model: Model) -> bytes:
    """The batch and what made it, as an Arrow IPC stream."""
    schema = with_model(batch.schema, model)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
    content: bytes = sink.getvalue().to_pybytes()
    return content


def deserialize(content: bytes) -> tuple[pa.RecordBatch, Model]:
    """What `serialize` was given. Raises pa.ArrowInvalid for other bytes."""
    with pa.ipc.open_stream(content) as reader:
        return reader.read_next_batch(), model_of(reader.schema)


def labels(batch: pa.RecordBatch) -> pa.StringArray:
    """The network's label of each row; null unless classified."""
    return _labels_at(batch, 0)


def confidences(batch: pa.RecordBatch) -> pa.DoubleArray:
    """The confidence of each row's label, as it is shown: 0 to 1 with four decimals; null unless classified."""
    return _confidences_at(batch, 0)


def widened(batch: pa.RecordBatch, top_k: int) -> pa.RecordBatch:
    """The batch with `top_k` classes a row, the last ones null where the job's charset has fewer."""
    schema = result_schema(top_k)
    columns = []
    for field in schema:
        column = batch.column(field.name)
        if column.type != field.type:
            missing = pc.is_null(column)
            own = _reshaped(batch, field.name, lambda flat: flat.fill_null(0))
            there = _reshaped(batch, field.name, pc.is_valid)
            more = ((0, 0), (0, top_k - own.shape[1]))
            flat = pa.array(np.pad(own, more).ravel(), field.type.value_type, mask=~np.pad(there, more).ravel())
            column = pa.FixedSizeListArray.from_arrays(flat, top_k, mask=missing)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def with_corrections(batch: pa.RecordBatch, corrections: Mapping[int, Correction]) -> pa.RecordBatch:
    """The batch, whose rows ascend, and three columns more: the final label, which is the correction's where there is
    one, who gave that, and when, in UTC. `corrections` are by row.
    """
    rows = batch.column("row").to_pylist() if corrections else []
    mine = {row: corrections[row] for row in rows if row in corrections}
    is_mine = pc.is_in(batch.column("row"), value_set=pa.array(mine.keys(), pa.uint32()))
    given = {
        "final_label": [each.label for each in mine.values()],
        "corrected_by": [each.by for each in mine.values()],
        "corrected_at": [f"{datetime.fromtimestamp(each.at, UTC):%Y-%m-%dT%H:%M:%SZ}" for each in mine.values()],
    }
    nothing = pa.nulls(batch.num_rows, pa.string())
    for column, texts in given.items():
        before = labels(batch) if column == "final_label" else nothing
        batch = batch.append_column(column, pc.replace_with_mask(before, is_mine, pa.array(texts, pa.string())))
    return batch


def csv_header(top_k: int, *, corrected: bool = False) -> bytes:
    """The line of column names, with its line end."""
    later = CORRECTED if corrected else ()
    return (",".join(["row", "filename", *_label_columns(top_k), "status", "reason", "detail", *later]) + "\n").encode()


def to_csv(batch: pa.RecordBatch, top_k: int) -> bytes:
    """RFC 4180 in UTF-8 with "\\n" line ends; `top_k` label columns, the last ones empty where a row has fewer. What
    was corrected is there where the batch has it.

    In CSV only, text that a spreadsheet would run as a formula gets a leading apostrophe, and control characters other
    than tab and line breaks become U+FFFD.
    """
    if not batch.num_rows:
        return b""
    labels, confidences = _values(batch, "labels"), _steps(_values(batch, "confidences"))
    answered, label_texts, confidence_texts = _answered(batch), pa.array(list(LABELS)), _confidence_texts()
    ranked: list[pa.Array] = []
    for rank in range(top_k):
        if rank < labels.shape[1]:
            shown = pa.array(answered[:, rank])
            ranked.append(pc.if_else(shown, label_texts.take(pa.array(labels[:, rank])), ""))
            ranked.append(pc.if_else(shown, confidence_texts.take(pa.array(confidences[:, rank])), ""))
        else:
            ranked += [pa.repeat("", batch.num_rows)] * 2
    lines = pc.binary_join_element_wise(
        pc.cast(batch.column("row"), pa.string()),
        _csv_text(batch.column("filename")),
        *ranked,
        batch.column("status"),
        pc.fill_null(batch.column("reason"), ""),
        *(_csv_text(pc.fill_null(batch.column(name), "")) for name in ("detail", *_corrected_columns(batch))),
        ",",
    ).cast(pa.large_string())
    everything = pa.LargeListArray.from_arrays(pa.array([0, len(lines)], pa.int64()), lines)
    body: bytes = pc.binary_join(everything, pa.scalar("\n", pa.large_string()))[0].as_buffer().to_pybytes()
    return body + b"\n"


def to_row_dicts(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Row objects as the API gives them: label and confidence are null, and `top` is empty, unless classified. What was
    corrected is there if the batch says.
    """
    later = {name: batch.column(name).to_pylist() for name in _corrected_columns(batch)}
    names = "row", "filename", "status", "reason", "detail", "labels", "confidences"
    rows = []
    for row, filename, status, reason, detail, labels, confidences in zip(
        *(batch.column(name).to_pylist() for name in names), strict=True
    ):
        top: list[dict[str, Any]] = [
            {
                "label": LABELS[label],
                "confidence": round(min(max(confidence, 0), 1) * CONFIDENCE_STEPS) / CONFIDENCE_STEPS,
            }
            for label, confidence in zip(labels or (), confidences or (), strict=True)
            if label is not None
        ]
        best = top[0] if top else {"label": None, "confidence": None}
        rows.append(
            {"row": row, "filename": filename, "status": status, **best, "top": top, "reason": reason, "detail": detail}
        )
    for name, values in later.items():
        for each, value in zip(rows, values, strict=True):
            each[name] = value
    return rows


def to_ndjson(batch: pa.RecordBatch) -> bytes:
    """One row object a line, in UTF-8, each line ended."""
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    return "".join(encode(row) + "\n" for row in to_row_dicts(batch)).encode()


def to_parquet(batches: Iterable[pa.RecordBatch], top_k: int, *, corrected: bool = False) -> Iterator[bytes]:
    """A Parquet file in pieces, with the columns of CSV: confidences are numbers, times are times, and what is empty
    there is null here.
    """
    import pyarrow.parquet as pq  # a tenth of a second

    none = pa.RecordBatch.from_pylist([], result_schema(top_k))
    pieces, schema = Pieces(), _flat(with_corrections(none, {}) if corrected else none, top_k).schema
    with pq.ParquetWriter(pa.PythonFile(pieces, mode="w"), schema, compression="zstd") as writer:
        for group in _grouped(batches, _ROWS_OF_A_GROUP):
            writer.write_table(pa.concat_tables(_flat(batch, top_k) for batch in group))
            yield pieces.take()
    yield pieces.take()


def _grouped(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[list[pa.RecordBatch]]:
    """Batches in turn, together as many as have at least so many rows."""
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        if sum(each.num_rows for each in group) >= rows:
            yield group
            group = []
    if group:
        yield group


def _flat(batch: pa.RecordBatch, top_k: int) -> pa.Table:
    columns = {name: batch.column(name) for name in ("row", "filename")}
    for rank, name in enumerate(_label_columns(top_k)[::2]):
        columns |= {name: _labels_at(batch, rank), name.replace("label", "confidence"): _confidences_at(batch, rank)}
    columns |= {name: batch.column(name) for name in ("status", "reason", "detail", *_corrected_columns(batch))}
    if "corrected_at" in columns:
        columns["corrected_at"] = columns["corrected_at"].cast(pa.timestamp("s", "UTC"))
    return pa.table(columns)


def _corrected_columns(batch: pa.RecordBatch) -> tuple[str, ...]:
    return tuple(name for name in CORRECTED if name in batch.schema.names)


def _labels_at(batch: pa.RecordBatch, rank: int) -> pa.StringArray:
    return _at(batch, "labels", rank, lambda classes: pa.array(list(LABELS)).take(pa.array(classes)))


def _confidences_at(batch: pa.RecordBatch, rank: int) -> pa.DoubleArray:
    return _at(batch, "confidences", rank, lambda values: pa.array(_steps(values) / CONFIDENCE_STEPS))


def _at(batch: pa.RecordBatch, column: str, rank: int, shown: Callable[[NDArray[Any]], pa.Array]) -> pa.Array:
    """Null where a row has no answer at this rank, as no row has one beyond those of its job."""
    answered, values = _answered(batch), _values(batch, column)
    there = rank < answered.shape[1]
    found = shown(values[:, rank if there else 0])
    return pc.if_else(pa.array(answered[:, rank]), found, None) if there else pa.nulls(len(found), found.type)


def _label_columns(top_k: int) -> list[str]:
    later = [f"{column}_{rank}" for rank in range(2, top_k + 1) for column in ("label", "confidence")]
    return ["label", "confidence", *later]


def _lists(values: NDArray[Any], fewer: NDArray[np.bool_], missing: pa.BooleanArray) -> pa.FixedSizeListArray:
    flat = pa.array(values.ravel(), mask=fewer.ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=missing)


def _values(batch: pa.RecordBatch, column: str) -> NDArray[Any]:
    """[N, k] of a list column; zero where the row has none."""
    return _reshaped(batch, column, lambda flat: flat.fill_null(0))


def _answered(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    """bool[N, k]: whether a row has an answer at each rank."""
    classified = pc.equal(batch.column("status"), RowStatus.CLASSIFIED.value).to_numpy(zero_copy_only=False)
    answered: NDArray[np.bool_] = _reshaped(batch, "labels", pc.is_valid) & classified[:, np.newaxis]
    return answered


def _reshaped(batch: pa.RecordBatch, column: str, compute: Callable[[pa.Array], pa.Array]) -> NDArray[Any]:
    """[N, k] computed from the values of a list column."""
    lists = batch.column(column)
    flat = lists.values.slice(lists.offset * lists.type.list_size, len(lists) * lists.type.list_size)
    values: NDArray[Any] = compute(flat).to_numpy(zero_copy_only=False)
    return values.reshape(len(lists), lists.type.list_size)


def _steps(confidences: NDArray[Any]) -> NDArray[np.int32]:
    """Confidences as whole numbers of ten thousandths."""
    return np.rint(np.clip(confidences.astype(np.float64), 0, 1) * CONFIDENCE_STEPS).astype(np.int32)


@cache
def _confidence_texts() -> pa.StringArray:
    """The text of every confidence that can be shown: taking from it costs 20 ns, formatting a float 300."""
    return pa.array([f"{step / CONFIDENCE_STEPS:.4f}" for step in range(CONFIDENCE_STEPS + 1)])


def _csv_text(texts: pa.StringArray) -> pa.StringArray:
    """Made harmless and quoted, each only where needed."""
    texts = pc.replace_substring_regex(texts, _CONTROL, "\ufffd")
    texts = pc.replace_substring_regex(texts, _FORMULA, r"\1'\2")
    texts = pc.if_else(pc.match_substring_regex(texts, _BREAK), pc.binary_join_element_wise("'", texts, ""), texts)
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(texts, '"', '""'), '"', "")
    return pc.if_else(pc.match_substring_regex(texts, _NEEDS_QUOTES), quoted, texts)
