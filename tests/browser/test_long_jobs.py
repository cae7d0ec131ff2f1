"""Jobs of many rows: few elements, whatever the number, and every row can be reached."""

import io
import zipfile

import pytest
from playwright.sync_api import Page, expect

from glyphq import samples
from glyphq.embedded import EmbeddedService
from tests.browser.conftest import submitted

ROWS = 100_000
MOST_ELEMENTS = 1_500


@pytest.fixture(scope="module")
def long_job(service: EmbeddedService) -> str:
    """The id of a job of 100,000 rows that has ended: a hundred drawn scans under ever new names."""
    scans = [scan.png for scan in samples.draw(100, seed=11)]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(ROWS):
            file.writestr(zipfile.ZipInfo(f"page-{number // 1000:03}/scan-{number:06}.png"), scans[number % 100])
    return submitted(service.url, archive.getvalue(), name="long")


def elements(page: Page) -> int:
    number: int = page.evaluate("document.querySelectorAll('*').length")
    return number


def test_a_hundred_thousand_rows_scroll_with_a_bounded_page(page: Page, long_job: str) -> None:
    page.goto(f"/#/jobs/{long_job}/look?sort=row")
    expect(page.locator(".matching")).to_have_text("100,000 rows")
    expect(page.locator("#card-0 .card-name")).to_have_text("page-000/scan-000000.png")
    most = elements(page)
    page.locator(".grid").hover()
    for _ in range(30):
        page.mouse.wheel(0, 1500)
        most = max(most, elements(page))
    for part in (0.25, 0.5, 0.75, 1.0):
        index = page.locator(".grid").evaluate(
            """(grid, part) => {
                grid.scrollTop = part * grid.scrollHeight;
                const { offsetHeight, offsetWidth } = grid.querySelector(".card");
                return Math.ceil(grid.scrollTop / offsetHeight) * Math.round(grid.clientWidth / offsetWidth);
            }""",
            part,
        )
        expect(page.locator(f"#card-{index} .card-name")).to_have_text(f"page-{index // 1000:03}/scan-{index:06}.png")
        most = max(most, elements(page))
    expect(page.locator(f"#card-{ROWS - 1}")).to_be_in_viewport()
    assert most < MOST_ELEMENTS


def test_two_million_rows_are_all_within_reach(page: Page, long_job: str) -> None:
    """A grid of the page's own, with rows that are made up: browsers cap an element's height far below theirs."""
    page.goto(f"/#/jobs/{long_job}/take")
    expect(page.locator("pre").first).to_be_visible()
    page.evaluate(
        """async () => {
            const { Grid } = await import("/web/grid.js");
            const ignore = () => {};
            window.grid = new Grid("Many", {
                card: (card, index) => { card.textContent = index; },
                onSelect: ignore, onRest: ignore, onDrop: ignore, signal: new AbortController().signal,
            });
            window.grid.element.style.height = "500px";
            document.querySelector("main").prepend(window.grid.element);
            window.grid.reset(2_000_000);
        }"""
    )
    last = page.locator("#card-1999999")
    grid = page.locator(".grid")
    grid.evaluate("(element) => { element.scrollTop = element.scrollHeight; }")
    expect(last).to_be_in_viewport()
    page.evaluate("grid.select(1_234_567)")
    expect(page.locator("#card-1234567")).to_be_in_viewport()

    grid.hover()
    page.mouse.wheel(0, -100)  # a small step is one, though the whole is scaled
    expect(page.locator("#card-1234567")).to_be_in_viewport()
    page.evaluate("grid.select(0)")
    expect(page.locator("#card-0")).to_be_in_viewport()
    page.mouse.wheel(0, 250)
    expect(page.locator("#card-0")).not_to_be_in_viewport()
    page.mouse.wheel(0, -250)
    expect(page.locator("#card-0")).to_be_in_viewport()
    assert page.locator(".card").count() < 100
