"""Both clients against a running service, as a program or a notebook uses them."""

import csv
import io
import threading
from pathlib import Path

import anyio
import numpy as np
import pytest
from PIL import Image

from glyphq import AsyncClient, Client, Row, RowNotFound, samples
from glyphq.embedded import EmbeddedService
from tests.integration.conftest import halted, zip_of


@pytest.fixture
def folder(scans: dict[str, bytes], tmp_path: Path) -> Path:
    """A folder with the scans in it, in folders of their own."""
    for number, (name, png) in enumerate(scans.items()):
        place = tmp_path / "scans" / f"page {number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(png)
    return tmp_path / "scans"


def labels(rows: object) -> dict[str, str | None]:
    return {Path(row.filename).name: row.label for row in rows}  # type: ignore[attr-defined]


def test_a_zip_a_folder_and_files_of_it_are_read_alike(client: Client, scans, folder: Path) -> None:
    told: list[int] = []
    by_zip = client.classify(zip_of(scans), lambda job: told.append(job.counts.done))
    by_folder = client.classify(folder)
    by_files = client.classify([folder / "page 0", *(folder / "page 1").iterdir()])
    assert labels(by_zip) == labels(by_folder) == labels(by_files)
    assert [row.filename for row in by_folder] == sorted(row.filename for row in by_folder)
    assert by_folder[0].filename.startswith("page 0/")
    assert told[-1] == by_zip.job.counts.total == len(scans)


def test_an_array_is_read_as_the_pictures_that_it_holds(client: Client, scans) -> None:
    pictures = [np.asarray(Image.open(io.BytesIO(png)).convert("L").resize((64, 64))) for png in scans.values()]
    pngs = {}
    for number, picture in enumerate(pictures):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        pngs[f"{number:02}.png"] = file.getvalue()
    expected = client.classify(zip_of(pngs))
    stacked = client.classify(np.stack(pictures))
    assert [(row.filename, row.top) for row in stacked] == [(row.filename, row.top) for row in expected]
    assert client.classify(pictures[3])[0].label == expected[3].label


def test_pixel_rows_are_what_the_network_sees(client: Client, scans) -> None:
    by_zip = client.classify(zip_of(scans))
    seen = [np.asarray(Image.open(io.BytesIO(client.image(by_zip.job, row, "model")))) for row in range(len(by_zip))]
    by_pixels = client.classify(np.stack([picture.T.ravel() for picture in seen]))
    assert by_pixels.job.kind == "pixels"
    assert [row.label for row in by_pixels] == [row.label for row in by_zip]


def test_followed_while_it_runs_a_job_gives_each_row_once(
    client: Client, service: EmbeddedService, tmp_path: Path
) -> None:
    samples.write_zip(tmp_path / "scans.zip", 1200, seed=6)  # in five chunks
    followed: list[Row] = []
    with halted(service):
        job = client.submit(tmp_path / "scans.zip")
        thread = threading.Thread(target=lambda: followed.extend(client.follow(job)))
        thread.start()
        assert not client.status(job).state.ended
    thread.join()
    assert followed == list(client.rows(job))
    assert len(followed) == 1200


def test_results_go_to_a_file_in_every_form_and_to_arrow(client: Client, scans, tmp_path: Path) -> None:
    job = client.classify(zip_of(scans), top_k=2).job
    table = client.arrow(job)
    assert table.column_names[:6] == ["row", "filename", "label", "confidence", "label_2", "confidence_2"]
    assert table["label"].to_pylist() == [row.label for row in client.rows(job)]
    for name in ("rows.csv", "rows.json", "rows.jsonl", "rows.parquet", "rows.zip"):
        assert client.download(job, tmp_path / name)
        assert (tmp_path / name).stat().st_size
    lines = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    assert [line["label"] for line in lines] == table["label"].to_pylist()
    doubtful = client.arrow(job, sort="confidence", limit=3)["confidence"].to_pylist()
    assert doubtful == sorted(table["confidence"].to_pylist())[:3]


def test_a_correction_stands_beside_what_was_read_until_it_is_taken_back(client: Client, scans) -> None:
    rows = client.classify(zip_of(scans))
    kept = client.correct(rows.job, 3, "%")
    (reviewed,) = client.rows(rows.job, reviewed=True, corrected=True)
    assert (kept.label, reviewed.row, reviewed.label, reviewed.final_label) == ("%", 3, rows[3].label, "%")
    assert reviewed.corrected_at is not None
    assert client.summary(rows.job)["changed"] == 1
    client.uncorrect(rows.job, 3)
    assert list(client.rows(rows.job, reviewed=True)) == []
    with pytest.raises(RowNotFound, match="there is no row 99"):
        client.correct(rows.job, 99, "7")


def test_the_async_client_does_the_same_many_at_once(service: EmbeddedService, client: Client, scans, tmp_path) -> None:
    expected = client.classify(zip_of(scans))

    async def one(asking: AsyncClient, found: list[dict[str, str | None]]) -> None:
        job = await asking.submit(zip_of(scans))
        found.append(labels([row async for row in asking.follow(job)]))
        assert (await asking.wait(job)).state == "completed"
        assert await asking.download(job, tmp_path / f"{job.id}.csv")
        await asking.delete(job)

    async def all_at_once() -> list[dict[str, str | None]]:
        found: list[dict[str, str | None]] = []
        async with AsyncClient(service.url) as asking, anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(one, asking, found)
        return found

    assert anyio.run(all_at_once) == [labels(expected)] * 4
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
