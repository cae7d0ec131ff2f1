"""Tables that are kept for the next page."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import numpy as np
import pyarrow as pa
import pytest

from api.reading import table_cache as rows_module
from api.reading.table_cache import TableCache
from glyphq import results
from glyphq.jobs import Job, RowStatus


def job(name: str) -> Job:
    return cast("Job", SimpleNamespace(id=name, options=SimpleNamespace(top_k=1)))


class Read:
    """Rows of which one knows how often they were read."""

    def __init__(self) -> None:
        self.times = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self.times += 1
        numbers = np.arange(100, dtype=np.uint32)
        classes, confidences = np.zeros((100, 1), np.uint8), np.ones((100, 1), np.float32)
        yield results.build(numbers, ["a.png"] * 100, [RowStatus.CLASSIFIED] * 100, classes, confidences, {})


@pytest.mark.parametrize(("ended", "times"), [(True, 1), (False, 3)])
def test_those_of_an_ended_job_are_read_once(ended: bool, times: int) -> None:
    kept, read = TableCache(), Read()
    tables = [kept.of(job("one"), read, ended=ended) for _ in range(3)]
    assert [table.num_rows for table in tables] == [100] * 3
    assert read.times == times


def test_a_job_that_is_gone_is_not_kept() -> None:
    kept, read = TableCache(), Read()
    kept.of(job("one"), read, ended=True)
    kept.drop(job("one"))
    kept.of(job("one"), read, ended=True)
    assert read.times == 2


def test_the_latest_used_stay_where_there_is_no_room_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, reads = TableCache(), {name: Read() for name in ("one", "two", "three")}
    size = kept.of(job("one"), reads["one"], ended=True).nbytes
    monkeypatch.setattr(rows_module, "_KEPT_BYTES", 2 * size)
    for name in ("two", "one", "three", "one", "two"):
        kept.of(job(name), reads[name], ended=True)
    assert {name: read.times for name, read in reads.items()} == {"one": 1, "two": 2, "three": 1}


def test_one_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, read = TableCache(), Read()
    monkeypatch.setattr(rows_module, "_KEPT_BYTES", 10)
    for _ in range(2):
        kept.of(job("one"), read, ended=True)
    assert read.times == 2


def test_an_owner_who_asks_often_does_not_hold_up_another() -> None:
    async def ask() -> list[str]:
        kept, done = TableCache(), []

        async def turn(owner: str) -> None:
            async with kept.turn(owner):
                await asyncio.sleep(0)
                done.append(owner)

        await asyncio.gather(*(turn("bob") for _ in range(50)), turn("ada"))
        return done

    assert asyncio.run(ask()).index("ada") < 5
