"""Evaluation, export and card on tiny models and files: what is read, what is written, what is refused."""

import csv
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from glyphq.errors import SetupError
from glyphq.labels import LABELS, MERGED_CASES
from glyphq.vision.checkpoint import load_network, read_card
from glyphq.vision.engine import open_engine
from glyphq.vision.network import parameters
from training import card as card_module
from training import evaluate as evaluate_module
from training.evaluate import TEST_SET, Rows, Split, emnist_sample, evaluate, scan_sample
from training.export import Prior, export, fit_temperature
from training.measures import Sample
from training.report import read_curves
from training.train import CHECKPOINT, accuracy_and_loss, logits_of, train

from .test_measures import drawn
from .training_files import FULL, TRAINING, VALIDATION, in_turn, noise, write_emnist

pytestmark = pytest.mark.usefixtures("own_folder", "uncompiled", "recipes")


@pytest.fixture
def run() -> Path:
    folder = Path("runs/full")
    train(FULL, TRAINING, VALIDATION, folder)
    return folder


@pytest.fixture
def model(run: Path) -> Path:
    """A tiny model with card and curves."""
    export(FULL, run, TRAINING, VALIDATION, Path("model"))
    return Path("model")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """EMNIST's files, tiny: what the recipe trains on, and the test set."""
    write_emnist(tmp_path / "root", noise(200), in_turn(200, 2), split="bymerge")
    write_emnist(tmp_path / "root", noise(20, seed=1), in_turn(20, 2), part="test")
    return tmp_path / "root"


def write_scans(folder: Path, names: list[str], *, blank: str = "", damaged: str = "") -> tuple[Path, Path]:
    """A zip of dark rings on white, and their truth, all of them O."""
    folder.mkdir(exist_ok=True)
    archive, truth = folder / "scans.zip", folder / "scans.csv"
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            scan = np.full((60, 60), 255, np.uint8)
            if name != blank:
                cv2.circle(scan, (30, 30), 10 + len(name), 0, 3)
            content = cv2.imencode(".png", scan)[1].tobytes()
            file.writestr(name, content[:40] if name == damaged else content)
    with truth.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["filename", "character", "emnist_label"])
        lines.writerows([name, "o", "O"] for name in names)
    return archive, truth


class TestExport:
    def test_a_finished_run_becomes_a_model_that_can_be_loaded(self, run: Path) -> None:
        fields = export(FULL, run, TRAINING, VALIDATION, Path("model"), Prior.CLASSES)
        network, card = load_network(Path("model"))
        assert card.fields == fields
        averaged = torch.load(run / CHECKPOINT, weights_only=True)["averaged"]
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, averaged[f"module.{name}"])

    def test_a_class_of_two_characters_is_twice_as_likely_unless_classes_are_to_be_alike(self, run: Path) -> None:
        logits = {}
        for prior in Prior:
            fields = export(FULL, run, TRAINING, VALIDATION, Path(prior), prior)
            assert fields["prior"] == prior
            logits[prior] = logits_of(load_network(Path(prior))[0], VALIDATION.pixels)
        raised = (logits[Prior.CHARACTERS] - logits[Prior.CLASSES]).exp()
        expected = torch.tensor([2.0 if label in MERGED_CASES else 1.0 for label in LABELS])
        assert torch.allclose(raised, expected.expand_as(raised), atol=1e-4)

    def test_the_card_says_how_it_was_made(self, model: Path) -> None:
        network, card = load_network(model)
        assert card.fields["parameters"] == parameters(network)
        assert card.fields["recipe"]["stages"] == FULL.as_dict()["stages"]
        assert card.fields["architecture"]["channels"] == [2, 2, 2]
        data = card.fields["data"]
        assert (data["split"], data["trained_on"], data["held_out"]) == ("emnist-bymerge-train", 44, 10)
        assert card.temperature > 0

    def test_the_learning_curves_of_the_network_as_trained_are_kept(self, run: Path) -> None:
        model = Path("model")
        export(FULL, run, TRAINING, VALIDATION, model, Prior.CLASSES)
        curves = read_curves(model)
        assert [line["epoch"] for line in curves] == [1, 2, 3, 4]
        accuracy, loss = accuracy_and_loss(load_network(model)[0], VALIDATION)
        assert curves[-1]["validation_accuracy"] == round(accuracy, 4)
        assert curves[-1]["validation_loss"] == round(loss, 4)

    def test_without_a_run_it_says_to_train_first(self) -> None:
        with pytest.raises(SetupError, match="Train first: make train RECIPE=full"):
            export(FULL, Path("runs/none"), TRAINING, VALIDATION, Path("model"))
        assert not Path("model").exists()

    def test_an_unfinished_run_is_refused(self, run: Path) -> None:
        saved = torch.load(run / CHECKPOINT, weights_only=True)
        torch.save({**saved, "history": saved["history"][:1]}, run / CHECKPOINT)
        with pytest.raises(SetupError, match="has done 1 of its 4 epochs"):
            export(FULL, run, TRAINING, VALIDATION, Path("model"))
        assert not Path("model").exists()


