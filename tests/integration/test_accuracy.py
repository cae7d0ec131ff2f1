"""What the shipped model reads, through the whole service."""

import csv
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from glyphq import samples
from glyphq.client import Client
from glyphq.embedded import EmbeddedService
from glyphq.labels import LABELS
from glyphq.vision.checkpoint import read_card
from glyphq.vision.engine import open_engine
from training.evaluate import Rows, evaluate, scan_sample

Picture = NDArray[np.uint8]

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


@pytest.mark.parametrize(("name", "least"), [("pen-on-paper", 0.87), ("tablet-pen", 0.885)])
def test_real_scans_of_other_writers_are_read_above_the_floor(service, shared_data, name, least):
    lines = {line["filename"]: line for line in read(service, shared_data / "scans" / f"{name}.zip")}
    odd = dict(list(truth(shared_data / "scans" / f"{name}.csv").items())[1::2])
    assert agreement([lines[filename] for filename in odd], odd) >= least


def inverted(picture: Picture) -> Picture:
    return 255 - picture


def enlarged(picture: Picture) -> Picture:
    return cv2.resize(picture, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)


def on_grey_paper(picture: Picture) -> Picture:
    """Dark ink, paper lit from one side, grain."""
    light = np.linspace(175, 225, picture.shape[1])
    grain = np.random.default_rng(int(picture.sum())).normal(0, 4, picture.shape)
    return (light - picture * (130 / 255) + grain).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("change", [inverted, enlarged, on_grey_paper, None], ids=lambda c: c and c.__name__)
def test_emnist_scanned_otherwise_is_read_as_well_within_a_point(service, shared_data, tmp_path, change):
    """`None` is JPEG of quality 60."""
    labels = truth(shared_data / "scans" / "emnist-test.csv")
    plain = agreement(read(service, shared_data / "scans" / "emnist-test.zip"), labels)
    with (
        zipfile.ZipFile(shared_data / "scans" / "emnist-test.zip") as archive,
        zipfile.ZipFile(tmp_path / "changed.zip", "w") as changed,
    ):
        for name in archive.namelist():
            picture = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_GRAYSCALE)
            form = (".png", change(picture)) if change else (".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, 60))
            changed.writestr(name, cv2.imencode(*form)[1].tobytes())
    assert agreement(read(service, tmp_path / "changed.zip"), labels) > plain - 0.01


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
