"""What a zip, honest or hostile, becomes: rows to read, rows that are rejected already, or an error that says why."""

import io
import random
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyphq.archive import MAX_DIRECTORY_BYTES, ArchiveLimits, ZipIndex, index_zip
from glyphq.contents import extract
from glyphq.errors import EmptyInput, InvalidArchive, InvalidRequest, LimitExceeded
from glyphq.index import DEFLATE, INDEX_SCHEMA, STORED
from glyphq.jobs import Reason, Rejection
from glyphq.sniff import sniff
from tests.unit.forge import (
    DESCRIPTOR_FLAG,
    ENCRYPTED_FLAG,
    UTF8_FLAG,
    Entry,
    forge,
    honest_zip64_end,
    zip64_end,
    zip_of,
)

LIMITS = ArchiveLimits(
    max_entries=1000, max_entry_bytes=100_000, max_unpacked_bytes=1_000_000, chunk_images=1024, chunk_bytes=1 << 20
)


def index(content: bytes, limits: ArchiveLimits = LIMITS, filename_encoding: str = "cp437") -> ZipIndex:
    return index_zip(io.BytesIO(content), limits, filename_encoding)


def rows(content: bytes, limits: ArchiveLimits = LIMITS, filename_encoding: str = "cp437") -> list[dict[str, Any]]:
    batches = index(content, limits, filename_encoding).batches()
    return [row for batch in batches for row in batch.to_pylist()]


def names(content: bytes, filename_encoding: str = "cp437") -> list[str]:
    return [row["name"] for row in rows(content, filename_encoding=filename_encoding)]


def read(content: bytes, row: dict[str, Any]) -> bytes | Rejection:
    span = memoryview(content)[row["offset"] : row["offset"] + row["span"]]
    extracted = extract(
        span, size=row["size"], compressed_size=row["compressed_size"], method=row["method"], crc=row["crc"]
    )
    return extracted if isinstance(extracted, Rejection) else bytes(extracted)


def rejection(content: bytes, limits: ArchiveLimits = LIMITS) -> tuple[str, str]:
    """Of the only row, from the index or else from reading it."""
    (row,) = rows(content, limits)
    if row["reason"]:
        return row["reason"], row["detail"]
    extracted = read(content, row)
    assert isinstance(extracted, Rejection)
    return extracted.reason, extracted.detail


