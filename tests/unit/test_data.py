"""EMNIST's files: how they are read, what is refused, and what is held out of them."""

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from glyphq.labels import LABELS
from training.data import Pictures, Split, hold_out, load_emnist

from .training_files import idx, in_turn, noise, refused, write_emnist

pytestmark = pytest.mark.usefixtures("own_folder")


class TestData:
    @pytest.mark.parametrize("split", ["balanced", "bymerge"])
    @pytest.mark.parametrize("packed", [False, True])
    def test_pictures_come_out_upright_with_their_classes(self, tmp_path: Path, split: Split, packed: bool) -> None:
        pixels, classes = noise(50), in_turn(50)
        write_emnist(tmp_path / "root", pixels, classes, split=split, packed=packed)
        read = load_emnist(tmp_path / "root", split, train=True)
        assert torch.equal(read.pixels, torch.from_numpy(pixels))
        assert read.pixels.is_contiguous()
        assert read.classes.tolist() == classes.tolist()
        assert (read.pixels.dtype, read.classes.dtype) == (torch.uint8, torch.int64)
        assert len(read) == 50

    def test_splits_and_parts_are_told_apart(self, tmp_path: Path) -> None:
        write_emnist(tmp_path, noise(5), in_turn(5))
        write_emnist(tmp_path, noise(3, seed=1), in_turn(3), part="test", packed=True)
        write_emnist(tmp_path, noise(4, seed=2), in_turn(4), split="bymerge")
        assert len(load_emnist(tmp_path, "balanced", train=True)) == 5
        assert len(load_emnist(tmp_path, "balanced", train=False)) == 3
        assert len(load_emnist(tmp_path, "bymerge", train=True)) == 4

    @pytest.mark.parametrize("packed", [False, True])
    def test_nothing_is_written_beside_the_originals(self, tmp_path: Path, packed: bool) -> None:
        raw = write_emnist(tmp_path / "root", noise(5), in_turn(5), packed=packed)
        before = {path.name: path.read_bytes() for path in raw.iterdir()}
        load_emnist(tmp_path / "root", "balanced", train=True)
        assert {path.name: path.read_bytes() for path in raw.iterdir()} == before

    def test_another_root_is_read_anew(self, tmp_path: Path) -> None:
        write_emnist(tmp_path / "one", noise(5), in_turn(5))
        write_emnist(tmp_path / "two", noise(7), in_turn(7))
        assert len(load_emnist(tmp_path / "one", "balanced", train=True)) == 5
        assert len(load_emnist(tmp_path / "two", "balanced", train=True)) == 7

    def test_what_was_downloaded_is_not_downloaded_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._without_network(monkeypatch)
        write_emnist(Path("runs/data/official"), noise(5), in_turn(5))
        assert len(load_emnist(None, "balanced", train=True)) == 5

    def test_without_a_network_it_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._without_network(monkeypatch)
        with refused("no such host") as caught:
            load_emnist(None, "balanced", train=True)
        assert "truncated" not in caught.value.detail

    @staticmethod
    def _without_network(monkeypatch: pytest.MonkeyPatch) -> None:
        def unreachable(*_: object, **__: object) -> None:
            raise URLError("no such host")

        monkeypatch.setattr("urllib.request.urlopen", unreachable)

    @pytest.mark.parametrize("split", ["balanced", "bymerge"])
    @pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
    def test_a_missing_file_is_named(self, tmp_path: Path, split: Split, kind: str) -> None:
        raw = write_emnist(tmp_path, noise(5), in_turn(5), split=split)
        (raw / f"emnist-{split}-train-{kind}-ubyte").unlink()
        with refused(rf"emnist-{split}-train-{kind}-ubyte\.gz is missing\. Point --data at"):
            load_emnist(tmp_path, split, train=True)

    @pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
    @pytest.mark.parametrize("end", [0, 1, 3, 4, 7, 8, 12, -1])
    def test_a_truncated_file_is_refused(self, tmp_path: Path, kind: str, end: int) -> None:
        raw = write_emnist(tmp_path, noise(5), in_turn(5))
        path = raw / f"emnist-balanced-train-{kind}-ubyte"
        path.write_bytes(path.read_bytes()[:end])
        with refused("EMNIST balanced cannot be read"):
            load_emnist(tmp_path, "balanced", train=True)

    @pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
    @pytest.mark.parametrize(
        "content",
        [
            b"<html>not found</html>",
            bytes(100),
            idx(noise(5)) + b"more",
            idx(np.zeros((5, 28, 28), np.float32), 13),
            idx(np.zeros(5, np.int16), 11),
            idx(noise(5), 10),
            idx(noise(5)[:, 0]),
        ],
        ids=["html", "zeros", "longer", "floats", "shorts", "unknown type", "two dimensions"],
    )
    def test_what_is_not_of_the_format_is_refused(self, tmp_path: Path, kind: str, content: bytes) -> None:
        raw = write_emnist(tmp_path, noise(5), in_turn(5))
        (raw / f"emnist-balanced-train-{kind}-ubyte").write_bytes(content)
        with refused("EMNIST balanced cannot be read"):
            load_emnist(tmp_path, "balanced", train=True)

    @pytest.mark.parametrize("end", [0, 1, 10, 100, -8, -1])
    def test_a_truncated_gzip_is_refused(self, tmp_path: Path, end: int) -> None:
        raw = write_emnist(tmp_path, noise(5), in_turn(5), packed=True)
        path = raw / "emnist-balanced-train-images-idx3-ubyte.gz"
        path.write_bytes(path.read_bytes()[:end])
        # An empty gzip unpacks to nothing, and nothing is no EMNIST.
        with refused("cannot be unpacked" if end else "cannot be read"):
            load_emnist(tmp_path, "balanced", train=True)

    def test_what_is_no_gzip_is_refused(self, tmp_path: Path) -> None:
        raw = write_emnist(tmp_path, noise(5), in_turn(5), packed=True)
        (raw / "emnist-balanced-train-images-idx3-ubyte.gz").write_bytes(b"<html>not found</html>")
        with refused("cannot be unpacked"):
            load_emnist(tmp_path, "balanced", train=True)

    @pytest.mark.parametrize("labels", [4, 6])
    def test_images_and_labels_of_two_parts_are_refused(self, tmp_path: Path, labels: int) -> None:
        write_emnist(tmp_path, noise(5), in_turn(labels))
        with refused(f"balanced has 5 images and {labels} labels; they are of two"):
            load_emnist(tmp_path, "balanced", train=True)

    @pytest.mark.parametrize("classes", [48, 62])
    def test_files_of_another_split_under_this_name_are_refused(self, tmp_path: Path, classes: int) -> None:
        write_emnist(tmp_path, noise(62), in_turn(62, classes), split="bymerge")
        said = f"bymerge has labels up to {classes - 1}, but 47 classes: these are the files of another split"
        with refused(said):
            load_emnist(tmp_path, "bymerge", train=True)

    @pytest.mark.parametrize("size", [(32, 32), (28, 27)])
    def test_images_of_another_size_are_refused(self, tmp_path: Path, size: tuple[int, int]) -> None:
        write_emnist(tmp_path, np.zeros((5, *size), np.uint8), in_turn(5))
        with refused(r"has images of \(\d+, \d+\) pixels, not 28x28"):
            load_emnist(tmp_path, "balanced", train=True)

    def test_the_real_test_set_is_read_upright(self, shared_data: Path) -> None:
        test = load_emnist(shared_data / "emnist", "balanced", train=False)
        assert len(test) == 4700
        assert torch.bincount(test.classes).tolist() == [100] * 47
        # A written 7 has its bar above: stored column by column and read by rows, it would lie on its side.
        seven = test.pixels[test.classes == LABELS.index("7")].float().mean(0)
        assert seven[:14].sum() > 1.2 * seven[14:].sum()


