"""A whole service whose store is a bucket: nothing of a job is on a disk."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator

import boto3
import httpx
import pytest

from bench.bucket import Bucket, bucket
from glyphq import samples
from glyphq.client import Client
from glyphq.embedded import EmbeddedService, embedded_service
from tests.integration.conftest import halted, zip_of


@pytest.fixture(scope="module")
def s3() -> Iterator[Bucket]:
    with bucket() as made:
        yield made


@pytest.fixture(scope="module")
def service(s3: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    variables = {**s3.variables, "GLYPHQ_STORE_URL": "s3://scans/of/glyphq", "GLYPHQ_CHUNK_IMAGES": "100"}
    with embedded_service(tmp_path_factory.mktemp("service") / "store", 2, environment=variables) as running:
        yield running


@pytest.fixture
def scans() -> dict[str, bytes]:
    return {sample.filename: sample.png for sample in samples.draw(500, seed=3)}


def keys(s3: Bucket) -> list[str]:
    client = boto3.client(
        "s3", "us-east-1", endpoint_url=s3.variables["AWS_ENDPOINT_URL"],
        aws_access_key_id="glyphq", aws_secret_access_key="glyphq",
    )  # fmt: skip
    return [each["Key"] for each in client.list_objects_v2(Bucket="scans").get("Contents", [])]


def test_a_zip_becomes_its_rows_and_lies_in_the_bucket_alone(service, client: Client, s3: Bucket, scans) -> None:
    job = client.wait(client.submit(zip_of(scans)).id)
    lines = list(csv.DictReader(io.StringIO(client.results(job.id).decode())))
    assert [line["filename"] for line in lines] == list(scans)
    assert {line["status"] for line in lines} == {"classified"}
    assert any(key == f"of/glyphq/data/{job.id}/input" for key in keys(s3))
    assert [path.name for path in service.store.rglob("*")] == [".lock"]


def test_a_worker_reads_of_a_zip_what_it_classifies(service, client: Client, s3: Bucket, scans) -> None:
    with halted(service):
        job = client.submit(zip_of(scans))
        s3.requests.clear()
    client.wait(job.id)
    of_input = [asked for asked in list(s3.requests) if f"{job.id}/input" in asked]
    assert len(of_input) == 5  # chunks
    assert {asked.rsplit('"', 1)[1].split()[0] for asked in of_input} == {"206"}


def test_single_images_corrections_and_pictures_work_as_on_a_disk(http: httpx.Client, scans) -> None:
    png = next(iter(scans.values()))
    job = http.post("/v1/jobs", content=png, headers={"Prefer": "wait=20"}).json()
    assert job["results"][0]["status"] == "classified"
    assert http.get(f"/v1/jobs/{job['id']}/items/0/image").content == png
    http.put(f"/v1/jobs/{job['id']}/items/0/correction", json={"label": "@"}).raise_for_status()
    answer = http.get(f"/v1/jobs/{job['id']}/results", params={"format": "ndjson", "corrected": "true"})
    assert json.loads(answer.text)["final_label"] == "@"


def test_the_same_idempotency_key_is_the_same_job(http: httpx.Client, scans) -> None:
    answers = [http.post("/v1/jobs", content=zip_of(scans), headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_a_job_that_is_deleted_leaves_nothing(client: Client, s3: Bucket, scans) -> None:
    job = client.wait(client.submit(zip_of(scans)).id)
    client.delete(job.id)
    assert [key for key in keys(s3) if job.id in key] == []


def test_a_zip_by_label_is_read_from_the_bucket(http: httpx.Client, client: Client, scans) -> None:
    job = client.wait(client.submit(zip_of(scans)).id)
    content = http.get(f"/v1/jobs/{job.id}/results", params={"format": "zip"}).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert sum(re.search(r"/\d{7}-", name) is not None for name in archive.namelist()) == len(scans)


def test_it_is_ready_where_puts_are_conditional(http: httpx.Client) -> None:
    assert http.get("/readyz").json()["checks"]["store"] == "ok"
