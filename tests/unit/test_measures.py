"""Measures against counts done by hand, and against what is true of logits drawn from a known distribution."""

import json
import math

import numpy as np
import pytest

from glyphq.labels import LABELS
from training.measures import CALIBRATION_BINS, measure, percent, proportion, risk_and_coverage


def logits(rows: list[str]) -> np.ndarray:
    """One row for each string: its first character is the likeliest class, its second the next, and so on."""
    values = np.zeros((len(rows), len(LABELS)), np.float32)
    for row, ranking in zip(values, rows, strict=True):
        for place, label in enumerate(ranking):
            row[LABELS.index(label)] = 10 - place
    return values


def classes(labels: str) -> np.ndarray:
    return np.array([LABELS.index(label) for label in labels], np.int64)


def drawn(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and classes drawn with the likelihoods that these logits say."""
    generator = np.random.default_rng(seed)
    values = generator.normal(0, 2, (count, len(LABELS))).astype(np.float32)
    gumbel = -np.log(-np.log(generator.random(values.shape)))
    return values, (values + gumbel).argmax(1)


#                 right  second third  wrong  look-alike
MEASURED = measure(logits(["0O", "BA", "DCE", "789", "O0"]), classes("0AE10"), 1.0)


class TestAccuracy:
    def test_first_two_and_three_answers_are_counted(self) -> None:
        assert (MEASURED["accuracy"]["value"], MEASURED["top_2"]["value"], MEASURED["top_3"]["value"]) == (
            0.2,
            0.6,
            0.8,
        )

    def test_look_alikes_count_as_right_when_merged(self) -> None:
        assert MEASURED["merged"]["value"] == 0.4

    def test_a_charset_is_measured_on_its_own_scans_with_its_own_answers(self) -> None:
        # 0, 1 and 0 are digits; O is no answer where only digits are.
        assert MEASURED["charsets"]["digits"] == proportion(2, 3)
        assert MEASURED["charsets"]["letters"] == proportion(0, 2)
        assert MEASURED["charsets"]["all"] == MEASURED["accuracy"]

    def test_what_gave_no_picture_is_an_error(self) -> None:
        measured = measure(logits(["0", "1"]), classes("01"), 1.0, unanswered=2)
        assert (measured["scans"], measured["unanswered"]) == (4, 2)
        for name in ("accuracy", "top_2", "top_3", "merged"):
            assert measured[name]["value"] == 0.5
            assert measured[name]["of"] == 4

    def test_of_each_class_precision_and_recall(self) -> None:
        measured = measure(logits(["A", "A", "B", "B"]), classes("ABBB"), 1.0)
        rows = {row["label"]: row for row in measured["classes"]}
        assert rows["A"] == {"label": "A", "scans": 1, "precision": 0.5, "recall": 1}
        assert rows["B"] == {"label": "B", "scans": 3, "precision": 1, "recall": 0.6667}
        assert rows["C"] == {"label": "C", "scans": 0, "precision": 0, "recall": 0}
        assert len(rows) == len(LABELS)
        assert measured["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2, abs=1e-4)

    def test_confusions_are_the_most_frequent_first(self) -> None:
        measured = measure(logits(["O", "O", "0", "1", "1", "Z"]), classes("00011I"), 1.0)
        assert measured["confusions"] == [
            {"truth": "0", "predicted": "O", "scans": 2, "share_of_truth": 0.6667},
            {"truth": "I", "predicted": "Z", "scans": 1, "share_of_truth": 1},
        ]

    def test_the_matrix_has_every_answer(self) -> None:
        measured = measure(logits(["O", "O", "0", "1", "1", "Z"]), classes("00011I"), 1.0)
        assert measured["matrix"] == {"0": {"0": 1, "O": 2}, "1": {"1": 2}, "I": {"Z": 1}}

    def test_the_loss_is_of_the_logits_as_they_are(self) -> None:
        even = np.zeros((3, len(LABELS)), np.float32)
        assert measure(even, classes("ABC"), 2.0)["loss"] == pytest.approx(math.log(47), abs=1e-4)

    def test_all_of_it_can_be_written_as_json(self) -> None:
        assert json.loads(json.dumps(MEASURED))["scans"] == 5


class TestProportion:
    def test_it_comes_with_its_wilson_interval(self) -> None:
        # Newcombe 1998, table I, method 3, gives 0.8256 to 0.9448 for 90 of 100.
        assert proportion(90, 100) == {"value": 0.9, "interval_95": [0.8256, 0.9448], "of": 100}
        assert percent(proportion(90, 100)) == "90.00% [82.56, 94.48]"

    def test_of_nothing_there_is_none(self) -> None:
        assert proportion(0, 0)["value"] is None
        assert percent(proportion(0, 0)) == "none"


class TestCalibration:
    def test_honest_logits_have_next_to_no_error(self) -> None:
        assert measure(*drawn(20_000), 1.0)["calibration"]["error_after"] < 0.015

    @pytest.mark.parametrize("factor", [0.4, 3])
    def test_boastful_and_timid_logits_have_one_that_the_temperature_takes_away(self, factor: float) -> None:
        values, truth = drawn(20_000)
        calibration = measure(values * np.float32(factor), truth, factor)["calibration"]
        assert calibration["error_before"] > 0.1
        assert calibration["error_after"] < 0.015

    def test_bins_hold_the_same_number_of_scans(self) -> None:
        bins = measure(*drawn(1000), 1.0)["calibration"]["bins"]
        assert len(bins) == CALIBRATION_BINS
        assert {b["scans"] for b in bins} == {66, 67}
        assert [b["confidence"] for b in bins] == sorted(b["confidence"] for b in bins)

    def test_the_error_is_the_mean_gap(self) -> None:
        # Every answer has confidence 1/47, and 1 of 2 is right.
        even = np.zeros((30, len(LABELS)), np.float32)
        truth = np.array([0, 1] * 15)
        error = measure(even, truth, 1.0)["calibration"]["error_after"]
        assert error == pytest.approx(0.5 - 1 / 47, abs=1e-4)


class TestRisk:
    def test_the_surest_are_kept_first(self) -> None:
        confidence = np.array([0.9, 0.5, 0.7, 0.6], np.float32)
        coverage, risk = risk_and_coverage(confidence, np.array([True, False, True, False]))
        assert coverage.tolist() == [0.25, 0.5, 0.75, 1]
        assert risk.tolist() == [0, 0, pytest.approx(1 / 3), 0.5]

    def test_at_each_threshold_it_says_what_is_kept_and_wrong(self) -> None:
        values, truth = drawn(5000)
        rows = {row["confidence"]: row for row in measure(values, truth, 1.0)["thresholds"]}
        assert rows[0.0]["accepted"] == 1
        accepted = [row["accepted"] for row in rows.values()]
        assert accepted == sorted(accepted, reverse=True)
        kept = rows[0.5]
        low, high = kept["errors_among_accepted"]["interval_95"]
        assert low < kept["errors_expected"] < high  # these logits are honest
        assert kept["errors_among_accepted"]["of"] == round(kept["accepted"] * 5000)
