"""Handing in: zips, folders, options, what is wrong with them, uploads that break, and drawing."""

import io
import json
import zipfile
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from glyphq import samples
from glyphq.jobs import FILENAME_ENCODINGS
from tests.browser.conftest import Console, drop
from tests.browser.screenshots import draw_a_seven


def job_shown(page: Page) -> str:
    """The id of the job whose page is open, once it has ended."""
    expect(page.locator(".job-title .state")).to_have_text("completed")
    return page.url.rsplit("/", 1)[1]


def rows(http: httpx.Client, job: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = http.get(f"/v1/jobs/{job}/results", params={"format": "json"}).json()["results"]
    return found


def test_a_folder_becomes_one_job_whose_rows_have_its_paths(page: Page, http: httpx.Client, tmp_path: Path) -> None:
    scans = list(samples.draw(4, seed=7))
    (tmp_path / "form" / "dates").mkdir(parents=True)
    for place, scan in enumerate(scans):
        (tmp_path / "form" / ("dates" if place % 2 else "") / scan.filename).write_bytes(scan.png)
    (tmp_path / "form" / ".DS_Store").write_bytes(b"litter")
    page.goto("/")
    page.set_input_files("#folder", tmp_path / "form")
    job = job_shown(page)
    expect(page.get_by_role("heading", name="form", level=1)).to_be_visible()
    assert [row["filename"] for row in rows(http, job)] == [
        "form/dates/scan-00001.png",
        "form/dates/scan-00003.png",
        "form/scan-00000.png",
        "form/scan-00002.png",
    ]


def test_two_zips_become_two_jobs(page: Page, http: httpx.Client, tmp_path: Path) -> None:
    paths = [tmp_path / "first.zip", tmp_path / "second.zip"]
    for seed, path in enumerate(paths):
        samples.write_zip(path, 3, seed=seed)
    page.goto("/")
    page.set_input_files("#files", paths)
    expect(page.locator(".upload a")).to_have_text(["3 rows: see the job"] * 2)
    newest = http.get("/v1/jobs", params={"limit": 2}).json()["jobs"]
    assert {job["name"] for job in newest} == {"first.zip", "second.zip"}


def test_options_go_with_the_upload(page: Page, http: httpx.Client, scans: Path) -> None:
    page.goto("/")
    page.get_by_label("Name", exact=True).fill("page 7")
    page.get_by_label("Characters", exact=True).select_option("these only …")
    page.get_by_label("The characters that can occur").fill("0123AB")
    page.get_by_label("By file name").fill("scan-0001*=digits\nscan-0002*=letters")
    page.get_by_label("Answers a row").fill("2")
    page.get_by_label("Ink").select_option("dark ink on light paper")
    page.get_by_label("File names", exact=True).select_option("cp866")
    page.set_input_files("#files", scans)
    options = http.get(f"/v1/jobs/{job_shown(page)}").json()["options"]
    assert options == {
        "name": "page 7",
        "top_k": 2,
        "charset": "0123AB",
        "charset_rules": ["scan-0001*=digits", "scan-0002*=letters"],
        "invert": "no",
        "filename_encoding": "cp866",
        "callback_url": None,
    }


def test_the_page_offers_each_encoding_that_the_service_knows(page: Page) -> None:
    page.goto("/")
    assert tuple(page.locator("#o-encoding option").all_inner_texts()) == FILENAME_ENCODINGS


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 and then nothing that is a zip", "zip"),
        (b"a letter to a friend", "neither a zip nor a PNG"),
        (b"", "empty"),
    ],
)
def test_a_bad_zip_is_told_in_the_services_own_words(
    page: Page, console: Console, http: httpx.Client, content: bytes, words: str
) -> None:
    console.expected = ("422", "415")
    said = http.post("/v1/jobs", content=content, headers={"Content-Type": "application/zip"}).json()
    page.goto("/")
    drop(page, "bad.zip", content)
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text(said["title"])
    expect(problem).to_contain_text(said["detail"])
    assert words in said["detail"]
    page.get_by_role("button", name="Leave it").click()
    expect(problem).to_have_count(0)


def test_an_option_that_cannot_be_is_mended_and_tried_again(page: Page, console: Console, scans: Path) -> None:
    console.expected = ("422",)
    page.goto("/")
    page.get_by_label("By file name").fill("dates/*")
    page.set_input_files("#files", scans)
    expect(page.get_by_role("alert")).to_contain_text("has no =")
    page.get_by_label("By file name").fill("dates/*=digits")
    page.get_by_role("button", name="Try again").click()
    job_shown(page)


def test_an_upload_that_breaks_is_tried_again_as_the_same_job(
    page: Page, console: Console, http: httpx.Client, scans: Path
) -> None:
    console.expected = ("ERR_FAILED", "ERR_CONNECTION")
    keys = []

    def break_once_it_is_there(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    before = len(http.get("/v1/jobs", params={"limit": 100}).json()["jobs"])
    page.route(
        "**/v1/jobs?*",
        lambda route: break_once_it_is_there(route) if route.request.method == "POST" else route.continue_(),
    )
    page.goto("/")
    page.set_input_files("#files", scans)
    expect(page.get_by_role("alert")).to_contain_text("what is sent twice is one job")
    page.get_by_role("button", name="Try again").click()
    job_shown(page)
    assert len(keys) == 2
    assert keys[0] == keys[1]
    assert len(http.get("/v1/jobs", params={"limit": 100}).json()["jobs"]) == before + 1


def test_an_upload_shows_how_far_it_is_and_can_be_stopped(page: Page) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("large.bin", bytes(30_000_000))
    page.goto("/")
    session = page.context.new_cdp_session(page)
    session.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2_000_000},
    )
    page.set_input_files("#files", {"name": "large.zip", "mimeType": "application/zip", "buffer": archive.getvalue()})
    expect(page.locator(".upload .note")).to_contain_text("MB/s")
    assert 0 < page.locator(".upload progress").evaluate("(bar) => bar.value") < 1
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".upload")).to_have_count(0)


def test_more_images_than_a_form_takes_are_told_to_be_zipped(page: Page) -> None:
    page.goto("/")
    page.locator("#files").evaluate(
        """(input) => {
            const files = Array.from({ length: 10001 }, (_, number) => new File(["x"], `${number}.png`));
            Object.defineProperty(input, "files", { value: files });
            input.dispatchEvent(new Event("change"));
        }"""
    )
    expect(page.get_by_role("alert")).to_contain_text("one form takes 10,000. Put them in a zip")


def test_a_drawn_character_is_read_as_it_is_drawn_and_leaves_no_job(page: Page, http: httpx.Client) -> None:
    page.goto("/")
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        draw_a_seven(page)
    assert deleted.value.status == 204
    expect(page.locator(".read .label")).to_have_text("7")
    expect(page.locator(".bars li")).to_have_count(5)
    expect(page.locator(".read .seen")).to_be_visible()
    page.wait_for_load_state("networkidle")
    listed = http.get("/v1/jobs", params={"limit": 100}).json()["jobs"]
    assert "drawing" not in {job["name"] for job in listed}, json.dumps(listed[:1])
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".reading")).to_have_text("It is read while you draw.")