class TestAnHonestZip:
    @pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_gives_every_file_in_order_with_its_content(self, compression: int) -> None:
        files = [(f"page/{number}.png", random.Random(number).randbytes(50 * number + 1)) for number in range(40)]
        content = zip_of(files, compression)
        assert [(row["name"], read(content, row)) for row in rows(content)] == files

    def test_numbers_rows_from_zero_across_chunks(self) -> None:
        content = zip_of([(f"{number}.png", b"x") for number in range(10)])
        batches = list(index(content, replace(LIMITS, chunk_images=4)).batches())
        assert [batch.num_rows for batch in batches] == [4, 4, 2]
        assert [row for batch in batches for row in batch.column("row").to_pylist()] == list(range(10))
        assert all(batch.schema == INDEX_SCHEMA for batch in batches)

    def test_cuts_a_chunk_before_the_entry_that_would_pass_its_bytes(self) -> None:
        content = forge(*[Entry(name=b"%d" % number, content=bytes(1000)) for number in range(5)])
        entry_bytes = 30 + 1 + 1000 + 1  # header, name, data; the name in the index
        batches = index(content, replace(LIMITS, chunk_bytes=2 * entry_bytes)).batches()
        assert [batch.num_rows for batch in batches] == [2, 2, 1]

    def test_gives_an_entry_larger_than_a_chunk_a_chunk_of_its_own(self) -> None:
        content = forge(*[Entry(content=bytes(1000)) for _ in range(3)])
        assert [batch.num_rows for batch in index(content, replace(LIMITS, chunk_bytes=10)).batches()] == [1, 1, 1]

    def test_may_have_a_comment(self) -> None:
        assert names(forge(Entry(), comment=b"scanned in May")) == ["a.png"]

    def test_may_follow_the_stub_that_unpacks_it(self) -> None:
        content = forge(Entry(), prefix=b"MZ self-extractor " * 100)
        assert read(content, rows(content)[0]) == b"picture"

    def test_may_have_data_descriptors_and_gaps(self) -> None:
        described = Entry(content=b"x" * 500, method=DEFLATE, flags=DESCRIPTOR_FLAG, gap=b"PK\7\x08" + bytes(12))
        content = forge(described, described)
        assert [read(content, row) for row in rows(content)] == [b"x" * 500] * 2

    def test_may_be_written_to_a_pipe(self) -> None:
        class Pipe:
            """What zipfile can only write forward to."""

            content = b""

            def write(self, content: bytes) -> int:
                self.content += content
                return len(content)

            def flush(self) -> None:
                """Nothing is held back."""

        pipe = Pipe()
        with zipfile.ZipFile(cast("IO[bytes]", pipe), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", b"picture" * 100)
            archive.writestr("b.png", b"")
        content = pipe.content
        assert read(content, rows(content)[0]) == b"picture" * 100

    def test_may_be_listed_in_another_order_than_it_is_stored(self) -> None:
        first, second = Entry(name=b"1", content=b"one"), Entry(name=b"2", content=b"second")
        stored_at = 30 + 1 + 3
        body = forge(first, second)
        content = body[: body.index(b"PK\1\2")]
        listed = forge(replace(second, offset=stored_at), replace(first, offset=0))
        content += listed[listed.index(b"PK\1\2") :]
        assert [(row["name"], read(content, row)) for row in rows(content)] == [("2", b"second"), ("1", b"one")]

    def test_may_contain_another_zip_stored_last(self) -> None:
        inner = zip_of([("a.png", b"x")])
        content = zip_of([("inner.zip", inner)], zipfile.ZIP_STORED)
        (row,) = rows(content)
        extracted = read(content, row)
        assert isinstance(extracted, bytes)
        assert sniff(extracted) == "zip"

    def test_may_hold_a_name_twice(self) -> None:
        assert names(forge(Entry(), Entry(content=b"another"))) == ["a.png", "a.png"]

    def test_may_compress_a_blank_page_a_thousandfold(self) -> None:
        content = forge(Entry(content=bytes(100_000), method=DEFLATE))
        assert len(content) < 300
        assert read(content, rows(content)[0]) == bytes(100_000)

    def test_may_wrap_its_count_around_as_the_macos_archiver_does(self) -> None:
        content = forge(*[Entry(name=b"")] * 65_540, here=4, total=4)
        limits = replace(LIMITS, max_entries=70_000, max_unpacked_bytes=1 << 30)
        assert index(content, limits).total == 65_540

    def test_that_is_a_test_set_is_read_as_zipfile_reads_it(self, shared_data: Path) -> None:
        path = shared_data / "scans" / "emnist-test.zip"
        limits = replace(LIMITS, max_entries=100_000, max_unpacked_bytes=1 << 30)
        content = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            expected = [(info.filename, archive.read(info)) for info in archive.infolist() if not info.is_dir()]
        assert [(row["name"], read(content, row)) for row in rows(content, limits)] == expected


class TestZip64:
    def test_is_read_in_entries_and_end_record(self) -> None:
        extra = struct.pack("<HHQQQ", 1, 24, 7, 7, 0)
        entry = Entry(extra=extra, size=0xFFFFFFFF, compressed_size=0xFFFFFFFF, offset=0xFFFFFFFF)
        told_there: Any = {"here": 0xFFFF, "total": 0xFFFF, "size": 0xFFFFFFFF, "offset": 0xFFFFFFFF}
        content = forge(entry, before_end=honest_zip64_end, **told_there)
        (row,) = rows(content)
        assert (row["size"], row["offset"], read(content, row)) == (7, 0, b"picture")

    def test_is_read_as_zipfile_writes_it(self) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive, archive.open("a.png", "w", force_zip64=True) as file:
            file.write(b"picture")
        assert read(buffer.getvalue(), rows(buffer.getvalue())[0]) == b"picture"

    def test_for_a_size_alone_has_a_field_of_one_number(self) -> None:
        content = forge(Entry(extra=struct.pack("<HH4xHHQ", 9, 4, 1, 8, 7), size=0xFFFFFFFF))
        assert rows(content)[0]["size"] == 7

    def test_fields_that_are_missing_make_the_archive_invalid(self) -> None:
        with pytest.raises(InvalidArchive, match="lacks the zip64 field"):
            index(forge(Entry(size=0xFFFFFFFF, extra=struct.pack("<HHI", 1, 4, 7))))

    def test_end_record_that_disagrees_with_the_plain_one_makes_the_archive_invalid(self) -> None:
        with pytest.raises(InvalidArchive, match="disagree"):
            index(forge(Entry(), before_end=honest_zip64_end, here=2, total=2))

    def test_end_record_that_counts_wrongly_makes_the_archive_invalid(self) -> None:
        def lying(count: int, size: int, offset: int) -> bytes:
            return zip64_end(offset + size, (count + 65_536, size, offset))

        with pytest.raises(InvalidArchive, match="counts 65,537 entries"):
            index(forge(Entry(), before_end=lying, here=0xFFFF, total=0xFFFF), replace(LIMITS, max_entries=100_000))

    def test_end_record_elsewhere_makes_the_archive_invalid(self) -> None:
        def elsewhere(count: int, size: int, offset: int) -> bytes:
            return zip64_end(0, (count, size, offset))

        with pytest.raises(InvalidArchive, match="not where it should be"):
            index(forge(Entry(), before_end=elsewhere))

    def test_end_record_of_another_length_makes_the_archive_invalid(self) -> None:
        def longer(count: int, size: int, offset: int) -> bytes:
            return zip64_end(offset + size, (count, size, offset), record_size=45)

        with pytest.raises(InvalidArchive, match="damaged"):
            index(forge(Entry(), before_end=longer))

    def test_locator_of_several_disks_makes_the_archive_invalid(self) -> None:
        def spanned(count: int, size: int, offset: int) -> bytes:
            return zip64_end(offset + size, (count, size, offset), disks=2)

        with pytest.raises(InvalidArchive, match="split archive"):
            index(forge(Entry(), before_end=spanned))


class TestAnInvalidArchive:
    @pytest.mark.parametrize("kept", [0, 3, 21, 60, 200, -1])
    def test_is_one_that_was_cut_short(self, kept: int) -> None:
        content = zip_of([(f"{number}.png", bytes(50)) for number in range(20)])
        with pytest.raises(InvalidArchive, match="cut short"):
            index(content[:kept])

    def test_is_one_cut_within_its_comment(self) -> None:
        with pytest.raises(InvalidArchive, match="cut short within its comment"):
            index(forge(Entry(), comment=b"scanned in May")[:-3])

    def test_is_one_with_data_after_its_end(self) -> None:
        with pytest.raises(InvalidArchive, match="data after its end"):
            index(forge(Entry()) + b"more")

    def test_is_one_with_two_end_records_that_both_close_it(self) -> None:
        inner = forge(Entry(name=b"b.png"))
        with pytest.raises(InvalidArchive, match="two end records"):
            index(forge(Entry(), comment=inner))

    def test_is_one_with_an_end_record_hidden_in_its_comment(self) -> None:
        with pytest.raises(InvalidArchive, match="two end records"):
            index(forge(Entry(), comment=b"PK\5\6" + bytes(40)))

    @pytest.mark.parametrize("total", [0, 1, 3])
    def test_is_one_whose_count_lies(self, total: int) -> None:
        with pytest.raises(InvalidArchive, match="lists 2"):
            index(forge(Entry(), Entry(), here=total, total=total))

    @pytest.mark.parametrize("end", [{"size": 10}, {"offset": 1}, {"offset": 1 << 31}, {"size": 0xFFFFFFFF}])
    def test_is_one_whose_directory_is_not_where_its_end_record_says(self, end: Any) -> None:
        with pytest.raises(InvalidArchive, match="puts its directory"):
            index(forge(Entry(), **end))

    def test_is_one_behind_foreign_data_that_its_offsets_do_not_count(self) -> None:
        with pytest.raises(InvalidArchive, match="foreign data before it"):
            index(b"stub" + forge(Entry()))

    @pytest.mark.parametrize("end", [{"disk": 1}, {"first_disk": 1}, {"here": 0}])
    def test_is_one_part_of_a_split_archive(self, end: Any) -> None:
        with pytest.raises(InvalidArchive, match="split archive"):
            index(forge(Entry(), **end))

    def test_is_one_with_an_entry_on_another_disk(self) -> None:
        with pytest.raises(InvalidArchive, match="split archive"):
            index(forge(Entry(disk=1)))

    def test_is_one_whose_directory_is_damaged(self) -> None:
        content = forge(Entry(), Entry())
        second = content.rindex(b"PK\1\2")
        with pytest.raises(InvalidArchive, match="damaged after 1 entries"):
            index(content[:second] + b"XX" + content[second + 2 :])

    def test_is_one_whose_last_name_runs_past_the_directory(self) -> None:
        content = forge(Entry())
        name_length = content.rindex(b"PK\1\2") + 28
        with pytest.raises(InvalidArchive, match="damaged"):
            index(content[:name_length] + b"\xff\xff" + content[name_length + 2 :])

    def test_is_one_whose_entries_are_the_same_bytes(self) -> None:
        with pytest.raises(InvalidArchive, match="overlap"):
            index(forge(Entry(), Entry(name=b"b.png", offset=0)))

    def test_is_one_whose_entries_nest_as_in_a_zip_bomb(self) -> None:
        kernel = Entry(name=b"k", content=bytes(100))
        quoting = Entry(name=b"q", content=b"", compressed_size=40, size=40)
        with pytest.raises(InvalidArchive, match="overlap"):
            index(forge(quoting, kernel))

    def test_is_one_whose_last_entry_reaches_into_the_directory(self) -> None:
        with pytest.raises(InvalidArchive, match="overlap"):
            index(forge(Entry(compressed_size=40)))

    @pytest.mark.parametrize("place", [{"offset": 1 << 30}, {"compressed_size": 1 << 30}])
    def test_is_one_whose_entries_lie_beyond_the_file(self, place: Any) -> None:
        with pytest.raises(InvalidArchive, match="beyond"):
            index(forge(Entry(**place)))

    @given(damage=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=5))
    def test_raises_nothing_else_whatever_bytes_are_damaged(self, damage: list[tuple[int, int]]) -> None:
        content = bytearray(forge(*[Entry(method=DEFLATE), Entry(name=b"\x84.png"), Entry(extra=b"up\1\0x")] * 3))
        for at, value in damage:
            content[at % len(content)] = value
        try:
            found = rows(bytes(content))
        except InvalidRequest:
            return
        for row in found:
            assert row["reason"] or isinstance(read(bytes(content), row), bytes | Rejection)


