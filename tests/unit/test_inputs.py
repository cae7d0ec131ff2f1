"""Inputs stay as they came, and their index is good or made again."""

from collections.abc import Callable
from dataclasses import asdict, replace

import pyarrow as pa
import pytest

from glyphq.errors import DamagedObject, RowNotFound, StoreError
from glyphq.jobs import Job, Kind
from glyphq.ledger import Ledger
from glyphq.object_names import index_key, input_key, record_key
from tests.unit.ledgers import (
    DAMAGES,
    LIMITS,
    NAMES,
    accepted,
    damages,
    interactive,
    objects,
    path_of,
    prepared,
    spoil,
    zip_of,
)


class TestIndex:
    def test_a_chunk_is_read_by_itself(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        found = [ledger.inputs.index(job, chunk) for chunk in range(len(job.chunks))]
        assert [batch.column("name").to_pylist() for batch in found] == [
            ["a.png", "b.png"],
            ["c.png", "d.png"],
            ["e.png"],
        ]
        assert [batch.column("row").to_pylist() for batch in found] == [[0, 1], [2, 3], [4]]
        assert job.first_rows[:3] == (0, 2, 4)

    def test_the_whole_index_is_one_arrow_stream(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        with pa.ipc.open_stream(path_of(ledger, index_key(job.id)).read_bytes()) as reader:
            assert reader.read_all().column("name").to_pylist() == NAMES

    def test_a_row_is_found_in_its_chunk_and_no_other_chunk_is_read(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        names = [ledger.inputs.index_row(job, row).column("name").to_pylist() for row in range(job.total)]
        assert names == [[name] for name in NAMES]
        path = path_of(ledger, index_key(job.id))
        whole = path.read_bytes()
        path.write_bytes(whole[: job.chunks[1].offset])
        assert ledger.inputs.index_row(job, 1).num_rows == 1
        assert path.read_bytes() != whole
        assert ledger.inputs.index_row(job, 2).num_rows == 1
        assert path.read_bytes() == whole

    @pytest.mark.parametrize("row", [-1, len(NAMES)])
    def test_there_is_no_row_before_the_first_or_after_the_last(self, ledger: Ledger, row: int) -> None:
        with pytest.raises(RowNotFound, match=f"there is no row {row}"):
            ledger.inputs.index_row(accepted(ledger), row)

    def test_an_index_in_the_record_needs_no_object(self, ledger: Ledger) -> None:
        job = interactive(ledger)
        assert ledger.inputs.index(job, 0).column("name").to_pylist() == ["a.png"]
        assert objects(ledger) == [record_key("local", job.id)]

    def test_damage_is_found_in_the_chunk_where_it_is(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        path = path_of(ledger, index_key(job.id))
        content = bytearray(path.read_bytes())
        content[job.chunks[1].offset + job.chunks[1].length // 2] ^= 1
        path.write_bytes(content)
        assert ledger.inputs.index(job, 0).num_rows == 2
        with pytest.raises(DamagedObject, match="Chunk 1"):
            ledger.inputs.index(job, 1)

    def test_a_missing_index_is_a_damaged_one(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.blobs.delete(index_key(job.id))
        with pytest.raises(DamagedObject):
            ledger.inputs.index(job, 0)

    @pytest.mark.parametrize("damage", [lambda _: b"", lambda content: content[:100], DAMAGES["zeroed"]])
    def test_a_damaged_index_is_made_again_from_the_zip(self, ledger: Ledger, damage: Callable[[bytes], bytes]) -> None:
        job = accepted(ledger)
        good = path_of(ledger, index_key(job.id)).read_bytes()
        spoil(ledger, index_key(job.id), damage)
        ledger.inputs.rebuild_index(job)
        assert path_of(ledger, index_key(job.id)).read_bytes() == good

    def test_it_is_cut_by_the_limits_in_the_record(self, ledger: Ledger) -> None:
        job = ledger.accept(replace(prepared(ledger), archive_limits=asdict(replace(LIMITS, chunk_images=3))))
        spoil(ledger, index_key(job.id), DAMAGES["zeroed"])
        with pytest.raises(DamagedObject, match="no longer gives the index"):
            ledger.inputs.rebuild_index(job)

    def test_it_is_not_made_from_a_zip_that_was_damaged_too(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        spoil(ledger, input_key(job.id), DAMAGES["cut-in-half"])
        with pytest.raises(DamagedObject, match="cannot be indexed again"):
            ledger.inputs.rebuild_index(job)

    def test_it_is_not_made_from_another_zip(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.blobs.replace(input_key(job.id), zip_of(["x.png", *NAMES[1:]]))
        good = path_of(ledger, index_key(job.id)).read_bytes()
        with pytest.raises(DamagedObject, match="no longer gives the index"):
            ledger.inputs.rebuild_index(job)
        assert path_of(ledger, index_key(job.id)).read_bytes() == good

    def test_it_is_not_made_without_an_input(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.blobs.delete(input_key(job.id))
        with pytest.raises(DamagedObject):
            ledger.inputs.rebuild_index(job)

    def test_what_was_no_zip_cannot_be_indexed_again(self, ledger: Ledger) -> None:
        job = ledger.accept(replace(prepared(ledger), kind=Kind.IMAGES, archive_limits=None))
        with pytest.raises(DamagedObject, match="only a zip's"):
            ledger.inputs.rebuild_index(job)


class TestInput:
    @pytest.mark.parametrize("make", [accepted, interactive])
    def test_a_range_is_a_slice_wherever_the_input_is(self, ledger: Ledger, make: Callable[[Ledger], Job]) -> None:
        job = make(ledger)
        content = zip_of(NAMES) if job.inline_input is None else job.inline_input
        assert ledger.inputs.read(job, 3, 10) == content[3:13]
        assert ledger.inputs.read(job, len(content) - 2, 10) == content[-2:]

    @pytest.mark.parametrize("make", [accepted, interactive])
    def test_an_untouched_input_is_intact(self, ledger: Ledger, make: Callable[[Ledger], Job]) -> None:
        assert ledger.inputs.intact(make(ledger), lambda: None)

    @damages
    def test_an_altered_input_is_not(self, ledger: Ledger, damage: Callable[[bytes], bytes]) -> None:
        job = accepted(ledger)
        spoil(ledger, input_key(job.id), damage)
        assert not ledger.inputs.intact(job, lambda: None)

    def test_one_that_the_store_does_not_give_now_is_not_called_damaged(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: str) -> None:
            raise StoreError("503 SlowDown")

        job = accepted(ledger)
        monkeypatch.setattr(ledger.blobs, "open", refuse)
        with pytest.raises(StoreError, match="SlowDown"):
            ledger.inputs.intact(job, lambda: None)

    def test_an_input_that_is_gone_is_not(self, ledger: Ledger) -> None:
        job = accepted(ledger)
        ledger.blobs.delete(input_key(job.id))
        assert not ledger.inputs.intact(job, lambda: None)
