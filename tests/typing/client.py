"""What a type checker makes of the client: read by mypy in `make check`, never run.

An `ignore` stands where mypy has to complain; it complains of one that is not needed.
"""

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, assert_type

import numpy as np

from glyphq import AsyncClient, Client, Correction, JobNotFound, JobState, JobStatus, Row, Rows, RowStatus


def blocking(client: Client) -> None:
    job = client.submit("scans.zip", charset="digits", top_k=1)
    assert_type(job, JobStatus)
    assert_type(job.state, JobState)
    assert_type(client.wait(job, print, 60.0), JobStatus)
    assert_type(client.wait(job.id, progress=True), JobStatus)
    assert_type(client.classify(Path("scans")), Rows)
    assert_type(client.classify(b"PK", progress=True, name="page 7"), Rows)
    assert_type(client.rows(job, sort="confidence", limit=5), Generator[Row, None, None])
    assert_type(client.follow(job, corrected=True), Generator[Row, None, None])
    assert_type(client.jobs(JobState.RUNNING), Generator[JobStatus, None, None])
    assert_type(client.download(job, "rows.parquet"), bool)
    assert_type(client.results(job, "csv", bom=True), bytes)
    assert_type(client.correct(job, 3, "7"), Correction)
    assert_type(client.uncorrect(job, 3), None)
    assert_type(client.image(job, 3, "model"), bytes)
    assert_type(client.summary(job), dict[str, Any])
    assert_type(client.checks(), dict[str, str])
    assert_type(client.ready(), bool)

    with closing(client.rows(job)) as rows:
        assert_type(next(rows), Row)

    client.submit("scans.zip", topk=1)  # type: ignore[call-arg]
    client.submit("scans.zip", top_k="1")  # type: ignore[arg-type]
    client.rows(job, max_confidence="low")  # type: ignore[arg-type]
    client.status(3)  # type: ignore[arg-type]


async def awaited(client: AsyncClient) -> None:
    job = await client.submit(["a.png", Path("b.png")], charset_rules=["dates/*=digits"])
    assert_type(job, JobStatus)
    assert_type(await client.wait(job), JobStatus)
    assert_type(await client.classify("scans.zip"), Rows)
    assert_type(client.rows(job), AsyncGenerator[Row, None])
    assert_type(client.follow(job), AsyncGenerator[Row, None])
    assert_type(client.jobs(), AsyncGenerator[JobStatus, None])
    assert_type(await client.download(job, "rows.csv", corrected=True), bool)
    assert_type(await client.correct(job, 3, "7"), Correction)

    async with aclosing(client.rows(job)) as rows:
        assert_type(await anext(rows), Row)

    client.rows(job, sort=3)  # type: ignore[arg-type]
    await client.submit("scans.zip", topk=1)  # type: ignore[call-arg]


def arrays(client: Client) -> None:
    client.submit(np.zeros((2, 28, 28), np.uint8))
    client.submit([np.zeros((28, 28), np.uint8)])  # type: ignore[list-item]


def rows(rows: Rows) -> None:
    assert_type(rows[0], Row)
    assert_type(rows[:2], tuple[Row, ...])
    assert_type(rows.job, JobStatus)
    for row in rows:
        assert_type(row.label, str | None)
        assert_type(row.status, RowStatus)
        assert_type(row.top[0].confidence, float)


def errors(client: Client) -> str:
    try:
        client.delete("0199")
    except JobNotFound as error:
        return error.detail
    return ""