class TestLimits:
    def test_more_entries_than_accepted_are_refused_from_the_end_record(self) -> None:
        with pytest.raises(LimitExceeded, match="up to 2 are accepted") as caught:
            index(forge(*[Entry()] * 3), replace(LIMITS, max_entries=2))
        assert (caught.value.limit, caught.value.value) == ("max_entries", 3)

    def test_more_entries_than_accepted_are_refused_although_the_end_record_hides_them(self) -> None:
        with pytest.raises(LimitExceeded) as caught:
            index(forge(*[Entry()] * 3, here=1, total=1), replace(LIMITS, max_entries=2))
        assert caught.value.limit == "max_entries"

    def test_exactly_as_many_entries_as_accepted_are_fine(self) -> None:
        assert index(forge(*[Entry()] * 3), replace(LIMITS, max_entries=3)).total == 3

    def test_a_directory_that_would_fill_memory_is_refused_unread(self, tmp_path: Path) -> None:
        size = MAX_DIRECTORY_BYTES + 1
        with (tmp_path / "sparse.zip").open("w+b") as file:
            file.seek(size)
            file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, size, 0, 0))
            with pytest.raises(InvalidArchive, match="directory alone"):
                index_zip(file, LIMITS, "cp437")

    def test_a_bomb_is_refused_by_the_bytes_it_declares(self) -> None:
        bomb = Entry(content=bytes(600_000), method=DEFLATE)
        with pytest.raises(LimitExceeded) as caught:
            index(forge(bomb, bomb))
        assert (caught.value.limit, caught.value.value) == ("max_unpacked_bytes", 1_200_000)

    def test_declared_sizes_cannot_wrap_around(self) -> None:
        huge = Entry(size=0xFFFFFFFF, extra=struct.pack("<HHQ", 1, 8, 1 << 63))
        with pytest.raises(LimitExceeded) as caught:
            index(forge(huge, huge))
        assert caught.value.value == 1 << 64


