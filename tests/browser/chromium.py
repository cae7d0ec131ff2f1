"""A real Chromium, driven by Playwright. Knows how it is started; nothing of the page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def path() -> str | None:
    """Of the one on the PATH; Playwright would download another."""
    return shutil.which("chromium")


@contextmanager
def started() -> Iterator[Browser]:
    """A headless browser, for as long as the context lasts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path(), headless=True, args=ARGUMENTS)
        yield browser
        browser.close()
