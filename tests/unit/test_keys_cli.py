"""`glyphq keys`: what it prints, and what it does to the store."""

from pathlib import Path

import pytest

from glyphq.cli import main
from glyphq.keys import Keys
from glyphq.local_blobs import LocalBlobs


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """As a service has made it."""
    return LocalBlobs(tmp_path / "store").root


def said(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    with pytest.raises(SystemExit) as exited:
        main(["keys", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(exited.value.code or 0), out, err


def test_a_key_is_shown_once_and_listed_without_its_secret(store: Path, capsys) -> None:
    code, key, _ = said(capsys, "create", "ada", "--name", "laptop", "--stored-bytes", "5G", "--store", store)
    assert code == 0
    _, listed, whose = said(capsys, "list", "--store", store)
    assert whose == f"Keys of the store file://{store}: 1\n"
    assert key.strip().split("_", 2)[1] in listed
    assert key.strip().split("_", 2)[2] not in listed
    assert "ada" in listed
    assert listed.strip().endswith("laptop")
    assert "stored_bytes=5368709120" in listed


def test_a_revoked_key_is_listed_as_such(store: Path, capsys) -> None:
    _, key, _ = said(capsys, "create", "ada", "--store", store)
    assert said(capsys, "revoke", key.strip(), "--store", store)[0] == 0
    assert "revoked" in said(capsys, "list", "--store", store)[1]
    assert [each.state for each in Keys(LocalBlobs(store)).all()] == ["revoked"]


@pytest.mark.parametrize("arguments", [("create", "ada"), ("list",), ("revoke", "0123456789ab")])
def test_a_store_that_is_not_there_is_said_and_not_made(tmp_path: Path, capsys, arguments: tuple[str, ...]) -> None:
    store = tmp_path / "nowhere"
    code, _, err = said(capsys, *arguments, "--store", store)
    assert code != 0
    assert f"There is no store at file://{store}" in err
    assert not store.exists()


@pytest.mark.parametrize(("option", "value"), [("--expires", "90"), ("--expires", "0d"), ("--stored-bytes", "5 G")])
def test_an_amount_that_cannot_be_read_is_said(store: Path, capsys, option: str, value: str) -> None:
    code, out, err = said(capsys, "create", "ada", option, value, "--store", store)
    assert (code, out) == (2, "")
    assert option in err


def test_a_key_that_would_outlive_every_clock_is_refused_and_one_that_does_is_listed(store: Path, capsys) -> None:
    assert said(capsys, "create", "ada", "--expires", "99999999999999d", "--store", store)[0] == 2
    Keys(LocalBlobs(store)).create("ada", "old", 1e18, {})
    code, listed, _ = said(capsys, "list", "--store", store)
    assert code == 0
    assert "9999-" in listed
