"""`make screenshots`: each view of the page, light and dark, narrow and wide, on drawn samples."""

import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Literal

import httpx
from playwright.sync_api import Page, expect

from glyphq import samples
from glyphq.client import Client
from glyphq.embedded import embedded_service
from tests.browser import chromium

FOLDER = Path(__file__).parent.parent.parent / "docs" / "screenshots"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZES = {"wide": (1280, 800), "narrow": (360, 740)}
ROWS = 2000


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, embedded_service() as service, chromium.started() as browser:
        job = _sample_job(service.url, Path(folder))
        for scheme, (size, (width, height)) in product(SCHEMES, SIZES.items()):
            context = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": height}, reduced_motion="reduce"
            )
            page = context.new_page()
            page.on("pageerror", _fail)
            for name, view in _VIEWS.items():
                page.goto("about:blank")
                view(page, service.url, job)
                page.wait_for_load_state("networkidle")
                target = FOLDER / f"{name}-{scheme}-{size}.png"
                page.screenshot(path=target, full_page=name != "look")
                print(target)
            context.close()


def _fail(error: Exception) -> None:
    raise error


def _sample_job(url: str, folder: Path) -> str:
    """A job that has ended, with a few files that cannot be read and a few rows that a person has looked at."""
    path = folder / "ledger 1897.zip"
    samples.write_zip(path, ROWS)
    with Client(url) as client:
        job = client.submit(path, name="ledger 1897").id
        client.wait(job)
    with httpx.Client(base_url=url, trust_env=False) as http:
        rows = http.get(f"/v1/jobs/{job}/results", params={"format": "json", "sort": "confidence", "limit": 5}).json()
        for row, second in zip(rows["results"], (True, False, True, False, False), strict=True):
            label = row["top"][1 if second else 0]["label"]
            http.put(f"/v1/jobs/{job}/items/{row['row']}/correction", json={"label": label}).raise_for_status()
    return job


def _hand_in(page: Page, url: str, _job: str) -> None:
    page.goto(f"{url}/#/")
    draw_a_seven(page)
    expect(page.locator(".bars li")).to_have_count(5)


def _job(page: Page, url: str, job: str) -> None:
    page.goto(f"{url}/#/jobs/{job}")
    expect(page.get_by_text("likely right")).to_be_visible()


def _look(page: Page, url: str, job: str) -> None:
    page.goto(f"{url}/#/jobs/{job}/look?sort=confidence&at=6")
    expect(page.locator(".card .label").first).to_be_visible()
    page.locator(".look").scroll_into_view_if_needed()


def _simple(path: str, shown: str) -> Callable[[Page, str, str], None]:
    def view(page: Page, url: str, job: str) -> None:
        page.goto(f"{url}/#{path.format(job=job)}")
        expect(page.get_by_text(shown).first).to_be_visible()

    return view


def draw_a_seven(page: Page) -> None:
    """With the mouse, on the page's sheet."""
    box = page.locator("canvas").bounding_box()
    assert box
    at = [
        (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in ((0.28, 0.25), (0.7, 0.25), (0.45, 0.8))
    ]
    page.mouse.move(*at[0])
    page.mouse.down()
    for x, y in at[1:]:
        page.mouse.move(x, y, steps=12)
    page.mouse.up()


_VIEWS: dict[str, Callable[[Page, str, str], None]] = {
    "hand-in": _hand_in,
    "jobs": _simple("/jobs", "ledger 1897"),
    "job": _job,
    "look": _look,
    "take-away": _simple("/jobs/{job}/take", "With Python"),
    "model": _simple("/model", "What it cannot know"),
}

if __name__ == "__main__":
    main()
