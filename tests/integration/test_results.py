"""What came of a job, as people take it away: some rows or all, as predicted or corrected, in every form."""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack

import httpx
import pyarrow.parquet as pq
import pytest
from PIL import Image
from uuid_utils import uuid7

from glyphq import samples
from glyphq.embedded import EmbeddedService
from tests.integration.conftest import halted, zip_of


def blank() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (40, 60), 240).save(buffer, "png")
    return buffer.getvalue()


FILES = {
    **{f"page {number % 3}/{sample.filename}": sample.png for number, sample in enumerate(samples.draw(597, seed=21))},
    "blank.png": blank(),
    "broken.png": blank()[:40],
    "notes/=1+1.txt": b"no image",
}


def submitted(http: httpx.Client, files: dict[str, bytes], **options: str) -> str:
    return http.post("/v1/jobs", content=zip_of(files), params=options).raise_for_status().json()["id"]


def ended(http: httpx.Client, job: str) -> dict:
    view = http.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=30"}).json()
    assert view["state"] == "completed"
    return view


@pytest.fixture
def job(http: httpx.Client) -> Iterator[str]:
    """600 rows in three chunks, one of them blank and two rejected."""
    job = submitted(http, FILES)
    ended(http, job)
    yield job
    http.delete(f"/v1/jobs/{job}")


def results(http: httpx.Client, job: str, **query: object) -> httpx.Response:
    return http.get(f"/v1/jobs/{job}/results", params=query).raise_for_status()


def rows(http: httpx.Client, job: str, **query: object) -> list[dict]:
    return results(http, job, format="json", **query).json()["results"]


def corrected(http: httpx.Client, job: str, **labels: str) -> None:
    """The labels of rows `r1`, `r2`, ..."""
    for row, label in labels.items():
        http.put(f"/v1/jobs/{job}/items/{row[1:]}/correction", json={"label": label}).raise_for_status()


