"""Keys: from the address, from the form, forgotten; and whose jobs one sees."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from glyphq.cli import main
from glyphq.client import Client
from glyphq.embedded import EmbeddedService, embedded_service
from glyphq.keys import Keys
from glyphq.local_blobs import LocalBlobs
from tests.browser.conftest import Console, drop


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    """A service that asks for a key."""
    environment = {"GLYPHQ_KEYS": "required"}
    with embedded_service(tmp_path_factory.mktemp("guarded") / "store", 1, environment=environment) as running:
        yield running


@pytest.fixture(scope="module")
def keys(guarded: EmbeddedService) -> tuple[str, str]:
    """Of two people."""
    made = Keys(LocalBlobs(guarded.store))
    return made.create("ada", name="ada")[1], made.create("grace")[1]


@pytest.fixture
def context(browser: Browser, guarded: EmbeddedService) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=guarded.url)
    yield context
    context.close()


def test_a_key_in_the_address_is_kept_and_taken_out_of_it(page: Page, keys: tuple[str, str]) -> None:
    page.goto(f"/#key={keys[0]}")
    expect(page.get_by_role("heading", name="Latest jobs")).to_be_visible()
    assert keys[0] not in page.url
    assert keys[0] not in page.evaluate("() => history.state ?? ''")
    page.reload()
    expect(page.get_by_role("heading", name="Latest jobs")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_glyphq_review_leads_to_the_job_with_the_key(
    page: Page, guarded: EmbeddedService, keys: tuple[str, str], scans: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(guarded.url, keys[0]) as client:
        job = client.wait(client.submit(scans))
    with pytest.raises(SystemExit):
        main(["review", job.id, "--no-open", "--server", guarded.url, "--key", keys[0]])
    page.goto(capsys.readouterr().out.strip())
    expect(page.locator(".card .scan").first).not_to_have_js_property("naturalWidth", 0)
    assert page.url == f"{guarded.url}/#/jobs/{job.id}/look"
    assert keys[0] not in page.evaluate("() => history.state ?? ''")


def test_without_a_key_the_page_asks_for_one_and_goes_on(page: Page, console: Console, keys: tuple[str, str]) -> None:
    console.expected = ("401",)
    page.goto("/#/jobs")
    dialog = page.get_by_role("dialog", name="A key, please")
    expect(dialog).to_be_visible()
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    page.keyboard.type("glyphq_wrong")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("The key is not known")
    page.keyboard.type(keys[1])
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("There are no jobs yet.")).to_be_visible()


def test_a_forgotten_key_is_gone(page: Page, console: Console, keys: tuple[str, str]) -> None:
    console.expected = ("401",)
    page.goto(f"/#key={keys[0]}")
    page.get_by_role("button", name="Forget the key").click()
    expect(page.get_by_role("dialog", name="A key, please")).to_be_visible()
    assert keys[0] not in page.evaluate("() => JSON.stringify(localStorage)")


def test_a_second_key_sees_nothing_of_the_first(
    page: Page, console: Console, guarded: EmbeddedService, keys: tuple[str, str], scans: Path
) -> None:
    page.goto(f"/#key={keys[0]}")
    page.locator(".drop").wait_for()
    drop(page, "of ada.zip", scans.read_bytes())
    expect(page.locator(".job-title .state")).to_have_text("completed")
    address = page.url
    page.get_by_role("link", name="Look and correct").click()
    expect(page.locator(".card .scan").first).not_to_have_js_property("naturalWidth", 0)
    page.keyboard.type("%")
    expect(page.locator(".reviewing")).to_have_text("1 reviewed, 1 changed; saved")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".detail .good")).to_contain_text("by ada")

    page.goto(f"/#key={keys[1]}")
    page.goto("/#/jobs")
    expect(page.get_by_text("There are no jobs yet.")).to_be_visible()
    console.expected = ("404",)
    for view in ("", "/look", "/take"):
        page.goto(f"{address}{view}")
        expect(page.get_by_role("alert")).to_contain_text("There is no job")
        expect(page.get_by_text("of ada")).to_have_count(0)
    shown = httpx.get(f"{guarded.url}/v1/jobs", headers={"Authorization": f"Bearer {keys[1]}"}, trust_env=False)
    assert shown.json()["jobs"] == []


def test_the_commands_name_the_key_without_showing_it(page: Page, keys: tuple[str, str], scans: Path) -> None:
    page.goto(f"/#key={keys[0]}")
    page.set_input_files("#files", scans)
    page.get_by_role("link", name="Take away").click()
    expect(page.locator("pre").first).to_contain_text('-H "Authorization: Bearer $GLYPHQ_KEY"')
    expect(page.locator("pre").last).to_contain_text("the key is taken from GLYPHQ_KEY")
    assert keys[0] not in page.content()