class TestFoldersAndLitter:
    def test_are_counted_but_are_no_rows(self) -> None:
        litter = [
            "scans/", "__MACOSX/scans/._a.png", "scans/__MACOSX/x.png", "._b.png", "scans/._b.png", ".DS_Store",
            "scans/.DS_Store", "Thumbs.db", "scans/THUMBS.DB", "scans/Desktop.ini",
        ]  # fmt: skip
        files = ["scans/a.png", "a._b.png", "my.DS_Store", "Thumbs.db.png", "__MACOSX", "desktop.ini/a.png"]
        found = index(zip_of([(name, b"" if name.endswith("/") else b"x") for name in litter + files]))
        assert (found.ignored, found.names.to_pylist()) == (len(litter), files)

    def test_folders_may_be_told_by_attribute_or_backslash(self) -> None:
        folders = [
            Entry(name=b"scans", content=b"", external=0x10),
            Entry(name=b"scans", content=b"", made_by=3 << 8, external=0o040755 << 16),
            Entry(name=b"scans\\", content=b""),
        ]
        assert index(forge(*folders, Entry())).ignored == 3

    def test_something_in_the_guise_of_a_folder_is_a_row(self) -> None:
        assert names(forge(Entry(name=b"scans/"))) == ["scans/"]

    def test_alone_are_an_empty_input(self) -> None:
        with pytest.raises(EmptyInput, match="only folders and files that desktops leave behind"):
            index(zip_of([("scans/", b""), ("scans/Thumbs.db", b"x")]))

    def test_an_empty_zip_is_an_empty_input(self) -> None:
        with pytest.raises(EmptyInput, match="no entries"):
            index(zip_of([]))


