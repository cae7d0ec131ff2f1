"""What is sent of what is handed in, and what is refused before."""

import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from glyphq.errors import (
    EmptyInput,
    GlyphqError,
    InvalidOption,
    LimitExceeded,
    UnsupportedInput,
    UploadInterrupted,
)
from glyphq.jobs import JobState, Kind
from tests.unit.client.service import JOB_ID, Service, accepted, entries, problem


class TestSubmit:
    def test_one_file_is_sent_as_it_is_with_its_length(self, tmp_path: Path) -> None:
        (tmp_path / "scans.zip").write_bytes(b"PK\x03\x04 whatever")
        service = Service(accepted())
        job = service.client().submit(tmp_path / "scans.zip")
        request = service.requests[0]
        assert (request.method, request.url.path, request.content) == ("POST", "/v1/jobs", b"PK\x03\x04 whatever")
        assert request.headers["Content-Length"] == "13"
        assert "Transfer-Encoding" not in request.headers
        assert (job.id, job.state, job.kind, job.counts.pending) == (JOB_ID, JobState.QUEUED, Kind.ZIP, 4)

    def test_bytes_are_sent_as_they_are(self) -> None:
        service = Service(accepted())
        service.client().submit(b"an image")
        assert service.requests[0].content == b"an image"

    def test_only_chosen_options_are_sent(self) -> None:
        service = Service(accepted())
        service.client().submit(b"an image", top_k=1, charset="digits", name="Ünit 7")
        assert dict(service.requests[0].url.params) == {"top_k": "1", "charset": "digits", "name": "Ünit 7"}

    def test_rules_are_sent_one_by_one_in_order(self) -> None:
        service = Service(accepted())
        service.client().submit(b"an image", charset_rules=["dates/*=digits", "*=letters"])
        assert service.requests[0].url.params.multi_items() == [
            ("charset_rules", "dates/*=digits"),
            ("charset_rules", "*=letters"),
        ]

    def test_rules_that_no_address_can_hold_are_told_before_anything_is_sent(self) -> None:
        service = Service(accepted())
        with pytest.raises(InvalidOption, match="too long for one address"):
            service.client().submit(b"an image", charset_rules=["ж" * 490 + "=digits"] * 100)
        assert service.requests == []

    def test_a_wrong_option_is_told_before_anything_is_sent(self) -> None:
        service = Service(accepted())
        with pytest.raises(InvalidOption, match="top_k"):
            service.client().submit(b"an image", top_k=99)
        with pytest.raises(InvalidOption, match="'digits' has no ="):
            service.client().submit(b"an image", charset_rules=["digits"])
        assert service.requests == []

    def test_a_folder_becomes_a_zip_sorted_by_name_with_what_is_in_it_unchanged(self, folder: Path) -> None:
        service = Service(accepted())
        service.client().submit(folder)
        sent = entries(service.requests[0].content)
        assert list(sent) == ["a.png", "b.png", "inner.zip", "page 2/a.png"]
        assert sent["inner.zip"] == b"content of inner.zip"

    def test_several_inputs_become_a_zip_named_from_the_folder_they_share(self, folder: Path) -> None:
        service = Service(accepted())
        service.client().submit([folder / "page 2", folder / "b.png", folder / "a.png", folder / "a.png"])
        assert list(entries(service.requests[0].content)) == ["a.png", "b.png", "page 2/a.png"]

    def test_files_older_than_zip_itself_are_packed(self, folder: Path) -> None:
        os.utime(folder / "a.png", (0, 0))
        service = Service(accepted())
        service.client().submit(folder)
        assert "a.png" in entries(service.requests[0].content)

    def test_an_archive_among_several_inputs_is_refused(self, folder: Path) -> None:
        (folder / "more.zip").write_bytes(b"PK\x03\x04")
        with pytest.raises(UnsupportedInput, match=r"more\.zip is an archive"):
            Service(accepted()).client().submit([folder / "a.png", folder / "more.zip"])

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(EmptyInput):
            Service(accepted()).client().submit(tmp_path)

    def test_no_inputs_are_refused(self) -> None:
        with pytest.raises(EmptyInput):
            Service(accepted()).client().submit([])

    def test_progress_counts_the_bytes_sent(self) -> None:
        seen: list[tuple[int, int]] = []
        Service(accepted()).client().submit(bytes(600_000), on_upload=lambda sent, total: seen.append((sent, total)))
        assert seen == [(262_144, 600_000), (524_288, 600_000), (600_000, 600_000)]

    def test_a_lost_connection_is_tried_again_with_the_same_key_and_body(self) -> None:
        service = Service(httpx.ReadError("Connection reset"), accepted())
        service.client().submit(b"an image")
        first, second = service.requests
        assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
        assert first.content == second.content == b"an image"

    def test_each_submission_has_a_key_of_its_own_unless_one_is_given(self) -> None:
        service = Service(accepted())
        client = service.client()
        client.submit(b"an image")
        client.submit(b"an image")
        client.submit(b"an image", idempotency_key="mine")
        keys = [request.headers["Idempotency-Key"] for request in service.requests]
        assert keys[0] != keys[1]
        assert keys[2] == "mine"

    @pytest.mark.parametrize("key", ["ключ", "line\nbreak", " mine", "x" * 201])
    def test_a_key_that_no_header_can_carry_is_told_before_anything_is_sent(self, key: str) -> None:
        service = Service(accepted())
        with pytest.raises(InvalidOption, match="idempotency key"):
            service.client().submit(b"an image", idempotency_key=key)
        assert service.requests == []

    def test_a_limit_is_reported_with_its_fields_and_not_tried_again(self) -> None:
        service = Service(problem(413, "limit-exceeded", "The upload is too large.", limit="max_upload_bytes", value=9))
        with pytest.raises(LimitExceeded, match=r"The upload is too large\.") as caught:
            service.client().submit(b"an image")
        assert (caught.value.limit, caught.value.value) == ("max_upload_bytes", 9)
        assert len(service.requests) == 1

    def test_a_path_may_be_text(self, folder: Path) -> None:
        service = Service(accepted())
        service.client().submit(str(folder / "a.png"))
        assert service.requests[0].content == b"content of a.png"

    def test_a_folder_is_packed_anew_for_each_attempt_into_the_same_zip_of_the_size_that_was_told(
        self, folder: Path
    ) -> None:
        seen: list[tuple[int, int]] = []
        service = Service(httpx.ReadError("Connection reset"), accepted())
        service.client().submit(folder, on_upload=lambda sent, total: seen.append((sent, total)))
        first, second = (request.content for request in service.requests)
        assert first == second
        assert seen == [(len(first), len(first))] * 2


