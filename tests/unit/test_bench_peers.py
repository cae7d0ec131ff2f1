"""What `make bench` compares glyphq with: each peer reads a zip as the plain script does, and leaves no process."""

import csv
import io
import multiprocessing
import zipfile
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.peers import Peer
from bench.peers.processes import environment_python
from bench.peers.registry import PEERS
from bench.peers.tuned_script import BATCH
from glyphq.errors import SetupError
from glyphq.samples import draw
from glyphq.vision.checkpoint import SHIPPED
from glyphq.vision.normalize import normalize

IMAGES = BATCH + 8  # more than one batch, and one that is not full


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("peers") / "scans.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for sample in draw(IMAGES):
            png = io.BytesIO()
            Image.fromarray(normalize(np.asarray(Image.open(io.BytesIO(sample.png))))).save(png, "PNG")
            file.writestr(f"a folder, {sample.filename}", png.getvalue())
    return path


def table_of(peer: Peer, archive: Path) -> list[dict[str, str]]:
    table = archive.with_suffix(".csv")
    assert peer.classify(archive, table) > 0
    rows = list(csv.DictReader(table.read_text("utf-8").splitlines()))
    table.unlink()
    return rows


def same(rows: list[dict[str, str]], plain: list[dict[str, str]]) -> None:
    sure, plainly_sure = ([float(row.pop("confidence")) for row in table] for table in (rows, deepcopy(plain)))
    assert sure == pytest.approx(plainly_sure, abs=0.03)  # some compute in bfloat16
    assert rows == [{name: row[name] for name in ("row", "filename", "label")} for row in plain]


@pytest.fixture(scope="module")
def plain(archive):
    with PEERS["plain"](SHIPPED) as peer:
        return table_of(peer, archive)


@pytest.fixture
def _uncompiled(monkeypatch):
    """In the processes that are started too."""
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")


def test_the_plain_script_writes_a_row_for_each_image_in_order(archive, plain):
    assert [row["filename"] for row in plain] == zipfile.ZipFile(archive).namelist()
    assert [int(row["row"]) for row in plain] == list(range(IMAGES))
    assert all(0 < float(row["confidence"]) <= 1 for row in plain)


@pytest.mark.usefixtures("_uncompiled")
@pytest.mark.parametrize("key", ["tuned", "celery-chunk"])
def test_each_peer_says_what_the_plain_script_says(key, archive, plain):
    with PEERS[key](SHIPPED) as peer:
        same(table_of(peer, archive), plain)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("key", ["litserve", "mosec"])
def test_each_server_says_what_the_plain_script_says_and_tells_its_latency(key, archive, plain):
    try:
        environment_python(key)
    except SetupError as error:
        pytest.skip(error.detail)
    with zipfile.ZipFile(archive) as file:
        png = file.read(file.namelist()[0])
    with PEERS[key](SHIPPED) as peer:
        same(table_of(peer, archive), plain)
        latency = peer.latency(png, clients=4, requests=40)
    assert 0 < latency.p50_ms <= latency.p99_ms
    assert latency.per_second > 0


def test_a_server_without_its_environment_says_how_it_is_made():
    with pytest.raises(SetupError, match="make bench-peers"):
        environment_python("nothing")