class TestSome:
    def test_pages_of_doubtful_rows_are_all_rows(self, http, job) -> None:
        everything = rows(http, job)
        pages = [rows(http, job, sort="confidence", offset=offset, limit=90) for offset in range(0, 600, 90)]
        together = [row for page in pages for row in page]
        assert sorted(together, key=lambda row: row["row"]) == everything
        confidences = [row["confidence"] for row in together]
        assert confidences[-3:] == [None] * 3
        assert confidences[:-3] == sorted(confidences[:-3])

    def test_it_says_how_many_rows_match(self, http, job) -> None:
        everything = rows(http, job)
        label = everything[0]["label"]
        answer = results(http, job, label=label, min_confidence=0.5, limit=1, format="ndjson")
        expected = [row for row in everything if row["label"] == label and row["confidence"] >= 0.5]
        assert answer.headers["Glyphq-Matching"] == str(len(expected))
        assert json.loads(answer.text) == expected[0]

    def test_rows_are_found_by_name_and_status(self, http, job) -> None:
        assert {row["row"] % 3 for row in rows(http, job, filename="PAGE 1/")} == {1}
        found = rows(http, job, status=["blank", "rejected"])
        assert [row["filename"] for row in found] == ["blank.png", "broken.png", "notes/=1+1.txt"]

    def test_a_row_that_nobody_knows_of_is_no_error(self, http, job) -> None:
        answer = results(http, job, label="@", corrected=True)
        assert answer.headers["Glyphq-Matching"] == "0"
        assert answer.text.count("\n") == 1

    @pytest.mark.parametrize(
        ("query", "option"),
        [
            ({"sort": "label"}, "sort"), ({"min_confidence": "2"}, "min_confidence"), ({"limit": "0"}, "limit"),
            ({"first_row": "5", "limit": "5"}, "first_row"), ({"first_row": "5", "format": "parquet"}, "first_row"),
            ({"follow": "true", "format": "json"}, "follow"), ({"follow": "true", "sort": "confidence"}, "follow"),
            ({"colour": "red"}, "colour"), ({"status": "lost"}, "status"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_refused(self, http, job, query, option) -> None:
        refused = http.get(f"/v1/jobs/{job}/results", params=query)
        assert (refused.status_code, refused.json()["option"]) == (422, option)

    @pytest.mark.parametrize(("charset", "top_k"), [("7", "3"), ("01", "10")])
    def test_a_charset_of_few_characters_has_all_of_it_too(self, http, charset, top_k) -> None:
        job = submitted(http, dict(list(FILES.items())[590:]), charset=charset, top_k=top_k)
        ended(http, job)
        everything = rows(http, job)
        assert sorted(rows(http, job, sort="confidence"), key=lambda row: row["row"]) == everything
        assert http.get(f"/v1/jobs/{job}/summary").json()["complete"]
        assert results(http, job, format="zip").content.startswith(b"PK")
        table = pq.read_table(io.BytesIO(results(http, job, format="parquet", limit=5).content))
        assert table["label_3"].null_count == 5

    def test_a_number_beyond_all_rows_is_refused(self, http, job) -> None:
        for name in ("limit", "offset", "first_row"):
            refused = http.get(f"/v1/jobs/{job}/results", params={name: 2**63})
            assert (refused.status_code, refused.json()["option"]) == (422, name)


class TestCorrections:
    def test_they_are_beside_what_was_predicted_in_every_form(self, http, job) -> None:
        before = rows(http, job)
        corrected(http, job, r0="q", r300=before[300]["label"], r599="=")
        shown = rows(http, job, corrected=True)
        assert [{**row, "final_label": 0, "corrected_by": 0, "corrected_at": 0} for row in shown] == [
            {**row, "final_label": 0, "corrected_by": 0, "corrected_at": 0} for row in before
        ]
        assert {row["row"]: row["final_label"] for row in shown if row["corrected_by"]} == {
            0: "q", 300: before[300]["label"], 599: "=",
        }  # fmt: skip
        assert shown[1]["final_label"] == before[1]["label"]
        table = list(csv.DictReader(io.StringIO(results(http, job, corrected=True).text)))
        assert [table[row]["final_label"] for row in (0, 300, 599)] == ["q", before[300]["label"], "'="]
        assert table[0]["corrected_by"] == "local"
        parquet = pq.read_table(io.BytesIO(results(http, job, corrected=True, format="parquet").content)).to_pylist()
        assert [row["final_label"] for row in parquet] == [row["final_label"] for row in shown]
        assert f"{parquet[0]['corrected_at']:%Y-%m-%dT%H:%M:%SZ}" == shown[0]["corrected_at"]
        assert "final_label" not in results(http, job).text

    def test_one_that_is_taken_back_leaves_the_prediction(self, http, job) -> None:
        corrected(http, job, r7="Q")
        assert rows(http, job, corrected=True, reviewed=True)[0]["final_label"] == "Q"
        assert http.delete(f"/v1/jobs/{job}/items/7/correction").status_code == 204
        assert rows(http, job, reviewed=True) == []

    def test_the_answer_says_who_and_when(self, http, job) -> None:
        answer = http.put(f"/v1/jobs/{job}/items/3/correction", json={"label": "c"}).json()
        (row,) = rows(http, job, corrected=True, reviewed=True)
        assert answer == {
            "row": 3, "label": "c", "corrected_by": "local", "corrected_at": answer["corrected_at"],
        }  # fmt: skip
        assert answer["corrected_at"].startswith(row["corrected_at"].removesuffix("Z"))

    @pytest.mark.parametrize(
        ("content", "status", "code"),
        [
            (b'{"label": ""}', 422, "invalid-option"), (b'{"label": "123456789"}', 422, "invalid-option"),
            (b'{"label": 7}', 400, "invalid-request"), (b'{"label": "7", "by": "me"}', 400, "invalid-request"),
            (b"7", 400, "invalid-request"), (b"", 400, "invalid-request"), (b"\xff", 400, "invalid-request"),
            (b"[" * 2000, 413, "limit-exceeded"),
        ],
    )  # fmt: skip
    def test_what_is_no_label_is_refused(self, http, job, content: bytes, status: int, code: str) -> None:
        refused = http.put(f"/v1/jobs/{job}/items/0/correction", content=content)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
        assert rows(http, job, reviewed=True) == []

    def test_a_row_that_is_not_there_cannot_be_corrected(self, http, job) -> None:
        for refused in (
            http.put(f"/v1/jobs/{job}/items/600/correction", json={"label": "7"}),
            http.delete(f"/v1/jobs/{job}/items/-1/correction"),
        ):
            assert (refused.status_code, refused.json()["code"]) == (404, "row-not-found")

    def test_a_single_image_can_be_corrected_too(self, http) -> None:
        answer = http.post("/v1/jobs", content=next(iter(FILES.values())), headers={"Prefer": "wait=20"}).json()
        corrected(http, answer["id"], r0="Z")
        assert rows(http, answer["id"], corrected=True)[0]["final_label"] == "Z"

    def test_they_go_with_their_job(self, http, job, service: EmbeddedService) -> None:
        corrected(http, job, r0="7")
        http.delete(f"/v1/jobs/{job}").raise_for_status()
        assert http.put(f"/v1/jobs/{job}/items/0/correction", json={"label": "7"}).status_code == 404
        assert [path for path in service.store.rglob("*") if job in str(path)] == []


class TestSummary:
    def test_it_adds_up_to_the_job(self, http, job) -> None:
        found = http.get(f"/v1/jobs/{job}/summary").json()
        assert found["complete"]
        assert sum(each["rows"] for each in found["histogram"]) == 597
        assert sum(each["rows"] for each in found["labels"]) == 597
        expected = sum(1 - row["confidence"] for row in rows(http, job, status="classified"))
        assert sum(each["expected_errors"] for each in found["histogram"]) == pytest.approx(expected, abs=1e-2)

    def test_it_follows_what_people_say(self, http, job) -> None:
        predicted = rows(http, job)
        corrected(http, job, r0=predicted[0]["label"], r1="~", r597="1")
        found = http.get(f"/v1/jobs/{job}/summary").json()
        assert (found["reviewed"], found["changed"]) == (3, 2)
        assert {"label": "~", "rows": 1} in found["labels"]
        assert sum(each["reviewed"] for each in found["histogram"]) == 2

    def test_of_a_job_that_has_not_begun_it_is_empty(self, http, service: EmbeddedService) -> None:
        with halted(service):
            job = submitted(http, FILES)
            found = http.get(f"/v1/jobs/{job}/summary").json()
            assert (found["complete"], found["histogram"]) == (False, [])
        ended(http, job)


class TestForms:
    def test_parquet_has_every_row_and_its_types(self, http, job) -> None:
        table = pq.read_table(io.BytesIO(results(http, job, format="parquet").content))
        assert table.column_names == results(http, job).text.splitlines()[0].split(",")
        assert table["filename"].to_pylist() == list(FILES)
        assert table["confidence"].to_pylist() == [row["confidence"] for row in rows(http, job)]

    def test_excel_is_told_that_it_is_utf8(self, http, job) -> None:
        assert results(http, job, bom=True).content == b"\xef\xbb\xbf" + results(http, job).content

    @pytest.mark.parametrize(
        ("accept", "form"),
        [("application/vnd.apache.parquet", b"PAR1"), ("application/zip", b"PK"), ("text/html,*/*", b"row,")],
    )
    def test_the_form_that_is_accepted_is_given(self, http, job, accept: str, form: bytes) -> None:
        answer = http.get(f"/v1/jobs/{job}/results", headers={"Accept": accept})
        assert answer.content.startswith(form)

    def test_a_zip_has_every_scan_in_the_folder_of_its_label(self, http, job) -> None:
        corrected(http, job, r0="a", r1="+", r597="A")
        with zipfile.ZipFile(io.BytesIO(results(http, job, format="zip").content)) as archive:
            assert archive.testzip() is None
            listing = list(csv.DictReader(io.StringIO(archive.read("rows.csv").decode("utf-8-sig"))))
            files = {name: archive.read(name) for name in archive.namelist() if name != "rows.csv"}
        by_row = {int(name.rsplit("/", 1)[1].split("-")[0]): name for name in files}
        assert len(by_row) == len(files) == len(listing) == 600
        assert [files[by_row[row]] for row in range(600)] == list(FILES.values())
        folders = [by_row[row].split("/")[0] for row in range(600)]
        assert [folders[row] for row in (0, 1, 597, 598, 599)] == ["a-small", "U002B", "A", "_rejected", "_rejected"]
        for row in range(2, 597):
            label = listing[row]["final_label"]
            assert folders[row] == (f"{label}-small" if label.islower() else label)

    def test_a_zip_may_have_some_rows_alone(self, http, job) -> None:
        doubtful = rows(http, job, sort="confidence", limit=5)
        content = results(http, job, format="zip", sort="confidence", limit=5).content
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            numbers = sorted(int(name.rsplit("/", 1)[1].split("-")[0]) for name in archive.namelist()[1:])
        assert numbers == sorted(row["row"] for row in doubtful)

    def test_names_are_such_as_every_system_takes(self, http) -> None:
        names = ["漢" * 98 + ".png", "what?.png", "dot.", "CON.png"]
        job = submitted(http, dict.fromkeys(names, next(iter(FILES.values()))))
        ended(http, job)
        with zipfile.ZipFile(io.BytesIO(results(http, job, format="zip").content)) as archive:
            given = [name.rsplit("/", 1)[1] for name in archive.namelist()[1:]]
        assert len(given) == 4
        assert all(len(name.encode()) < 255 and not name.endswith((".", " ")) and "?" not in name for name in given)

    def test_a_damaged_index_is_made_again_for_a_zip(self, http, job, service: EmbeddedService) -> None:
        index = service.store / "data" / job / "index.arrow"
        whole = index.read_bytes()
        index.write_bytes(whole[:-1000] + bytes(1000))
        assert zipfile.ZipFile(io.BytesIO(results(http, job, format="zip").content)).testzip() is None
        assert index.read_bytes() == whole

    def test_a_zip_of_pixel_rows_has_their_pictures(self, http) -> None:
        row = [0] * 392 + [255] * 392
        answer = http.post("/v1/jobs", json={"images": [row, row]}, headers={"Prefer": "wait=20"}).json()
        with zipfile.ZipFile(io.BytesIO(results(http, answer["id"], format="zip").content)) as archive:
            pictures = archive.namelist()[1:]
            assert [name.rsplit("/", 1)[1] for name in pictures] == ["0000000-pixels-0.png", "0000001-pixels-1.png"]
            assert archive.read(pictures[0]).startswith(b"\x89PNG")


class TestFollowing:
    """Each begins while no worker does anything, so that the job is not over before it is followed."""

    def test_the_columns_are_there_at_once_and_the_rows_until_the_end(self, http, service: EmbeddedService) -> None:
        with ExitStack() as stack:
            with halted(service):
                job = submitted(http, FILES)
                pieces = stack.enter_context(followed(http, job)).iter_bytes()
                begun = next(pieces)
            assert begun + b"".join(pieces) == results(http, job).content
        assert begun.startswith(b"row,filename,")
        assert begun.count(b"\n") == 1

    @pytest.mark.parametrize("first_row", [0, 1, 300, 599, 600, 10**9])
    def test_it_is_resumed_where_it_broke_off(self, http, service: EmbeddedService, first_row: int) -> None:
        with ExitStack() as stack:
            with halted(service):
                job = submitted(http, FILES)
                answer = stack.enter_context(followed(http, job, format="ndjson", first_row=first_row))
            assert answer.read() == results(http, job, format="ndjson", first_row=first_row).content

    def test_rows_of_a_cancelled_job_come_too(self, http, service: EmbeddedService) -> None:
        with halted(service):
            job = submitted(http, FILES)
            corrected(http, job, r1="7")
            with followed(http, job, corrected="true") as answer:
                http.post(f"/v1/jobs/{job}/cancel").raise_for_status()
                lines = list(csv.DictReader(io.StringIO(answer.read().decode())))
        assert [line["status"] for line in lines] == ["cancelled"] * 600
        assert [line["final_label"] for line in lines[:3]] == ["", "7", ""]

    def test_a_job_that_is_deleted_breaks_off(self, http, service: EmbeddedService) -> None:
        with halted(service):
            job = submitted(http, FILES)
            with followed(http, job) as answer:
                http.delete(f"/v1/jobs/{job}").raise_for_status()
                with pytest.raises(httpx.RemoteProtocolError):
                    answer.read()

    def test_an_ended_job_is_followed_to_its_end(self, http, job) -> None:
        assert results(http, job, follow=True).content == results(http, job).content


def followed(http: httpx.Client, job: str, **query: object) -> AbstractContextManager[httpx.Response]:
    return http.stream("GET", f"/v1/jobs/{job}/results", params={"follow": "true", **query})


class TestEvents:
    def test_each_is_the_whole_job_and_the_last_one_its_end(self, http, service: EmbeddedService) -> None:
        with ExitStack() as stack:
            with halted(service):
                job = submitted(http, FILES)
                events = events_of(stack.enter_context(http.stream("GET", f"/v1/jobs/{job}/events")))
                first = next(events)
            snapshots = [first, *events]
        assert {name for name, _ in snapshots} == {"job"}
        assert [view["state"] for _, view in snapshots[:1]] == ["queued"]
        done = [view["counts"]["total"] - view["counts"]["pending"] for _, view in snapshots]
        assert done == sorted(done)
        now = http.get(f"/v1/jobs/{job}").json()
        assert snapshots[-1][1] == now
        assert now["state"] == "completed"

    def test_a_job_that_is_deleted_says_so(self, http, service: EmbeddedService) -> None:
        with halted(service):
            job = submitted(http, FILES)
            with http.stream("GET", f"/v1/jobs/{job}/events") as answer:
                events = events_of(answer)
                next(events)
                http.delete(f"/v1/jobs/{job}").raise_for_status()
                assert list(events)[-1][0] == "deleted"

    def test_of_a_job_that_has_ended_there_is_one(self, http, job) -> None:
        with http.stream("GET", f"/v1/jobs/{job}/events") as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            assert [view["state"] for _, view in events_of(answer)] == ["completed"]

    def test_of_no_job_there_is_none(self, http) -> None:
        assert http.get(f"/v1/jobs/{uuid7()}/events").status_code == 404


def events_of(answer: httpx.Response) -> Iterator[tuple[str, dict]]:
    """Name and content of each server-sent event."""
    name = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
