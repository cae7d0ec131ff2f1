"""Which files of those given go into the zip that is sent, and under which names."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from tests.unit.client.service import (
    Service,
    accepted,
    entries,
)


def test_a_folder_is_packed_with_those_it_leads_to_each_once(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.png").write_bytes(b"b")
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"a")
    (folder / "more").symlink_to(tmp_path / "other")
    (folder / "round").symlink_to(folder)
    service = Service(accepted())
    service.client().submit(folder)
    with zipfile.ZipFile(io.BytesIO(service.requests[0].content)) as sent:
        assert sent.namelist() == ["a.png", "more/b.png"]


def test_a_link_to_a_folder_beside_it_packs_no_file_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "b" / "1.png").write_bytes(b"1")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b")
    for name in ("another", "one"):
        (tmp_path / name).symlink_to(tmp_path / "b")
    service = Service(accepted())
    service.client().submit(tmp_path)
    with zipfile.ZipFile(io.BytesIO(service.requests[0].content)) as sent:
        assert sent.namelist() == ["b/1.png"]


def test_a_file_given_twice_by_different_ways_is_packed_once_under_a_name_without_dots(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "page 2")
    service = Service(accepted())
    service.client().submit(["../a.png", folder / "a.png", "a.png", "../page 2/a.png"])
    assert list(entries(service.requests[0].content)) == ["a.png", "page 2/a.png"]


def test_names_that_are_no_utf8_stay_apart(tmp_path: Path) -> None:
    for name in (b"\xfe.png", b"\xff.png"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    service = Service(accepted())
    service.client().submit(tmp_path)
    assert entries(service.requests[0].content) == {r"\xfe.png": b"\xfe.png", r"\xff.png": b"\xff.png"}


def test_a_folder_that_cannot_be_read_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    (tmp_path / "a.png").write_bytes(b"a")
    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(PermissionError):
        Service(accepted()).client().submit(tmp_path)