@pytest.mark.parametrize("scans", ["", [""], ["a.png", ""]])
def test_an_empty_path_is_not_the_working_folder(scans: str | list[str]) -> None:
    service = Service(accepted())
    with pytest.raises(EmptyInput, match="the path is empty"):
        service.client().submit(scans)
    assert service.requests == []


@pytest.mark.parametrize("among", [[], ["a.png"]])
def test_a_pipe_is_refused_before_anything_is_sent(tmp_path: Path, among: list[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.png").write_bytes(b"a")
    service = Service(accepted())
    with pytest.raises(UnsupportedInput, match="pipe is no file"):
        service.client().submit([tmp_path / name for name in ("pipe", *among)])
    assert service.requests == []


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_while_it_is_sent_is_told(tmp_path: Path, change: int) -> None:
    file, size = tmp_path / "scans.zip", 600_000
    file.write_bytes(bytes(size))
    with pytest.raises(UploadInterrupted, match=r"scans\.zip changed while it was sent"):
        Service(accepted()).client().submit(file, on_upload=lambda *_: os.truncate(file, size + change))


def test_errors_while_reading_the_input_are_not_mistaken_for_the_network(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Service(accepted()).client().submit(tmp_path / "nothing.zip")


def test_the_last_of_repeated_uploads_reports_progress_from_the_start() -> None:
    seen: list[int] = []
    service = Service(httpx.ReadError("Connection reset"), accepted())
    service.client().submit(bytes(300_000), on_upload=lambda sent, _total: seen.append(sent))
    assert seen == [262_144, 300_000, 262_144, 300_000]


class Table:
    """As a DataFrame: it has a shape, and columns by their names."""

    shape = 2, 784

    def __getitem__(self, name: str) -> None:
        raise KeyError(name)


class TestArrays:
    def test_pictures_become_a_zip_of_pngs_that_show_them(self) -> None:
        pictures = np.random.default_rng(1).integers(0, 256, (12, 5, 7), np.uint8)
        service = Service(accepted())
        service.client().submit(pictures)
        sent = entries(service.requests[0].content)
        assert list(sent) == [f"{number:02}.png" for number in range(12)]
        assert all((shown(sent[f"{number:02}.png"]) == pictures[number]).all() for number in range(12))

    def test_one_picture_is_one_png_however_it_lies_in_memory(self) -> None:
        picture = np.random.default_rng(1).integers(0, 256, (28, 56), np.uint8)[:, ::2].T
        service = Service(accepted())
        service.client().submit(picture)
        assert (shown(service.requests[0].content) == picture).all()

    def test_rows_of_784_are_sent_as_the_pixel_rows_that_they_are(self) -> None:
        rows = np.random.default_rng(1).integers(0, 256, (3, 784), np.uint8)
        service = Service(accepted())
        service.client().submit(rows)
        assert json.loads(service.requests[0].content) == {"images": rows.tolist()}
        assert service.requests[0].headers["Content-Type"] == "application/json"

    @pytest.mark.parametrize(
        ("array", "error", "said"),
        [
            (np.zeros((2, 28, 28)), UnsupportedInput, r"\(array \* 255\)\.astype"),
            (np.zeros((64, 48, 3), np.uint8), UnsupportedInput, "one picture in colour"),
            (np.zeros(784, np.uint8), UnsupportedInput, "of shape \\(784,\\) holds no scans"),
            (np.zeros((0, 28, 28), np.uint8), EmptyInput, "holds no scans"),
            ([np.zeros((28, 28), np.uint8)], UnsupportedInput, r"numpy\.stack"),
            (Table(), UnsupportedInput, r"table\.to_numpy"),
            (np.zeros((2, 28, 28), "M8[s]"), UnsupportedInput, "Give a numpy array"),
            (None, UnsupportedInput, "a path, several paths, bytes"),
            (bytearray(b"PK"), UnsupportedInput, "a path, several paths, bytes"),
        ],
    )
    def test_what_is_no_array_of_scans_is_told_before_anything_is_sent(
        self, array: Any, error: type[GlyphqError], said: str
    ) -> None:
        service = Service(accepted())
        with pytest.raises(error, match=said):
            service.client().submit(array)
        assert service.requests == []


def shown(png: bytes) -> np.ndarray:
    """What a PNG shows, by a reader that is not ours."""
    from PIL import Image

    return np.asarray(Image.open(BytesIO(png)))
