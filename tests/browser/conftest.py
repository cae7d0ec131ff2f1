"""A real browser on a whole service; every test fails on an error in the browser's console that it does not expect."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from glyphq import samples
from glyphq.embedded import EmbeddedService, embedded_service
from tests.browser import chromium

expect.set_options(timeout=30_000)  # how long a step may take on a busy machine; none is expected to


# Of this folder alone: while Playwright runs, asyncio.run() of other tests would find its event loop.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if chromium.path() is None:
        if os.environ.get("GLYPHQ_REQUIRE_DATA"):
            pytest.fail("GLYPHQ_REQUIRE_DATA is set and there is no chromium on the PATH")
        pytest.skip("there is no chromium on the PATH")
    with chromium.started() as browser:
        yield browser


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    """As `glyphq serve` has it, in chunks small enough that a job of 2,000 rows is seen to move."""
    limits = {"GLYPHQ_CHUNK_IMAGES": "128", "GLYPHQ_RECONCILE_SECONDS": "0.5"}
    with embedded_service(tmp_path_factory.mktemp("service") / "store", 2, environment=limits) as running:
        yield running


@pytest.fixture
def http(service: EmbeddedService) -> Iterator[httpx.Client]:
    """Bare HTTP to the service, to see what the page has done."""
    with httpx.Client(base_url=service.url, timeout=60, trust_env=False) as client:
        yield client


class Console:
    """What a page's console complained of."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.expected: tuple[str, ...] = ()
        """Parts of what a test provokes."""

    def watch(self, page: Page) -> None:
        page.on("console", self._message)
        page.on("pageerror", lambda error: self.errors.append(f"{error}\n{error.stack}"))

    def _message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    @property
    def unexpected(self) -> list[str]:
        return [error for error in self.errors if not any(part in error for part in self.expected)]


@pytest.fixture
def console() -> Iterator[Console]:
    console = Console()
    yield console
    assert console.unexpected == []


@pytest.fixture
def context(browser: Browser, service: EmbeddedService) -> Iterator[BrowserContext]:
    """Storage of its own, as another person's browser has."""
    context = browser.new_context(base_url=service.url, viewport={"width": 1280, "height": 800})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, console: Console) -> Page:
    page = context.new_page()
    console.watch(page)
    return page


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of 2,000 drawn scans."""
    path = tmp_path_factory.mktemp("scans") / "drawn.zip"
    samples.write_zip(path, 2000, seed=5)
    return path


@pytest.fixture(scope="package")
def finished(service: EmbeddedService, scans: Path) -> str:
    """The id of a job of these that has ended. Tests correct rows of it; none counts on what another left."""
    return submitted(service.url, scans.read_bytes())


def submitted(url: str, body: bytes, **options: str) -> str:
    """The id of a job that has ended."""
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as http:
        answer = http.post("/v1/jobs", params=options, content=body, headers={"Prefer": "wait=30"}).raise_for_status()
        job: str = answer.json()["id"]
        while http.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=30"}).json()["ended_at"] is None:
            pass
        return job


def drop(page: Page, name: str, content: bytes) -> None:
    """Let a file fall on the page, as from a file manager."""
    transfer = page.evaluate_handle(
        """({ name, content }) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(content), (each) => each.charCodeAt(0))], name));
            return transfer;
        }""",
        {"name": name, "content": base64.b64encode(content).decode()},
    )
    page.dispatch_event("main", "drop", {"dataTransfer": transfer})