class TestTemperature:
    VALUES, TRUTH = (torch.from_numpy(array) for array in drawn(2000))

    def test_honest_logits_need_none(self) -> None:
        assert fit_temperature(self.VALUES, self.TRUTH) == pytest.approx(1, abs=0.05)

    @pytest.mark.parametrize("factor", [0.5, 3.0])
    def test_it_undoes_what_scaled_the_logits(self, factor: float) -> None:
        honest = fit_temperature(self.VALUES, self.TRUTH)
        assert fit_temperature(self.VALUES * factor, self.TRUTH) == pytest.approx(factor * honest, rel=1e-3)


class TestSamples:
    def test_the_test_set_is_the_files_own(self, root: Path, model: Path) -> None:
        sample = emnist_sample(root, Split.TEST, read_card(model))
        assert sample.name == TEST_SET
        assert np.array_equal(sample.pictures, noise(20, seed=1))
        assert sample.truth.tolist() == in_turn(20, 2).tolist()

    def test_held_out_is_what_training_did_not_see(self, root: Path, model: Path) -> None:
        sample = emnist_sample(root, Split.HELD_OUT, read_card(model))
        assert len(sample.truth) == 100

    @pytest.mark.parametrize(("rows", "kept"), [(Rows.ALL, 5), (Rows.EVEN, 3), (Rows.ODD, 2)])
    def test_rows_are_counted_from_0_in_the_order_of_the_truth(self, tmp_path: Path, rows: Rows, kept: int) -> None:
        archive, truth = write_scans(tmp_path / "in", ["e.png", "d.png", "c.png", "b.png", "a.png"])
        assert len(scan_sample(archive, truth, rows).truth) == kept

    def test_even_and_odd_are_different_scans(self, tmp_path: Path) -> None:
        names = ["a.png", "bb.png", "ccc.png", "dddd.png"]  # rings of growing size
        archive, truth = write_scans(tmp_path / "in", names)
        odd, even = (scan_sample(archive, truth, rows).pictures for rows in (Rows.ODD, Rows.EVEN))
        assert not np.array_equal(odd, even)
        everything = scan_sample(archive, truth, Rows.ALL).pictures
        assert np.array_equal(everything[0::2], even)
        assert np.array_equal(everything[1::2], odd)

    def test_blank_and_damaged_scans_are_counted_as_unanswered(self, tmp_path: Path) -> None:
        archive, truth = write_scans(tmp_path / "in", ["a.png", "b.png", "c.png"], blank="a.png", damaged="c.png")
        sample = scan_sample(archive, truth, Rows.ALL)
        assert (len(sample.truth), sample.unanswered) == (1, 2)
        assert sample.truth.tolist() == [LABELS.index("O")]

    def test_a_scan_that_is_not_in_the_zip_is_named(self, tmp_path: Path) -> None:
        archive, truth = write_scans(tmp_path / "in", ["a.png"])
        truth.write_text("filename,emnist_label\nb.png,O\n")
        with pytest.raises(SetupError, match=r"does not have: .*b\.png"):
            scan_sample(archive, truth, Rows.ALL)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("filename,label\na.png,O\n", "columns filename and emnist_label"),
            ("filename,emnist_label\na.png,o\n", "labels that are no class: o"),
            ("filename,emnist_label\n", "has no rows"),
        ],
    )
    def test_a_truth_that_says_nothing_is_refused(self, tmp_path: Path, content: str, said: str) -> None:
        archive, truth = write_scans(tmp_path / "in", ["a.png"])
        truth.write_text(content)
        with pytest.raises(SetupError, match=said):
            scan_sample(archive, truth, Rows.ALL)

    @pytest.mark.parametrize("content", [None, b"no zip"])
    def test_what_is_no_zip_is_refused(self, tmp_path: Path, content: bytes | None) -> None:
        archive, truth = write_scans(tmp_path / "in", ["a.png"])
        archive.unlink() if content is None else archive.write_bytes(content)
        with pytest.raises(SetupError, match="cannot be read as a zip"):
            scan_sample(archive, truth, Rows.ALL)

    def test_scans_without_ink_alone_are_refused(self, tmp_path: Path) -> None:
        archive, truth = write_scans(tmp_path / "in", ["a.png"], blank="a.png")
        with pytest.raises(SetupError, match="None of the 1 scans"):
            scan_sample(archive, truth, Rows.ALL)