class TestNames:
    def test_with_the_utf8_flag_are_utf8(self) -> None:
        assert names(forge(Entry(name="буква.png".encode(), flags=UTF8_FLAG))) == ["буква.png"]

    def test_without_it_are_in_the_given_encoding(self) -> None:
        content = forge(Entry(name="буква.png".encode("cp866")), Entry(name=b"a.png"))
        assert names(content, "cp866") == ["буква.png", "a.png"]
        assert names(content) == ["буква.png".encode("cp866").decode("cp437"), "a.png"]

    def test_in_the_unicode_path_field_count_where_made_for_this_name(self) -> None:
        def entry(name: bytes, made_for: bytes) -> Entry:
            field = b"\1" + zlib.crc32(made_for).to_bytes(4, "little") + "буква".encode()
            return Entry(name=name, extra=struct.pack("<HH4xHH", 9, 4, 0x7075, len(field)) + field)

        assert names(forge(entry(b"#U0431", b"#U0431"), entry(b"renamed", b"#U0431"))) == ["буква", "renamed"]

    @pytest.mark.parametrize("encoding", ["utf-8", "shift_jis", "big5"])
    def test_that_cannot_be_decoded_are_read_with_replacements(self, encoding: str) -> None:
        assert "\ufffd" in names(forge(Entry(name=b"\xff\xff.png")), encoding)[0]
        assert names(forge(Entry(name=b"\xff.png", flags=UTF8_FLAG))) == ["\ufffd.png"]

    def test_keep_their_control_characters(self) -> None:
        assert names(forge(Entry(name=b"a\0b\n\x1b.png"))) == ["a\0b\n\x1b.png"]

    def test_may_be_empty(self) -> None:
        assert names(forge(Entry(name=b""), Entry())) == ["", "a.png"]

    def test_of_a_malformed_extra_field_stand(self) -> None:
        assert names(forge(Entry(name=b"a", extra=b"up\xff\xff1234"))) == ["a"]


