"""What the benchmark makes and how it reckons, on a few scans; the numbers it prints are the machine's."""

import csv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from bench import inputs
from bench.footprint import durable_write_ms
from bench.inputs import Kind, write_zip
from bench.limits import LIMITS, limits, stages
from bench.report import spread, told
from bench.throughput import compare
from glyphq.errors import GlyphqError
from glyphq.vision.checkpoint import SHIPPED


@pytest.fixture(autouse=True)
def few_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_DISTINCT", {28: 5, 128: 5})
    monkeypatch.setattr(inputs, "_DISTINCT_LARGE", 2)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "scans.zip"
    write_zip(path, 40)
    return path


class TestInputs:
    @pytest.mark.parametrize("kind", Kind)
    def test_a_zip_has_so_many_scans_of_its_kind(self, tmp_path: Path, kind: Kind) -> None:
        told_of: list[int] = []
        write_zip(tmp_path / "scans.zip", 7, kind, told_of.append)
        assert sum(told_of) == 7
        with zipfile.ZipFile(tmp_path / "scans.zip") as archive:
            assert len(set(archive.namelist())) == 7
            for name in archive.namelist():
                with archive.open(name) as file, Image.open(file) as image:
                    assert (image.size, image.format, image.mode) == ((kind.width, kind.height), kind.form, "L")


class TestLimits:
    def test_each_is_a_rate_and_all_of_the_work_is_slower_than_a_part(self, archive: Path) -> None:
        with limits(2, SHIPPED) as bare:
            for limit in LIMITS:
                bare.per_second(limit, archive, 40)  # uncounted
            rates = {limit: bare.per_second(limit, archive, 40) for limit in LIMITS}
        assert min(rates.values()) > 0
        assert rates["all"] < rates["read"]

    def test_stages_are_told_in_the_order_of_the_work(self, archive: Path) -> None:
        steps = stages(archive, 40, SHIPPED)
        assert next(iter(steps)).startswith("index")
        assert list(steps)[-1] == "CSV"
        assert min(steps.values()) > 0


class TestCompare:
    def side(self, label: str, seconds: list[float]):
        """A side that gives every scan one label, and takes the next of `seconds` each time."""

        def run(archive: Path, table: Path) -> float:
            with zipfile.ZipFile(archive) as scans, table.open("w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(("row", "filename", "label"))
                rows.writerows((row, name, label) for row, name in enumerate(scans.namelist()))
            return seconds.pop(0)

        return run

    def test_ratios_are_of_the_times_of_one_round_and_the_first_round_does_not_count(self, archive: Path) -> None:
        sides = {"glyphq": self.side("A", [9.0, 1.0, 2.0]), "plain": self.side("A", [9.0, 4.0, 4.0])}
        compared = compare(sides, archive, 40, 2, lambda _: None, reference="plain", beside=lambda: {"read": 80.0})
        assert compared["ratios"] == {"plain": spread([4.0, 2.0])}
        assert compared["per_second"]["glyphq"] == spread([40.0, 20.0])
        assert compared["share_of"]["read"] == spread([0.5, 0.25])
        assert compared["agreement"] == {"glyphq": 1.0, "plain": 1.0}

    def test_answers_that_differ_are_an_error(self, archive: Path) -> None:
        sides = {"glyphq": self.side("B", [1.0, 1.0]), "plain": self.side("A", [1.0, 1.0])}
        with pytest.raises(GlyphqError, match=r"glyphq gives 0.00% of the labels that plain gives"):
            compare(sides, archive, 40, 1, lambda _: None, reference="plain")


def test_a_spread_is_told_with_its_median_first() -> None:
    assert told(spread([3.0, 1.0, 2.5]), ".1f") == "2.5 [1.0-3.0]"


def test_a_durable_write_takes_some_time_and_leaves_nothing(tmp_path: Path) -> None:
    taken = durable_write_ms(tmp_path)
    assert 0 < taken["p50"] <= taken["p99"]
    assert list(tmp_path.iterdir()) == []
