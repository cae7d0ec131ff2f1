"""What people say is on a scan, in a real store."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from glyphq.corrections import Corrections
from glyphq.errors import InvalidOption, JobNotFound
from glyphq.jobs import Correction, Job
from glyphq.ledger import Ledger
from tests.unit.ledgers import accepted


@pytest.fixture
def corrections(ledger: Ledger) -> Corrections:
    return Corrections(ledger.blobs)


@pytest.fixture
def job(ledger: Ledger) -> Job:
    return accepted(ledger)


SEVEN, ONE = Correction("7", "ada", 1.5), Correction("1", "bob", 2.5)


def test_they_are_read_back_in_the_order_of_rows(corrections: Corrections, job: Job) -> None:
    for row in (10, 9, 2):
        corrections.put(job, row, SEVEN)
    assert list(corrections.of(job).items()) == [(2, SEVEN), (9, SEVEN), (10, SEVEN)]


def test_the_last_word_stands(corrections: Corrections, job: Job) -> None:
    corrections.put(job, 0, SEVEN)
    corrections.put(job, 0, ONE)
    assert corrections.of(job) == {0: ONE}


def test_what_is_taken_back_is_gone(corrections: Corrections, job: Job) -> None:
    corrections.put(job, 0, SEVEN)
    corrections.delete(job, 0)
    corrections.delete(job, 1)
    assert corrections.of(job) == {}


def test_many_at_once_are_all_kept(corrections: Corrections, job: Job) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda row: corrections.put(job, row, SEVEN), range(100)))
    assert list(corrections.of(job)) == list(range(100))


def test_a_damaged_one_is_left_out(corrections: Corrections, job: Job, tmp_path: Path) -> None:
    corrections.put(job, 0, SEVEN)
    corrections.put(job, 1, ONE)
    folder = tmp_path / "store" / "data" / job.id / "corrections"
    (folder / "0.json").write_bytes(b"{}")
    (folder / "1.json.bak").write_bytes((folder / "1.json").read_bytes())
    assert corrections.of(job) == {1: ONE}


def test_of_a_job_that_was_deleted_nothing_stays(ledger, corrections: Corrections, job: Job, tmp_path: Path) -> None:
    corrections.put(job, 0, SEVEN)
    ledger.delete(job)
    with pytest.raises(JobNotFound):
        corrections.put(job, 1, SEVEN)
    assert not any(job.id in str(path) for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("label", ["", " ", "123456789", "a\nb", "\u202e", "\x00"])
def test_what_is_no_label_is_refused(label: str) -> None:
    with pytest.raises(InvalidOption):
        Correction(label, "ada", 0)


@pytest.mark.parametrize("label", ["7", "c", "ß", "½", "10", "漢", "=", "?"])
def test_a_label_may_be_what_the_network_does_not_know(label: str) -> None:
    assert Correction(label, "ada", 0).label == label