class TestARejectedRow:
    def test_is_an_encrypted_entry(self) -> None:
        assert rejection(forge(Entry(flags=ENCRYPTED_FLAG)))[0] == Reason.ENCRYPTED

    @pytest.mark.parametrize(("method", "said"), [(12, r"12 (bzip2)"), (77, "method 77;")])
    def test_is_an_entry_of_unknown_compression(self, method: int, said: str) -> None:
        reason, detail = rejection(forge(Entry(method=method)))
        assert reason == Reason.UNSUPPORTED_COMPRESSION
        assert said in detail

    def test_is_an_entry_with_more_bytes_than_are_read(self) -> None:
        reason, detail = rejection(forge(Entry(content=bytes(100_001), method=DEFLATE)))
        assert reason == Reason.TOO_MANY_BYTES
        assert "100,001" in detail

    def test_is_a_small_entry_in_an_endless_package(self) -> None:
        reason, _ = rejection(forge(Entry(content=bytes(200_000), method=STORED, size=1)))
        assert reason == Reason.TOO_MANY_BYTES

    def test_is_an_empty_file(self) -> None:
        assert rejection(forge(Entry(content=b""))) == (Reason.EMPTY_FILE, Reason.EMPTY_FILE.sentence)

    @pytest.mark.parametrize("mode", [0o120777, 0o020600, 0o010600])
    def test_is_a_symbolic_link_or_device(self, mode: int) -> None:
        assert rejection(forge(Entry(made_by=3 << 8, external=mode << 16)))[0] == Reason.NOT_A_FILE

    def test_is_a_stored_entry_of_two_sizes(self) -> None:
        assert rejection(forge(Entry(size=8)))[0] == Reason.DAMAGED_ENTRY

    def test_does_not_count_towards_a_chunk(self) -> None:
        content = forge(*[Entry(name=b"", content=bytes(1000), flags=ENCRYPTED_FLAG)] * 5)
        assert len(list(index(content, replace(LIMITS, chunk_bytes=1000)).batches())) == 1

    @pytest.mark.parametrize("method", [STORED, DEFLATE])
    def test_is_an_entry_whose_checksum_is_wrong(self, method: int) -> None:
        reason, detail = rejection(forge(Entry(method=method, crc=1)))
        assert reason == Reason.DAMAGED_ENTRY
        assert "CRC" in detail

    @pytest.mark.parametrize(("size", "said"), [(6, "more"), (1, "more"), (8, "less")])
    def test_is_an_entry_that_unpacks_to_another_size(self, size: int, said: str) -> None:
        reason, detail = rejection(forge(Entry(method=DEFLATE, size=size)))
        assert reason == Reason.DAMAGED_ENTRY
        assert f"to {said} than" in detail

    def test_is_an_entry_whose_data_is_cut_short(self) -> None:
        packed = len(zlib.compress(b"picture", wbits=-15))
        assert "cut short" in rejection(forge(Entry(method=DEFLATE, compressed_size=packed - 1)))[1]

    def test_is_an_entry_whose_data_is_not_deflated(self) -> None:
        content = forge(Entry(content=b"picture" * 20, method=DEFLATE))
        at = 30 + len(b"a.png")
        assert "cannot be unpacked" in rejection(content[:at] + b"\xff" * 4 + content[at + 4 :])[1]

    def test_is_an_entry_without_a_local_header(self) -> None:
        assert "no entry" in rejection(b"XX" + forge(Entry())[2:])[1]

    @pytest.mark.parametrize("local", [{"local_method": DEFLATE}, {"local_flags": ENCRYPTED_FLAG}])
    def test_is_an_entry_that_disagrees_with_its_local_header(self, local: Any) -> None:
        assert "disagree" in rejection(forge(Entry(**local)))[1]

    def test_is_an_entry_whose_local_name_reaches_into_the_next(self) -> None:
        content = forge(Entry())
        assert "into the next entry" in rejection(content[:26] + b"\xff\xff" + content[28:])[1]

    def test_is_a_span_too_short_for_a_header(self) -> None:
        extracted = extract(b"PK\3\4", size=1, compressed_size=1, method=STORED, crc=0)
        assert isinstance(extracted, Rejection)
