"""Jobs on a real store, in every state, and damage to what is stored."""

import hashlib
import io
import os
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from uuid_utils import uuid7

from glyphq import results
from glyphq.archive import ArchiveLimits, index_zip
from glyphq.index import write_index
from glyphq.jobs import Job, JobState, Kind, Model, Options, Reason, Rejection, RowStatus
from glyphq.ledger import Ledger
from glyphq.local_blobs import LocalBlobs
from glyphq.object_names import data_prefix, index_key, input_key

LIMITS = ArchiveLimits(
    max_entries=1000, max_entry_bytes=100_000, max_unpacked_bytes=1_000_000, chunk_images=2, chunk_bytes=1 << 20
)
DAY = 24 * 3600.0
MODEL = Model("digest-of-weights", "torch 2.13.0 f32 cpu")
NAMES = ["a.png", "b.png", "c.png", "d.png", "e.png"]  # chunks of 2, 2 and 1
KEY = hashlib.sha256(b"a key").hexdigest()

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "first-byte": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "middle-bit": lambda content: content[:40] + bytes([content[40] ^ 8]) + content[41:],
    "digest": lambda content: content[:-2] + b"g\n",
    "cut-in-half": lambda content: content[: len(content) // 2],
    "cut-by-one": lambda content: content[:-1],
    "one-more": lambda content: content + b"\n",
    "zeroed": lambda content: bytes(len(content)),
}
EMPTIED = {"emptied": lambda _: b""}
damages = pytest.mark.parametrize("damage", (DAMAGES | EMPTIED).values(), ids=DAMAGES | EMPTIED)


def fresh(ledger: Ledger) -> Ledger:
    """The same store as another process sees it."""
    return Ledger(LocalBlobs(ledger.blobs.root))


def zip_of(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), f"picture of {name}")
    return buffer.getvalue()


def prepared(
    ledger: Ledger, content: bytes | None = None, *, key: str | None = None, owner: str = "local", top_k: int = 3
) -> Job:
    """A job whose input and index are in the store, and that is not accepted yet."""
    content = zip_of(NAMES) if content is None else content
    job_id = str(uuid7())
    index = io.BytesIO()
    chunks = write_index(index, index_zip(io.BytesIO(content), LIMITS, "cp437").batches())
    ledger.blobs.create(input_key(job_id), content)
    ledger.blobs.create(index_key(job_id), index.getvalue())
    return Job(
        id=job_id,
        owner=owner,
        kind=Kind.ZIP,
        options=Options(top_k=top_k),
        input_sha256=hashlib.sha256(content).hexdigest(),
        input_bytes=len(content),
        total=sum(chunk.rows for chunk in chunks),
        ignored=0,
        chunks=chunks,
        created_at=time.time(),
        nonce=uuid.uuid4().hex,
        idempotency_sha256=key,
        archive_limits=asdict(LIMITS),
    )


def accepted(ledger: Ledger, *, key: str | None = None, owner: str = "local") -> Job:
    return ledger.accept(prepared(ledger, key=key, owner=owner))


def interactive(ledger: Ledger) -> Job:
    """A job of the interactive lane: index and input ride in the record."""
    job = prepared(ledger, zip_of(["a.png"]))
    index = ledger.blobs.get(index_key(job.id)) or b""
    chunk = job.chunks[0]
    inline = index[chunk.offset : chunk.offset + chunk.length]
    job = replace(job, kind=Kind.IMAGE, inline_index=inline, inline_input=ledger.blobs.get(input_key(job.id)))
    ledger.blobs.delete_folder(data_prefix(job.id))
    return ledger.accept(job)


def rows_of(ledger: Ledger, job: Job, chunk: int) -> pa.RecordBatch:
    """The result of a chunk whose first row is classified and whose second, if any, is rejected."""
    index = ledger.inputs.index(job, chunk)
    statuses = [RowStatus.CLASSIFIED, RowStatus.REJECTED][: index.num_rows]
    return results.build(
        index.column("row").to_numpy(),
        index.column("name"),
        statuses,
        np.full((len(statuses), job.options.top_k), 7, np.uint8),
        np.full((len(statuses), job.options.top_k), 0.75, np.float32),
        {1: Rejection.of(Reason.NOT_AN_IMAGE)} if len(statuses) == 2 else {},
    )


def work(ledger: Ledger, job: Job, *chunks: int, model: Model = MODEL) -> None:
    """Do what a worker does."""
    for chunk in chunks:
        ledger.put_result(job, chunk, results.serialize(rows_of(ledger, job, chunk), model))


def path_of(ledger: Ledger, key: str) -> Path:
    return ledger.blobs.root / key


def spoil(ledger: Ledger, key: str, damage: Callable[[bytes], bytes] = DAMAGES["middle-bit"]) -> None:
    path = path_of(ledger, key)
    path.write_bytes(damage(path.read_bytes()))


def age(ledger: Ledger, key: str, seconds: float) -> None:
    when = time.time() - seconds
    os.utime(path_of(ledger, key), (when, when))


def objects(ledger: Ledger) -> list[str]:
    """Every file in the store."""
    root = ledger.blobs.root
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def table(batches: Iterator[pa.RecordBatch]) -> list[tuple[int, str, str]]:
    return [(row["row"], row["filename"], row["status"]) for batch in batches for row in results.to_row_dicts(batch)]


class Interrupted(LocalBlobs):
    """A store in which somebody else acts just before an object of `folder` is created, once."""

    def __init__(self, root: Path, folder: str, act: Callable[[], object]) -> None:
        super().__init__(root)
        self._folder, self._act = folder, [act]

    def create(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        if key.startswith(self._folder) and self._act:
            self._act.pop()()
        return super().create(key, data, durable=durable)


def ended_as(ledger: Ledger, job: Job) -> JobState:
    end = ledger.end(job)
    assert end is not None
    return end.outcome
