"""What the shipped model reads, through the whole service."""

import csv
from pathlib import Path

import pytest

from glyphq import samples
from glyphq.client import Client
from glyphq.embedded import EmbeddedService

LEAST_ACCURACY = 0.905
DRAWN_FLOOR = 0.85


def read(service: EmbeddedService, scans: Path) -> list[dict[str, str]]:
    """The lines of the CSV of these scans."""
    with Client(service.url) as client:
        job = client.wait(client.submit(scans).id)
        return list(csv.DictReader(client.results(job.id).decode().splitlines()))


def truth(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        return {line["filename"]: line["emnist_label"] for line in csv.DictReader(file)}


def agreement(lines: list[dict[str, str]], labels: dict[str, str]) -> float:
    return sum(line["label"] == labels[line["filename"]] for line in lines) / len(labels)


def test_drawn_samples_are_read_above_the_floor(service, tmp_path):
    samples.write_zip(tmp_path / "scans.zip", 1240, seed=8, truth=tmp_path / "scans.csv")
    assert agreement(read(service, tmp_path / "scans.zip"), truth(tmp_path / "scans.csv")) > DRAWN_FLOOR


def test_the_emnist_test_set_is_read_as_well_as_the_card_says(service, shared_data):
    lines = read(service, shared_data / "scans" / "emnist-test.zip")
    labels = truth(shared_data / "scans" / "emnist-test.csv")
    assert [line["filename"] for line in lines] == list(labels)
    assert agreement(lines, labels) >= LEAST_ACCURACY


@pytest.mark.parametrize(("name", "scans"), [("pen-on-paper", 2848), ("tablet-pen", 1674)])
def test_real_scans_are_all_rows_and_none_is_rejected(service, shared_data, name, scans):
    lines = read(service, shared_data / "scans" / f"{name}.zip")
    assert {line["filename"] for line in lines} == set(truth(shared_data / "scans" / f"{name}.csv"))
    assert len(lines) == scans
    assert {line["status"] for line in lines} <= {"classified", "blank"}
