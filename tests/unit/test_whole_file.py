"""What a file that is written whole leaves behind, and what it leaves as it is."""

import os
import stat
from pathlib import Path

import pytest

from glyphq.whole_file import whole_file


def test_it_appears_when_it_is_whole(tmp_path: Path) -> None:
    with whole_file(tmp_path / "rows.csv") as file:
        file.write(b"half")
        assert not (tmp_path / "rows.csv").exists()
    assert (tmp_path / "rows.csv").read_bytes() == b"half"
    assert os.listdir(tmp_path) == ["rows.csv"]  # noqa: PTH208


def test_two_may_write_to_one_place(tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    with whole_file(target) as first, whole_file(target) as second:
        first.write(b"first")
        second.write(b"second")
    assert target.read_bytes() == b"first"


def test_what_it_replaces_keeps_its_mode_and_its_links(tmp_path: Path) -> None:
    target, link = tmp_path / "private.csv", tmp_path / "latest.csv"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link.symlink_to(target)
    with whole_file(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_device_stays_one_and_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    with whole_file(Path("/dev/null")) as file:
        file.write(b"rows")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(IsADirectoryError), whole_file(tmp_path):
        pytest.fail("nothing can be written")


def test_a_name_may_be_as_long_as_the_disk_takes(tmp_path: Path) -> None:
    with whole_file(tmp_path / ("a" * 255)) as file:
        file.write(b"rows")
    assert (tmp_path / ("a" * 255)).read_bytes() == b"rows"
