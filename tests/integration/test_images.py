"""Inputs of jobs to look at, over real HTTP: as they were handed in, and as the network saw them."""

import io
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

from glyphq.client import Client
from glyphq.embedded import EmbeddedService
from glyphq.jobs import Invert, View
from glyphq.vision.decode import decode
from glyphq.vision.normalize import normalize
from tests.integration.conftest import zip_of
from tests.integration.test_refusals import refused


def submitted(http: httpx.Client, **request) -> dict:
    """The job, ended."""
    answer = http.post("/v1/jobs", headers={"Prefer": "wait=30"}, **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def image(http: httpx.Client, job: dict, row: int, view: str | None = None) -> httpx.Response:
    url = job["links"]["image"].replace("{row}", str(row))
    return http.get(url, params={"view": view} if view else {})


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def normalized(scan: bytes, invert: Invert = Invert.AUTO) -> np.ndarray:
    """What a worker makes of the scan."""
    return normalize(decode(scan, 1_000_000), invert)


def blank_png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (40, 40), 230).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_each_row_of_a_zip_is_shown_from_whatever_chunk_it_is_in(http, scans, compression):
    files = {f"{number}/{name}": content for number in range(15) for name, content in scans.items()}
    job = submitted(http, content=zip_of(files, compression))
    for row, (name, content) in enumerate(files.items()):
        if row % 37 == 0 or row in (255, 256, 299):
            answer = image(http, job, row)
            assert answer.content == content
            assert answer.headers["content-disposition"] == f'inline; filename="{name.split("/")[1]}"'
            seen = image(http, job, row, "model")
            assert np.array_equal(pixels(seen.content), normalized(content))


def test_what_is_shown_cannot_act(http, scans):
    job = submitted(http, content=zip_of(scans))
    for view in View:
        headers = image(http, job, 0, view).headers
        assert headers["content-type"] == "image/png"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert headers["cache-control"].startswith("private")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_the_type_is_told_by_the_bytes(http, scans, form):
    file = io.BytesIO()
    Image.open(io.BytesIO(next(iter(scans.values())))).convert("L").save(file, form)
    job = submitted(http, content=file.getvalue(), params={"name": "box 7"})
    answer = image(http, job, 0)
    assert answer.content == file.getvalue()
    assert answer.headers["content-type"] == f"image/{form.lower()}"
    assert answer.headers["content-disposition"].startswith('inline; filename="box 7.')


def test_what_is_no_image_is_handed_back_as_bytes_alone(http, scans):
    page = b"<script>alert(1)</script>"
    job = submitted(http, content=zip_of({**scans, "page.html": page}))
    answer = image(http, job, 20)
    assert answer.content == page
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="page.html"'
    problem = refused(image(http, job, 20, "model"), 404, "no-picture")
    assert problem["reason"] == "not_an_image"


def test_each_file_of_a_form_is_shown_small_or_large(http, scans):
    for times in (1, 3):  # the interactive lane, the bulk lane
        parts = [("file", (f"{number}-{name}", scan)) for number in range(times) for name, scan in scans.items()]
        job = submitted(http, files=parts)
        for row in (0, 7, len(parts) - 1):
            content = parts[row][1][1]
            assert image(http, job, row).content == content
            assert np.array_equal(pixels(image(http, job, row, "model").content), normalized(content))


def test_a_pixel_row_is_shown_upright_in_both_views(http, scans):
    picture = normalized(next(iter(scans.values())))
    job = submitted(http, json={"images": [picture.T.ravel().tolist(), [0] * 784]})
    for view in View:
        answer = image(http, job, 0, view)
        assert answer.headers["content-type"] == "image/png"
        assert np.array_equal(pixels(answer.content), picture)
    assert image(http, job, 1).headers["content-disposition"] == 'inline; filename="pixels-1.png"'
    assert refused(image(http, job, 1, "model"), 404, "no-picture")["reason"] == "blank"


@pytest.mark.parametrize("invert", [Invert.YES, Invert.NO])
def test_the_jobs_own_polarity_is_heeded(http, scans, invert):
    job = submitted(http, content=zip_of(scans), params={"invert": invert.value})
    expected = [normalized(scan, invert) for scan in scans.values()]
    assert any(map(lambda *pair: not np.array_equal(*pair), expected, map(normalized, scans.values())))
    for row, picture in enumerate(expected):
        answer = image(http, job, row, "model")
        if picture is None:
            assert refused(answer, 404, "no-picture")["reason"] == "blank"
        else:
            assert np.array_equal(pixels(answer.content), picture)