class TestHoldOut:
    def test_nothing_is_in_both_and_nothing_is_lost(self) -> None:
        everything = Pictures(torch.arange(500), torch.arange(500) % 7)
        rest, held = hold_out(everything, 10, seed=1)
        assert sorted([*rest.pixels.tolist(), *held.pixels.tolist()]) == list(range(500))
        assert torch.equal(rest.classes, rest.pixels % 7)
        assert torch.equal(held.classes, held.pixels % 7)

    def test_of_each_class_so_many_are_held(self) -> None:
        _, held = hold_out(Pictures(torch.arange(500), torch.arange(500) % 7), 10, seed=1)
        assert torch.bincount(held.classes).tolist() == [10] * 7

    def test_a_class_with_fewer_is_held_whole(self) -> None:
        classes = torch.tensor([0] * 20 + [1] * 3)
        rest, held = hold_out(Pictures(torch.arange(23), classes), 5, seed=1)
        assert torch.bincount(held.classes).tolist() == [5, 3]
        assert set(rest.classes.tolist()) == {0}

    def test_the_seed_alone_decides(self) -> None:
        everything = Pictures(torch.arange(500), torch.arange(500) % 7)
        torch.manual_seed(1)
        first = hold_out(everything, 10, seed=1)[1].pixels
        torch.manual_seed(2)
        assert torch.equal(hold_out(everything, 10, seed=1)[1].pixels, first)
        assert not torch.equal(hold_out(everything, 10, seed=2)[1].pixels, first)
