"""Jobs from submission to rows, over real HTTP, Redis and Celery worker processes."""

import csv
import io
import json
import subprocess
import sys
import threading
import uuid

import httpx
import pytest
from PIL import Image
from uuid_utils import uuid7

from api.schemas import CHECKS
from glyphq import samples
from glyphq.client import Client
from glyphq.embedded import EmbeddedService
from glyphq.labels import LABELS
from tests.integration.conftest import zip_of


def ended(http: httpx.Client, body: bytes, **options: str) -> dict:
    """The job of `body`, waited for."""
    answer = http.post("/v1/jobs", content=body, params=options, headers={"Prefer": "wait=30"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def rows_of(http: httpx.Client, job: dict) -> list[dict]:
    return http.get(job["links"]["results"], params={"format": "json"}).json()["results"]


def test_a_zip_becomes_a_row_a_scan_in_archive_order(http, scans):
    job = ended(http, zip_of(scans), name="ledger")
    assert job["state"] == "completed"
    assert job["name"] == "ledger"
    assert job["counts"] == {"total": 20, "pending": 0, "classified": 20, "blank": 0, "rejected": 0, "cancelled": 0}
    lines = list(csv.DictReader(io.StringIO(http.get(job["links"]["results"]).text)))
    assert [line["filename"] for line in lines] == list(scans)
    assert [line["row"] for line in lines] == [str(row) for row in range(20)]
    assert {line["status"] for line in lines} == {"classified"}
    assert all(line["label"] in LABELS and 0 < float(line["confidence"]) <= 1 for line in lines)


def test_the_three_forms_of_the_results_say_the_same(http, scans):
    job = ended(http, zip_of(scans), top_k="2")
    as_json = rows_of(http, job)
    ndjson = http.get(job["links"]["results"], headers={"Accept": "application/x-ndjson"})
    assert ndjson.headers["glyphq-complete"] == "true"
    assert [json.loads(line) for line in ndjson.text.splitlines()] == as_json
    lines = list(csv.DictReader(io.StringIO(http.get(job["links"]["results"], params={"format": "csv"}).text)))
    assert [(line["label"], line["label_2"], float(line["confidence_2"])) for line in lines] == [
        (row["label"], row["top"][1]["label"], row["top"][1]["confidence"]) for row in as_json
    ]


@pytest.mark.parametrize("first_row", [1, 255, 256, 599, 600, 10**12])
def test_results_begin_with_the_row_that_is_asked_for(client: Client, http, tmp_path, first_row):
    samples.write_zip(tmp_path / "scans.zip", 600, seed=6)  # in three chunks
    job = client.wait(client.submit(tmp_path / "scans.zip").id)
    address, rest = f"/v1/jobs/{job.id}/results", {"first_row": first_row}
    everything = client.results(job.id).splitlines()
    assert http.get(address, params=rest).content.splitlines() == everything[1:][first_row:]
    as_json = http.get(address, params={**rest, "format": "json"}).json()["results"]
    assert [row["row"] for row in as_json] == list(range(600))[first_row:]
    assert http.get(address, params={**rest, "format": "ndjson"}).text.count("\n") == len(as_json)


def test_every_kind_of_input_is_one_row_each_and_unreadable_ones_say_why(http, scans):
    scan = next(iter(scans.values()))
    blank = io.BytesIO()
    Image.new("L", (40, 40), 230).save(blank, "PNG")
    files = {
        "good.png": scan,
        "folder/": b"",
        "__MACOSX/._good.png": b"litter",
        "folder/.DS_Store": b"litter",
        "Thumbs.db": b"litter",
        "notes.txt": b"not a scan",
        "empty.png": b"",
        "cut.png": scan[: len(scan) // 2],
        "blank.png": blank.getvalue(),
        "nested.zip": zip_of({"a.png": scan}),
    }
    job = ended(http, zip_of(files))
    assert job["ignored"] == 4
    assert job["counts"]["total"] == 6
    found = {row["filename"]: (row["status"], row["reason"]) for row in rows_of(http, job)}
    assert found == {
        "good.png": ("classified", None),
        "notes.txt": ("rejected", "not_an_image"),
        "empty.png": ("rejected", "empty_file"),
        "cut.png": ("rejected", "damaged_image"),
        "blank.png": ("blank", None),
        "nested.zip": ("rejected", "nested_archive"),
    }


def test_a_crc_error_is_a_rejected_row(http, scans):
    archive = bytearray(zip_of(scans))
    second = list(scans.values())[1]
    archive[archive.find(second) + len(second) // 2] ^= 0xFF
    statuses = [row["reason"] for row in rows_of(http, ended(http, bytes(archive)))]
    assert statuses == [None, "damaged_entry"] + [None] * 18


def test_an_image_over_the_pixel_limit_is_a_rejected_row(http, scans):
    large = io.BytesIO()
    Image.new("1", (5000, 1001)).save(large, "PNG")
    rows = rows_of(http, ended(http, zip_of({**scans, "large.png": large.getvalue()})))
    assert rows[-1]["reason"] == "too_many_pixels"
    assert {row["status"] for row in rows[:-1]} == {"classified"}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_a_single_image_of_each_format_is_answered_at_once(http, scans, form):
    image = io.BytesIO()
    Image.open(io.BytesIO(next(iter(scans.values())))).convert("L").save(
        image, form, **({"lossless": True} if form == "WEBP" else {})
    )
    job = ended(http, image.getvalue(), name="box 7")
    assert job["kind"] == "image"
    assert job["results"] == rows_of(http, job)
    assert [(row["filename"], row["status"]) for row in job["results"]] == [("box 7", "classified")]


def test_a_form_of_several_images_has_a_row_for_each(http, scans):
    parts = [("file", (name, content)) for name, content in scans.items()]
    parts.insert(3, ("file", ("scans/notes.txt", b"not a scan")))
    answer = http.post("/v1/jobs", files=parts, data={"charset": "digits"}, headers={"Prefer": "wait=30"})
    rows = answer.json()["results"]
    assert [row["filename"] for row in rows] == [name for _, (name, _) in parts]
    assert rows[3]["reason"] == "not_an_image"
    assert {row["label"] for row in rows if row["label"]} <= set("0123456789")


def test_a_large_form_takes_the_bulk_lane_and_answers_the_same(http, scans):
    parts = [("file", (f"{number}-{name}", content)) for number in range(3) for name, content in scans.items()]
    answer = http.post("/v1/jobs", files=parts, headers={"Prefer": "wait=30"})
    job = answer.json()
    assert "results" not in job
    labels = [(row["label"], row["confidence"]) for row in rows_of(http, job)]
    assert labels[:20] == labels[20:40] == labels[40:]


def test_a_name_that_is_encoded_as_rfc_5987_asks_and_a_file_input_left_empty(http, scans):
    scan = next(iter(scans.values()))
    body = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename*=UTF-8''%D1%81%D0%BA.png\r\n\r\n" + scan
    body += b'\r\n--b\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Prefer": 'respond-async, Wait = "30"'}
    answer = http.post("/v1/jobs", content=body, headers=headers)
    assert answer.headers["preference-applied"] == "wait"
    assert [(row["filename"], row["status"]) for row in answer.json()["results"]] == [("ск.png", "classified")]


def test_a_zip_in_a_form_is_a_zip(http, scans):
    answer = http.post("/v1/jobs", files={"file": ("scans.zip", zip_of(scans))}, headers={"Prefer": "wait=30"})
    assert (answer.json()["kind"], answer.json()["counts"]["total"]) == ("zip", 20)


def test_a_scan_has_the_same_row_alone_in_a_form_and_in_a_zip(http, scans):
    name, content = next(iter(scans.items()))
    alone = ended(http, content, name=name)["results"][0]
    in_zip = rows_of(http, ended(http, zip_of(scans)))[0]
    assert alone == in_zip


def test_pixel_rows_are_emnist_pictures_stored_column_by_column(http, shared_data):
    import zipfile

    import numpy as np

    with zipfile.ZipFile(shared_data / "scans" / "emnist-test.zip") as archive:
        pngs = [archive.read(name) for name in archive.namelist()[:40]]
    pictures = [np.asarray(Image.open(io.BytesIO(png)).convert("L")) for png in pngs]
    pixels = [picture.T.ravel().tolist() for picture in pictures]
    answer = http.post("/v1/jobs", json={"images": pixels}, headers={"Prefer": "wait=30"})
    from_pixels = rows_of(http, answer.json())
    from_pngs = rows_of(http, ended(http, zip_of({f"{i}.png": png for i, png in enumerate(pngs)})))
    assert [row["top"] for row in from_pixels] == [row["top"] for row in from_pngs]


def test_a_charset_restricts_the_labels_and_raises_their_confidence(http, scans):
    free = rows_of(http, ended(http, zip_of(scans)))
    digits = rows_of(http, ended(http, zip_of(scans), charset="0O1I", top_k="10"))
    assert {answer["label"] for row in digits for answer in row["top"]} == set("0O1I")
    assert all(abs(sum(answer["confidence"] for answer in row["top"]) - 1) < 0.001 for row in digits)
    assert {row["label"] for row in free} - set("0O1I")


def test_of_several_pages_the_first_is_read_and_the_row_says_so(http, scans):
    first, second = (Image.open(io.BytesIO(png)).convert("L") for png in list(scans.values())[:2])
    file = io.BytesIO()
    first.save(file, "TIFF", save_all=True, append_images=[second])
    alone, paged = rows_of(http, ended(http, zip_of({"1.png": next(iter(scans.values())), "2.tiff": file.getvalue()})))
    assert paged["top"] == alone["top"]
    assert (paged["status"], paged["reason"]) == ("classified", None)
    assert paged["detail"] == "The file has several frames or pages; the first was read."
    assert alone["detail"] is None


def test_a_batch_that_is_off_is_warned_of_in_the_status(http, scans):
    pictures = [Image.open(io.BytesIO(png)).convert("L") for png in scans.values()]
    pairs = {}
    for name, left, right in zip(scans, pictures, pictures[::-1], strict=True):
        pair = Image.new("L", (left.width + right.width, max(left.height, right.height)), left.getpixel((0, 0)))
        pair.paste(left, (0, 0))
        pair.paste(right, (left.width, 0))
        file = io.BytesIO()
        pair.save(file, "PNG")
        pairs[name] = file.getvalue()
    assert ended(http, zip_of(scans))["warnings"] == []
    (told,) = ended(http, zip_of(scans), invert="yes")["warnings"]
    assert "of 20 look inverted" in told
    (told,) = ended(http, zip_of(pairs))["warnings"]
    assert "seem to hold more than one character" in told
    dark_on_light = {"images": [[255] * 300 + [0] * 100 + [255] * 384] * 2}
    answer = http.post("/v1/jobs", json=dark_on_light, headers={"Prefer": "wait=30"})
    (told,) = answer.json()["warnings"]
    assert told.startswith("2 of 2 look inverted")


def test_rules_give_each_row_of_a_form_its_own_charset(http, client: Client, service: EmbeddedService, scans, tmp_path):
    form = {f"{'dates' if number % 2 else 'names'}/{name}": scan for number, (name, scan) in enumerate(scans.items())}
    (tmp_path / "form.zip").write_bytes(zip_of({**form, "mark.png": next(iter(scans.values()))}))
    command = [sys.executable, "-m", "glyphq.cli", "classify", tmp_path / "form.zip", "--server", service.url]
    charsets = ("--charset", "X", "--charset", "dates/*=digits", "--charset", "*/*=letters")
    done = subprocess.run([*command, *charsets, "--top-k", "3"], capture_output=True, text=True, check=True)
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    allowed = {"dates": set("0123456789"), "names": set(LABELS[10:]), "mark.png": {"X", ""}}
    for line in lines:
        assert {line["label"], line["label_2"], line["label_3"]} <= allowed[line["filename"].split("/")[0]]

    rules = ["dates/*=digits", "*/*=letters"]
    by_client = client.submit(tmp_path / "form.zip", charset="X", charset_rules=rules)
    client.wait(by_client.id)
    assert by_client.raw["options"]["charset_rules"] == rules
    assert client.results(by_client.id).decode() == done.stdout
    parts = [("file", (name, scan)) for name, scan in form.items()]
    answer = http.post("/v1/jobs", files=parts, data={"charset_rules": rules}, headers={"Prefer": "wait=30"}).json()
    assert answer["options"]["charset_rules"] == rules
    assert [row["label"] for row in answer["results"]] == [line["label"] for line in lines[:-1]]


def test_a_hundred_long_rules_can_be_asked_for(client: Client, scans):
    rules = ["x" * 498 + "=0"] * 99 + ["*=" + "O" * 498]
    job = client.submit(zip_of(scans), charset_rules=rules)
    client.wait(job.id)
    assert {line["label"] for line in csv.DictReader(io.StringIO(client.results(job.id).decode()))} == {"O"}


@pytest.mark.parametrize(
    ("encoded", "flagged", "encoding"),
    [("cp866", False, "cp866"), ("utf-8", True, "cp437"), ("cp1251", False, "cp1251")],
)
def test_cyrillic_names_are_read_with_and_without_the_utf8_flag(http, scans, encoded, flagged, encoding):
    stand_in = "n" * len("скан.png".encode(encoded))
    archive = bytearray(
        zip_of({stand_in: next(iter(scans.values()))}).replace(stand_in.encode(), "скан.png".encode(encoded))
    )
    if flagged:
        for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            archive[archive.find(signature) + at + 1] |= 0x08
    rows = rows_of(http, ended(http, bytes(archive), filename_encoding=encoding))
    assert rows[0]["filename"] == "скан.png"


def test_an_idempotency_key_answers_the_same_job_and_refuses_another_body(http, scans):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = http.post("/v1/jobs", content=zip_of(scans), headers=key).json()
    again = http.post("/v1/jobs", content=zip_of(scans), headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    other_body = http.post("/v1/jobs", content=zip_of({**scans, "more.png": b""}), headers=key)
    other_options = http.post("/v1/jobs", content=zip_of(scans), params={"top_k": 1}, headers=key)
    for refused in (other_body, other_options):
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency-mismatch")


def test_two_uploads_at_once_under_one_key_become_one_job(http, scans):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    ids = []

    def submit() -> None:
        ids.append(http.post("/v1/jobs", content=zip_of(scans), headers=key).json()["id"])

    threads = [threading.Thread(target=submit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 1


def test_a_job_asked_for_with_a_wait_is_answered_when_it_has_ended(http, scans):
    accepted = http.post("/v1/jobs", content=zip_of(scans))
    assert accepted.status_code == 202
    for _ in "until it ended", "an ended one at once":
        answer = http.get(accepted.headers["Location"], headers={"Prefer": "wait=30"})
        assert answer.json()["state"] == "completed"
        assert answer.headers["Preference-Applied"] == "wait"
        assert "Retry-After" not in answer.headers


def test_results_of_an_unfinished_job_are_refused_or_partial_and_a_cancelled_one_keeps_what_is_done(
    http, client: Client, service: EmbeddedService, tmp_path
):
    samples.write_zip(tmp_path / "scans.zip", 6000, seed=5)
    job = client.submit(tmp_path / "scans.zip")
    early = http.get(f"/v1/jobs/{job.id}/results")
    assert (early.status_code, early.json()["code"]) == (409, "job-not-finished")
    assert early.json()["job"]["counts"]["total"] == 6000
    partial = http.get(f"/v1/jobs/{job.id}/results", params={"partial": "true"})
    assert (partial.status_code, partial.headers["glyphq-complete"]) == (200, "false")
    cancelled = client.cancel(job.id)
    assert cancelled.state == "cancelled"
    lines = list(csv.DictReader(io.StringIO(client.results(job.id).decode())))
    assert [line["row"] for line in lines] == [str(row) for row in range(6000)]
    by_status = {status: sum(line["status"] == status for line in lines) for status in ("classified", "cancelled")}
    assert by_status["cancelled"] > 0
    assert by_status == {"classified": cancelled.counts.classified, "cancelled": cancelled.counts.cancelled}
    again = http.post(f"/v1/jobs/{job.id}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "job-already-ended")


def test_a_deleted_job_is_gone_with_all_its_objects(http, service: EmbeddedService, scans):
    job = ended(http, zip_of(scans))
    assert http.delete(job["links"]["self"]).status_code == 204
    assert http.get(job["links"]["self"]).status_code == 404
    assert http.delete(job["links"]["self"]).status_code == 404
    assert [path for path in service.store.rglob("*") if job["id"] in str(path)] == []


def test_jobs_are_listed_newest_first_in_pages(http, scans):
    ids = [ended(http, next(iter(scans.values())))["id"] for _ in range(3)]
    first = http.get("/v1/jobs", params={"limit": 2}).json()
    assert [job["id"] for job in first["jobs"]] == [ids[2], ids[1]]
    second = http.get("/v1/jobs", params={"limit": 2, "cursor": first["next"], "state": "completed"}).json()
    assert second["jobs"][0]["id"] == ids[0]


def test_the_model_says_what_it_is_and_the_service_that_it_is_ready(http):
    card = http.get("/v1/model").json()
    assert card["classes"] == LABELS
    assert len(card["digest"]) == 64
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"ready": True, "checks": dict.fromkeys(CHECKS, "ok")}


def test_a_job_whose_record_is_damaged_has_failed_and_can_be_deleted(http, service: EmbeddedService, client: Client):
    job_id = str(uuid7())
    record = service.store / "jobs" / "local" / f"{job_id}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text("{}\n")
    assert client.status(job_id).state == "failed"
    assert job_id in {job.id for job in client.jobs()}
    for refused in (http.get(f"/v1/jobs/{job_id}/results"), http.post(f"/v1/jobs/{job_id}/cancel")):
        assert (refused.status_code, refused.json()["code"]) == (409, "job-failed")
    client.delete(job_id)
    assert http.get(f"/v1/jobs/{job_id}").status_code == 404
