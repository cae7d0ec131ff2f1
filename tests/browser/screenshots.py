"""`make screenshots`: each view of the page, light and dark, narrow and wide, on drawn samples."""

import io
import os
import signal
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import product
from pathlib import Path
from typing import Literal

import httpx
from PIL import Image
from playwright.sync_api import Page, expect

from glyphq import samples
from glyphq.embedded import EmbeddedService, embedded_service
from tests.browser import chromium

FOLDER = Path(__file__).parent.parent.parent / "docs" / "screenshots"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZES = {"wide": (1280, 800), "narrow": (360, 740)}
_PICTURES_ARE_THERE = "Promise.all([...document.images].filter(({ src }) => src).map((image) => image.decode()))"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    environment = {"GLYPHQ_CHUNK_IMAGES": "256"}  # so that a job can be met halfway
    with embedded_service(workers=2, environment=environment) as service, chromium.started() as browser:
        job = _sample_jobs(service.url)
        for name, view in _VIEWS.items():
            with _halfway(service) if name == "watch" else nullcontext(job) as shown:
                for scheme, (size, (width, height)) in product(SCHEMES, SIZES.items()):
                    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": height})
                    page.on("pageerror", _fail)
                    view(page, service.url, shown)
                    page.wait_for_load_state("load" if name == "watch" else "networkidle")
                    page.evaluate(_PICTURES_ARE_THERE)
                    target = FOLDER / f"{name}-{scheme}-{size}.png"
                    taken = page.screenshot(full_page=name != "look")
                    Image.open(io.BytesIO(taken)).convert("RGB").quantize(256).save(target, optimize=True)
                    print(target)
                    page.close()


def _fail(error: Exception) -> None:
    raise error


def _scans(count: int, seed: int, others: int) -> bytes:
    """A zip of drawn scans with `others` among them that are blank, and half as many that are no images."""
    blank = io.BytesIO()
    Image.new("L", (48, 48), 230).save(blank, "PNG")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for place, scan in enumerate(samples.draw(count, seed)):
            file.writestr(f"page 3/{scan.filename}", scan.png)
            if place < others:
                file.writestr(f"page 3/margin-{place:02}.png", blank.getvalue())
            if place < others // 2:
                file.writestr(f"page 3/notes-{place:02}.txt", "of the archivist")
        file.writestr("page 3/.DS_Store", "litter")
    return archive.getvalue()


def _sample_jobs(url: str) -> str:
    """Three jobs that have ended; the id of the last, of which a person has looked at a few rows."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        for name, count, others in (("postcodes", 600, 0), ("field notes", 900, 220), ("ledger 1897", 2000, 34)):
            body = _scans(count, seed=count, others=others)
            answer = http.post("/v1/jobs", params={"name": name}, content=body, headers={"Prefer": "wait=30"})
            job: str = answer.raise_for_status().json()["id"]
        rows = http.get(f"/v1/jobs/{job}/results", params={"format": "json", "sort": "confidence", "limit": 5}).json()
        for row, second in zip(rows["results"], (True, False, True, False, False), strict=True):
            label = row["top"][1 if second else 0]["label"]
            http.put(f"/v1/jobs/{job}/items/{row['row']}/correction", json={"label": label}).raise_for_status()
    return job


@contextmanager
def _halfway(service: EmbeddedService) -> Iterator[str]:
    """Within, a job is held where it has some of its rows. Yields its id."""
    worker = service.children["worker"].pid
    with httpx.Client(base_url=service.url, timeout=60, trust_env=False) as http:
        job: str = http.post("/v1/jobs", params={"name": "census, sheet 12"}, content=_scans(6000, 8, 40)).json()["id"]
        with http.stream("GET", f"/v1/jobs/{job}/events") as events:
            next(line for line in events.iter_lines() if '"state":"running"' in line)
        os.killpg(worker, signal.SIGSTOP)
        try:
            yield job
        finally:
            os.killpg(worker, signal.SIGCONT)
            http.delete(f"/v1/jobs/{job}")


def _hand_in(page: Page, url: str, _job: str) -> None:
    page.goto(f"{url}/#/")
    draw_a_seven(page)
    expect(page.locator(".reading .label")).to_have_text("7")  # it is read while it is drawn
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
    "watch": _simple("/jobs/{job}", "left"),
    "job": _job,
    "look": _look,
    "take-away": _simple("/jobs/{job}/take", "With Python"),
    "model": _simple("/model", "What it cannot know"),
}

if __name__ == "__main__":
    main()
