"""What the shipped model reads, through the whole service."""

import csv
from pathlib import Path

import pytest

from glyphq import samples
from glyphq.client import Client
from glyphq.embedded import EmbeddedService
from glyphq.labels import LABELS
from glyphq.vision.checkpoint import read_card
from glyphq.vision.engine import open_engine
from training.evaluate import Rows, evaluate, scan_sample

LEAST_ACCURACY = 0.905
DRAWN_FLOOR = 0.85
LEAST_AGREEMENT_OF_ENGINES = 0.995


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


def test_the_service_says_what_evaluate_says(service, shared_data):
    archive, table = (shared_data / "scans" / f"emnist-test.{kind}" for kind in ("zip", "csv"))
    sample = scan_sample(archive, table, Rows.ALL)
    ours = [line["label"] for line in read(service, archive)]
    same, other = (
        [LABELS[index] for index in evaluate(open_engine(engine), read_card().temperature, sample).logits.argmax(1)]
        for engine in ("auto", "torch")
    )
    assert ours == same
    assert sum(a == b for a, b in zip(ours, other, strict=True)) >= LEAST_AGREEMENT_OF_ENGINES * len(ours)
