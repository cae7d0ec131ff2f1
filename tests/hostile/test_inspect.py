"""`glyphq inspect` says of a hostile file what the service says of it, and its page cannot act."""

import html
from itertools import chain
from pathlib import Path

import pytest

from glyphq.errors import InvalidRequest
from glyphq.inspection import inspect, page
from glyphq.jobs import Options
from tests.hostile.corpus import ARCHIVES, IMAGES, TOO_MUCH, UNSUPPORTED, Case
from tests.integration.conftest import zip_of

FEW = 100  # rows; archives with more take long and show no more


def told(scan) -> str:
    if scan.rejection is not None:
        return scan.rejection.reason
    return "classified" if scan.answers else "blank"


@pytest.mark.parametrize("case", [case for case in ARCHIVES if case.refused], ids=lambda case: case.name)
def test_a_hostile_zip_is_refused_with_a_sentence(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "hostile.zip"
    path.write_bytes(case.make())
    if case.refused == UNSUPPORTED:  # then it is read as an image
        assert told(inspect([path], Options(), 1).scans[0]) in ("not_an_image", "nested_archive")
    elif case.refused != TOO_MUCH or "entry more" not in case.name:  # the limit of entries is the default here
        with pytest.raises(InvalidRequest):
            inspect([path], Options(), 1)


def test_rows_of_hostile_zips_are_those_of_the_service_and_their_page_cannot_act(tmp_path: Path) -> None:
    cases = [case for case in ARCHIVES if 0 < len(case.rows) < FEW]
    for number, case in enumerate(cases):
        (tmp_path / f"{number}.zip").write_bytes(case.make())
    inspection = inspect([tmp_path / f"{number}.zip" for number in range(len(cases))], Options(), 1000)
    assert [told(scan) for scan in inspection.scans] == list(chain.from_iterable(case.rows for case in cases))
    for text in (page(inspection), *(scan.line for scan in inspection.scans)):
        assert all(character.isprintable() or character == "\n" for character in text)
    assert "<script" not in page(inspection)
    assert html.escape("<script>alert(1)</script>.png") in page(inspection)
    assert all("\n" not in scan.line for scan in inspection.scans)


def test_hostile_images_are_told_as_the_service_tells_them(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    cases = [case for case in IMAGES if "as many pixels" not in case.name]
    path.write_bytes(zip_of({case.name: case.make() for case in cases}))
    assert [told(scan) for scan in inspect([path], Options(), 1000).scans] == [case.rows[0] for case in cases]
