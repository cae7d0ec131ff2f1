"""For everybody: axe on every view, light and dark, the keyboard alone, 360 pixels."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}
VIEWS = {
    "#/": ".latest .job-name",
    "#/jobs": ".job-name",
    "#/jobs/{job}": ".verdict",
    "#/jobs/{job}/look": ".card .label",
    "#/jobs/{job}/take": "pre",
    "#/model": ".cannot",
    "#/nowhere": ".problem",
}


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(page: Page, finished: str, view: str, scheme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(f"/{view.format(job=finished)}")
    expect(page.locator(VIEWS[view]).first).to_be_visible()
    for folded in page.locator("details:not([open]) > summary").all():
        folded.click()
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_wider_than_a_narrow_screen(page: Page, finished: str, view: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"/{view.format(job=finished)}")
    expect(page.locator(VIEWS[view]).first).to_be_visible()
    for folded in page.locator("details:not([open]) > summary").all():
        folded.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_keyboard_alone_goes_all_the_way(page: Page, scans: Path) -> None:
    page.on("filechooser", lambda _: None)  # Playwright takes choosers over some time after it is first asked to
    page.goto("/")
    page.locator(".latest .job-name, .latest .note").first.wait_for()

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if (
                page.evaluate("document.activeElement.innerText || document.activeElement.ariaLabel || ''").strip()
                == name
            ):
                return
        pytest.fail(f"Tab does not reach {name!r}")

    tab_to("Choose files")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(scans)
    expect(page.locator(".verdict")).to_be_visible()
    tab_to("Look at the doubtful ones")
    page.keyboard.press("Enter")
    grid = page.get_by_role("listbox", name="Rows")
    expect(grid).to_be_focused()
    expect(page.locator("#card-0 .card-name")).not_to_be_empty()
    name = page.locator("#card-0 .card-name").inner_text()
    page.keyboard.type("%")
    expect(page.locator("#card-0 .label")).to_have_text("%")
    expect(page.locator("#said")).to_contain_text("corrected to %. ")
    page.keyboard.press("Backspace")
    expect(page.locator("#said")).to_contain_text(f"Undone: {name}")
    expect(page.locator("#card-0 .tick")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator(".verdict")).to_be_visible()
    tab_to("Take the results away")
    page.keyboard.press("Enter")
    tab_to("As corrected")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.path().read_bytes().count(b"\n") == 2001


def test_the_link_that_skips_leads_to_the_content(page: Page) -> None:
    page.goto("/#/model")
    expect(page.locator(".cannot")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    expect(page.locator(".cannot")).to_be_visible()
