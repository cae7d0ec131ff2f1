"""The whole way of a person with scans: hand in, watch, look, correct by keyboard, reload, take the CSV away."""

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import drop, submitted

OTHER = "@"  # no class: no prediction is this


@pytest.fixture(params=["drawn", "pen-on-paper"])
def dropped(request: pytest.FixtureRequest, scans: Path) -> Path:
    """Drawn scans, and real ones where there are any."""
    if request.param == "drawn":
        return scans
    data: Path = request.getfixturevalue("shared_data")
    return data / "scans" / "pen-on-paper.zip"


def test_a_dropped_zip_is_watched_corrected_by_keyboard_and_taken_away(page: Page, dropped: Path) -> None:
    page.goto("/")
    drop(page, dropped.name, dropped.read_bytes())
    expect(page.get_by_role("heading", name=dropped.name, level=1)).to_be_visible()
    expect(page.locator(".job-title .state")).to_have_text("completed")
    expect(page.locator(".verdict")).to_contain_text("99 % likely right")

    page.get_by_role("link", name="Look and correct").click()
    grid = page.get_by_role("listbox", name="Rows")
    expect(grid).to_be_focused()
    expect(page.locator(".card .label").first).to_be_visible()
    doubts = [float(each.rstrip(" %")) for each in page.locator(".card .number").all_inner_texts()]
    assert doubts == sorted(doubts)
    names = [page.locator(f"#card-{index} .card-name").inner_text() for index in range(5)]
    said = []
    for place, name in enumerate(names):
        expect(page.locator(".detail-name span").first).to_have_text(name)
        if place == 4:
            said.append(page.locator(".choices .label").first.inner_text())
            page.keyboard.press("Enter")
        else:
            said.append(OTHER)
            page.keyboard.type(OTHER)
    expect(page.locator(".reviewing")).to_have_text("5 reviewed, 4 changed; saved")

    page.reload()
    expect(page.locator(".reviewing")).to_have_text("5 reviewed, 4 changed; saved")
    expect(page.locator("#card-0")).to_have_attribute(
        "aria-label", f"{names[0]}: {first_reading(page)}; corrected to {OTHER}"
    )

    page.get_by_role("link", name="Take away").click()
    with page.expect_download() as download:
        page.get_by_role("group", name="CSV").get_by_role("button", name="As corrected").click()
    assert download.value.suggested_filename == f"{dropped.stem}-corrected.csv"
    content = download.value.path().read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    corrected = {row["filename"]: row["final_label"].lstrip("'") for row in rows if row["corrected_at"]}
    assert corrected == dict(zip(names, said, strict=True))
    others = [row for row in rows if not row["corrected_at"]]
    assert all(row["final_label"] == row["label"] for row in others)
    assert len(rows) == len(others) + 5


@pytest.mark.parametrize(
    ("title", "interpreter"), [("With curl", ["bash", "-e"]), ("With Python", [sys.executable])], ids=["curl", "python"]
)
def test_the_commands_fetch_what_the_button_gives_and_hand_in_another(
    page: Page, http: httpx.Client, scans: Path, tmp_path: Path, title: str, interpreter: list[str]
) -> None:
    job = submitted(str(http.base_url), scans.read_bytes(), charset_rules="*0.png=digits")
    http.put(f"/v1/jobs/{job}/items/0/correction", json={"label": OTHER}).raise_for_status()
    page.goto(f"/#/jobs/{job}/take")
    commands = page.get_by_label(title).inner_text()
    shutil.copy(scans, tmp_path / "scans.zip")
    before = http.get("/v1/jobs").json()["jobs"][0]["id"]
    subprocess.run(interpreter, input=commands, cwd=tmp_path, text=True, timeout=120, check=True)
    rows = http.get(f"/v1/jobs/{job}/results", params={"format": "csv", "corrected": True})
    assert (tmp_path / "results.csv").read_bytes() == rows.content
    another = http.get("/v1/jobs").json()["jobs"][0]
    assert another["id"] != before
    assert another["options"]["charset_rules"] == ["*0.png=digits"]


def first_reading(page: Page) -> str:
    """Of the first card, as a screen reader says it."""
    label = page.locator("#card-0").get_attribute("aria-label") or ""
    return label.split(": ", 1)[1].split(";", maxsplit=1)[0]