def test_the_engine_is_asked_for_every_picture(model: Path) -> None:
    sample = Sample("noise", noise(300), in_turn(300).astype(np.int64))
    engine = open_engine("torch", model)
    evaluation = evaluate(engine, read_card(model).temperature, sample)
    assert np.array_equal(evaluation.logits, engine.logits(sample.pictures))
    right = int((evaluation.logits.argmax(1) == sample.truth).sum())
    assert evaluation.measured["accuracy"]["value"] == round(right / 300, 4)


class TestCommands:
    def test_a_report_is_one_page_with_its_numbers_beside_it(
        self, root: Path, model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        evaluate_module.main(root, model=model, engine="torch", output=Path("report"))
        facts = json.loads(Path("report/report.json").read_text())
        assert facts["scans"] == 20
        assert facts["model"] == read_card(model).digest
        page = Path("report/report.html").read_text()
        assert page.count("<svg") == 4
        assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
            "http://creativecommons.org", ""
        )
        worst = facts["confusions"][0]
        assert page.count("data:image/png;base64,") >= worst["scans"]
        said = capsys.readouterr().out
        assert f"glyphq full on {TEST_SET}" in said
        assert f"{worst['truth']} as {worst['predicted']} {worst['scans']}" in said

    def test_scans_are_measured_with_their_truth(self, tmp_path: Path, model: Path) -> None:
        archive, truth = write_scans(tmp_path / "in", [f"{i}.png" for i in range(6)])
        evaluate_module.main(scans=archive, truth=truth, rows=Rows.ODD, model=model, engine="torch", output=Path("r"))
        assert json.loads(Path("r/report.json").read_text())["sample"] == "scans, odd rows"

    def test_scans_without_truth_are_refused(
        self, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        archive, _ = write_scans(tmp_path / "in", ["a.png"])
        with pytest.raises(SystemExit, match="1"):
            evaluate_module.main(scans=archive, model=model)
        assert (
            capsys.readouterr().err
            == "error: --scans needs --truth, a CSV with the columns filename and emnist_label.\n"
        )

    def test_other_files_than_the_cards_are_said_to_be_others(
        self, tmp_path: Path, root: Path, model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        card_module.main(root, model=model, engine="torch")
        capsys.readouterr()
        evaluate_module.main(root, model=model, engine="torch", output=Path("report"))
        assert "those of the card" not in capsys.readouterr().err
        write_emnist(tmp_path / "others", noise(30, seed=1), in_turn(30, 2), part="test")
        evaluate_module.main(tmp_path / "others", model=model, engine="torch", output=Path("report"))
        assert "these are 30 images, and those of the card 20" in capsys.readouterr().err

    def test_a_card_keeps_what_is_not_measured_again(self, tmp_path: Path, root: Path, model: Path) -> None:
        for name in ("pen-on-paper", "tablet-pen"):
            archive, truth = write_scans(tmp_path / "in", [f"{i}.png" for i in range(4)])
            archive.rename(archive.with_name(f"{name}.zip"))
            truth.rename(truth.with_name(f"{name}.csv"))
        card_module.main(root, scans=tmp_path / "in", model=model, engine="torch")
        measured = read_card(model).fields["measured"]
        assert "pen-on-paper, odd rows" in measured
        card_module.main(root, model=model, engine="torch")
        assert read_card(model).fields["measured"] == measured

    def test_the_card_is_what_evaluate_measures(self, root: Path, model: Path) -> None:
        digest = read_card(model).digest
        card_module.main(root, model=model, engine="torch", beside=[model])
        card = read_card(model)
        assert card.digest == digest
        evaluate_module.main(root, model=model, engine="torch", output=Path("report"))
        facts = json.loads(Path("report/report.json").read_text())
        on_test = card.fields["measured"][TEST_SET]
        assert {name: facts[name] for name in ("accuracy", "top_3", "merged", "thresholds")} == {
            name: on_test[name] for name in ("accuracy", "top_3", "merged", "thresholds")
        }
        assert [row["name"] for row in card.fields["compared"]] == ["glyphq full", "glyphq full"]
        assert set(card.fields["measured"]) == {TEST_SET, "held-out"}
        page = Path("docs/model-card.md").read_text()
        assert digest in page
        linked = {
            line.split("](")[1].split(")")[0] for line in page.replace(" ![", "\n![").splitlines() if "![" in line
        }
        assert linked == {path.relative_to("docs").as_posix() for path in Path("docs/model-card").iterdir()}


def test_the_shipped_card_has_its_measures_and_curves() -> None:
    card = read_card()
    assert card.fields["measured"][TEST_SET]["scans"] == 4700
    assert card.fields["published"]["accuracy"] == 0.8882
    assert "glyphq published" in {row["name"] for row in card.fields["compared"]}
    assert len(read_curves(evaluate_module.SHIPPED)) == sum(s["epochs"] for s in card.fields["recipe"]["stages"])
