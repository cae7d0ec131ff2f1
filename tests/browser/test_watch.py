"""Watching: live progress over drops and reloads, cancelling, deleting, what a job needs in the end."""

from pathlib import Path

import httpx
from playwright.sync_api import Page, Route, expect

from glyphq.embedded import EmbeddedService
from tests.browser.conftest import Console
from tests.integration.conftest import halted


def numbers(page: Page) -> dict[str, int]:
    """The counts that the page shows, by their names."""
    names = page.locator(".sum dt").all_inner_texts()
    return {
        name: int(value.replace(",", ""))
        for name, value in zip(names, page.locator(".sum dd").all_inner_texts(), strict=True)
    }


def test_a_job_is_seen_to_move_and_its_counts_add_up(page: Page, service: EmbeddedService, scans: Path) -> None:
    page.goto("/")
    with halted(service):
        page.set_input_files("#files", scans)
        expect(page.locator(".job-title .state")).to_have_text("queued")
        assert numbers(page) == {"read": 0, "to come": 2000, "rows": 2000}
    expect(page.locator(".job-title .state")).to_have_text("running")
    expect(page.locator(".facts")).to_contain_text("images/s")
    shown = numbers(page)
    assert shown.pop("rows") == sum(shown.values()) == 2000
    expect(page.locator(".job-title .state")).to_have_text("completed")
    assert numbers(page) == {"read": 2000, "rows": 2000}


def test_watching_survives_a_reload_and_a_lost_connection(
    page: Page, console: Console, service: EmbeddedService, http: httpx.Client, scans: Path
) -> None:
    console.expected = ("ERR_FAILED",)
    with halted(service):
        job = http.post("/v1/jobs", content=scans.read_bytes()).json()["id"]
        page.route("**/events", lambda route: route.abort())
        page.goto(f"/#/jobs/{job}")
        expect(page.locator(".warning")).to_contain_text("the page goes on by itself")
        page.reload()
        expect(page.locator(".warning")).to_contain_text("the page goes on by itself")
        page.unroute("**/events")
        expect(page.locator(".warning")).to_have_count(0)
    expect(page.locator(".job-title .state")).to_have_text("completed")


def test_a_job_is_cancelled_and_keeps_what_is_done(
    page: Page, service: EmbeddedService, http: httpx.Client, scans: Path
) -> None:
    with halted(service):
        job = http.post("/v1/jobs", content=scans.read_bytes()).json()["id"]
        page.goto(f"/#/jobs/{job}")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".job-title .state")).to_have_text("cancelled")
        assert numbers(page) == {"read": 0, "cancelled": 2000, "rows": 2000}
    expect(page.locator(".verdict")).to_contain_text("none need a look; 2,000 cancelled")


def test_a_job_is_deleted_once_it_is_meant(page: Page, http: httpx.Client, scans: Path) -> None:
    job = http.post("/v1/jobs", content=scans.read_bytes()).json()["id"]
    page.goto(f"/#/jobs/{job}")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("button", name="Erase it")).to_be_focused()
    page.get_by_role("button", name="Keep it").click()
    assert http.get(f"/v1/jobs/{job}").status_code == 200
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Erase it").click()
    expect(page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()
    assert http.get(f"/v1/jobs/{job}").status_code == 404


def test_a_job_that_is_deleted_elsewhere_is_said_to_be(
    page: Page, service: EmbeddedService, http: httpx.Client, scans: Path, console: Console
) -> None:
    console.expected = ("404",)  # on a slow machine it is deleted before it is followed
    with halted(service):
        job = http.post("/v1/jobs", content=scans.read_bytes()).json()["id"]
        page.goto(f"/#/jobs/{job}")
        expect(page.locator(".job-title .state")).to_have_text("queued")
        http.delete(f"/v1/jobs/{job}")
        expect(page.get_by_role("alert")).to_contain_text("The job was deleted")


def test_a_job_that_is_deleted_before_it_can_be_followed_is_said_to_be(
    page: Page, service: EmbeddedService, http: httpx.Client, scans: Path, console: Console
) -> None:
    console.expected = ("404",)
    with halted(service):
        job = http.post("/v1/jobs", content=scans.read_bytes()).json()["id"]

        def deleted_first(route: Route) -> None:
            http.delete(f"/v1/jobs/{job}")
            route.continue_()

        page.route("**/events", deleted_first)
        page.goto(f"/#/jobs/{job}")
        expect(page.get_by_role("alert")).to_contain_text("The job was deleted")


def test_a_job_that_never_was_is_told_in_the_services_words(page: Page, console: Console) -> None:
    console.expected = ("404",)
    page.goto("/#/jobs/019ae2f0-6c1f-7d52-b9a5-3a7a1c0d9a11")
    expect(page.get_by_role("alert")).to_contain_text("There is no such job")


def test_the_list_of_jobs_moves_too(page: Page, service: EmbeddedService, http: httpx.Client, scans: Path) -> None:
    with halted(service):
        http.post("/v1/jobs", params={"name": "of the list"}, content=scans.read_bytes())
        page.goto("/#/jobs")
        line = page.locator(".jobs li").first
        expect(line).to_contain_text("of the list")
        expect(line).to_contain_text("0 % of 2,000 rows")
    expect(line.locator(".state")).to_have_text("completed")