@pytest.mark.parametrize(
    ("name", "plain", "encoded"),
    [
        ('a"b.png', "a_b.png", "a%22b.png"),
        ("a\r\nSet-Cookie: x=1.png", "a__Set-Cookie_ x_1.png", "a__Set-Cookie%3A%20x%3D1.png"),
        ("../../etc/passwd", "passwd.png", None),
        ("..\\..\\скан.png", "____.png", "%D1%81%D0%BA%D0%B0%D0%BD.png"),
        ("<script>alert(1)</script>.svg", "script_.svg.png", "script%3E.svg.png"),
        (".htaccess", "htaccess.png", None),
        ("folder/x.JPG", "x.JPG.png", None),
    ],
)
def test_a_hostile_name_becomes_a_harmless_one(http, scans, name, plain, encoded):
    archive = zip_of({name: next(iter(scans.values()))})
    job = submitted(http, content=archive)
    answer = image(http, job, 0)
    extended = f"; filename*=UTF-8''{encoded}" if encoded else ""
    assert answer.headers["content-disposition"] == f'inline; filename="{plain}"{extended}'
    assert "set-cookie" not in answer.headers


def test_a_row_that_is_not_there(http, scans):
    job = submitted(http, content=zip_of(scans))
    for row in (20, -1, 10**30):
        assert "20 rows, from 0 to 19" in refused(image(http, job, row), 404, "row-not-found")["detail"]
    refused(image(http, job, 20, "model"), 404, "row-not-found")
    alone = submitted(http, content=next(iter(scans.values())))
    assert "one row, 0" in refused(image(http, alone, 1), 404, "row-not-found")["detail"]
    assert refused(http.get(f"/v1/jobs/{job['id']}/items/last/image"), 422, "invalid-option")["option"] == "row"
    assert refused(image(http, job, 0, "both"), 422, "invalid-option")["option"] == "view"
    refused(http.get("/v1/jobs/nonsense/items/0/image"), 404, "job-not-found")


def test_rows_of_which_there_is_nothing_to_show_say_why(http, scans):
    scan = next(iter(scans.values()))
    large = io.BytesIO()
    Image.new("1", (5000, 1001)).save(large, "PNG")
    files = {
        "secret.png": scan,
        "broken.png": scan + bytes(100),
        "empty.png": b"",
        "cut.png": scan[:-20],
        "blank.png": blank_png(),
        "large.png": large.getvalue(),
    }
    archive = bytearray(zip_of(files))
    archive[archive.find(b"PK\x01\x02") + 8] |= 1
    archive[archive.find(scan + bytes(100)) + len(scan) + 50] = 0xFF
    job = submitted(http, content=bytes(archive))
    reasons = {}
    for row, name in enumerate(files):
        for view in View:
            answer = image(http, job, row, view)
            found = "shown" if answer.is_success else refused(answer, 404, "no-picture")["reason"]
            reasons.setdefault(name, []).append(found)
    assert reasons == {
        "secret.png": ["encrypted", "encrypted"],
        "broken.png": ["damaged_entry", "damaged_entry"],
        "empty.png": ["empty_file", "empty_file"],
        "cut.png": ["shown", "damaged_image"],
        "blank.png": ["shown", "blank"],
        "large.png": ["shown", "too_many_pixels"],
    }


def test_a_damaged_index_is_made_again_and_a_lost_input_says_so(http, service: EmbeddedService, scans):
    job = submitted(http, content=zip_of(scans))
    folder = service.store / "data" / job["id"]
    index = (folder / "index.arrow").read_bytes()
    (folder / "index.arrow").write_bytes(index[:-100])
    assert image(http, job, 3).content == list(scans.values())[3]
    assert (folder / "index.arrow").read_bytes() == index
    (folder / "input").write_bytes(b"")
    assert refused(image(http, job, 3), 404, "no-picture")["reason"] == "stored_input_damaged"


def test_many_at_once_are_drawn_by_one_child(http, service: EmbeddedService, client: Client, scans):
    job = submitted(http, content=zip_of(scans))
    with ThreadPoolExecutor(16) as threads:
        seen = list(threads.map(lambda row: client.image(job["id"], row, View.MODEL), range(20)))
    assert all(np.array_equal(pixels(png), normalized(scan)) for png, scan in zip(seen, scans.values(), strict=True))
    assert client.image(job["id"], 2) == list(scans.values())[2]
    command = ["pgrep", "-c", "-P", str(service.children["api"].pid)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"
