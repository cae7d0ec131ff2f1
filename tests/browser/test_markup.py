"""Whatever strangers name things, the page shows it as text and runs nothing of it."""

import io
import zipfile

import httpx
from playwright.sync_api import Dialog, Page, expect

from glyphq import samples
from glyphq.embedded import EmbeddedService
from tests.browser.conftest import Console, submitted

NAME = "<img src=x onerror=alert(1)><script>alert(1)</script>"
LABEL = "<b>x</b>"
PAGE = b"<!doctype html><script>parent.alert(1)</script>"
DRAWN = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'


def test_markup_in_names_labels_and_files_is_text(page: Page, service: EmbeddedService, http: httpx.Client) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(f"{NAME}.png", next(samples.draw(1)).png)
        file.writestr(f"{NAME}.html", PAGE)
        file.writestr("drawn.svg", DRAWN)
    job = submitted(service.url, archive.getvalue(), name=NAME)
    http.put(f"/v1/jobs/{job}/items/0/correction", json={"label": LABEL}).raise_for_status()
    dialogs: list[str] = []

    def note(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)

    page.goto("/")
    expect(page.locator(".latest .job-name").first).to_have_text(NAME)
    page.goto(f"/#/jobs/{job}")
    expect(page.get_by_role("heading", level=1)).to_have_text(NAME)
    page.get_by_role("link", name="Look and correct").click()
    expect(page.locator("#card-0 .label")).to_have_text(LABEL)
    expect(page.locator("#card-0 .card-name")).to_have_text(f"{NAME}.png")
    for row, name in ((1, f"{NAME}.html"), (2, "drawn.svg")):
        page.locator(f"#card-{row}").click()
        expect(page.locator(".detail-name span").first).to_have_text(name)
        expect(page.locator(".large .scan")).to_have_class("scan missing")
    page.get_by_role("link", name="Take away").click()
    expect(page.locator("pre").first).to_be_visible()
    assert dialogs == []
    assert page.locator("main script, main [onerror]").count() == 0


def test_a_script_that_got_into_the_page_would_not_run(page: Page, console: Console) -> None:
    console.expected = ("Content Security Policy", "404")
    page.goto("/#/model")
    expect(page.locator(".cannot")).to_be_visible()
    page.locator("main").evaluate(
        """(main) => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            main.append(script);
            main.insertAdjacentHTML("beforeend", "<img src='/web/none' onerror='window.ran = true'>");
        }"""
    )
    expect(page.locator("main > img")).to_have_js_property("complete", value=True)
    assert page.evaluate("window.ran") is None
    assert any("Content Security Policy" in error for error in console.errors)
