"""Looking and correcting: order, filters, look-alikes, the histogram, undoing, and saving that fails."""

import io
import zipfile
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from glyphq import samples
from glyphq.embedded import EmbeddedService
from glyphq.labels import MERGED_CASES
from tests.browser.conftest import Console, submitted
from tests.integration.conftest import halted


@pytest.fixture
def look(page: Page, finished: str) -> Page:
    """The rows of the finished job, most doubtful first."""
    page.goto(f"/#/jobs/{finished}/look")
    expect(page.locator(".card .label").first).to_be_visible()
    return page


def matching(page: Page) -> int:
    """How many rows the page says match."""
    return int(page.locator(".matching").inner_text().split(" ")[0].replace(",", ""))


def test_scan_and_what_the_network_saw_stand_side_by_side(look: Page) -> None:
    for view in ("scan", "seen"):
        for place in (".card", ".large"):
            expect(look.locator(f"{place} .{view}").first).not_to_have_js_property("naturalWidth", 0)
    assert look.locator(".card .seen").first.evaluate("(image) => image.naturalWidth") == 28


def test_arrows_move_the_selection_which_a_screen_reader_follows(look: Page) -> None:
    grid = look.get_by_role("listbox", name="Rows")
    columns = len({box["x"] for card in look.locator(".card").all() if (box := card.bounding_box())})
    look.keyboard.press("ArrowRight")
    look.keyboard.press("ArrowDown")
    expect(grid).to_have_attribute("aria-activedescendant", f"card-{columns + 1}")
    selected = look.locator(f"#card-{columns + 1}")
    expect(selected).to_have_attribute("aria-selected", "true")
    expect(selected).to_have_attribute("aria-posinset", str(columns + 2))
    expect(selected).to_have_attribute("aria-setsize", "2000")
    look.keyboard.press("End")
    expect(look.locator("#card-1999")).to_be_in_viewport()
    expect(look.locator("#card-1999 .card-name")).not_to_be_empty()


def test_an_undone_correction_is_gone(look: Page, http: httpx.Client, finished: str) -> None:
    look.keyboard.press("PageDown")
    place = int(look.locator("[aria-selected=true]").get_attribute("data-index") or "")
    row = int(look.locator(".detail-name .note").inner_text().removeprefix("row "))
    with look.expect_response(lambda answer: answer.request.method == "PUT"):
        look.keyboard.type("%")
    expect(look.locator(f"#card-{place} .tick")).to_have_text("✓")
    found = http.get(f"/v1/jobs/{finished}/results", params={"format": "json", "corrected": True, "label": "%"}).json()
    assert [each["row"] for each in found["results"]] == [row]
    with look.expect_response(lambda answer: answer.request.method == "DELETE"):
        look.keyboard.press("Control+z")
    expect(look.locator(f"#card-{place}")).to_have_attribute("aria-selected", "true")
    expect(look.locator(f"#card-{place} .tick")).to_have_count(0)
    found = http.get(f"/v1/jobs/{finished}/results", params={"format": "json", "corrected": True, "label": "%"}).json()
    assert found["results"] == []


def test_a_runner_up_is_chosen_with_the_mouse(look: Page) -> None:
    look.locator("#card-2").click()
    second = look.locator(".choices button").nth(1)
    label = second.locator(".label").inner_text()
    second.click()
    expect(look.locator("#card-2 .label")).to_have_text(label)
    expect(look.locator("#card-3")).to_have_attribute("aria-selected", "true")
    look.get_by_role("button", name="Undo").click()
    expect(look.locator("#card-2 .tick")).to_have_count(0)


def test_of_a_runner_up_the_key_is_shown_a_capitals_with_shift(look: Page) -> None:
    keys: dict[str, str] = {}
    for place in range(10):
        look.locator(f"#card-{place}").click()
        for choice in look.locator(".choices button").all()[1:]:
            keys[choice.locator(".label").inner_text()] = choice.locator("kbd").inner_text()
    assert any(label.isupper() for label in keys)
    assert keys == {label: f"⇧{label}" if label.isupper() else label for label in keys}


def test_what_could_not_be_saved_is_said_and_tried_again(look: Page, console: Console) -> None:
    console.expected = ("ERR_FAILED",)
    look.route("**/correction", lambda route: route.abort())
    look.locator("#card-4").click()
    look.keyboard.type("%")
    expect(look.locator("#card-4 .tick")).to_have_text("not saved")
    expect(look.locator(".reviewing")).to_contain_text("1 correction not saved")
    look.keyboard.press("ArrowLeft")
    expect(look.locator(".detail .bad")).to_contain_text("Not saved")
    look.unroute("**/correction")
    look.locator(".detail").get_by_role("button", name="Try again").click()
    expect(look.locator("#card-4 .tick")).to_have_text("✓")
    look.get_by_role("listbox").focus()
    with look.expect_response(lambda answer: answer.request.method == "DELETE"):
        look.keyboard.press("Backspace")


def test_look_alikes_are_seen_together_and_a_reload_keeps_them(look: Page) -> None:
    look.get_by_role("button", name="0 O").click()
    expect(look.locator(".matching")).to_contain_text("of 2,000 rows")
    labels = {each for each in look.locator(".card .label").all_inner_texts() if each}
    assert labels == {"0", "O"}
    number = matching(look)
    look.wait_for_url("**label=0&label=O**")
    look.reload()
    expect(look.locator(".matching")).to_contain_text("of 2,000 rows")
    assert matching(look) == number
    expect(look.get_by_role("button", name="0 O")).to_have_attribute("aria-pressed", "true")
    look.get_by_role("button", name="Show all rows").click()
    expect(look.locator(".matching")).to_have_text("2,000 rows")


def test_rows_are_filtered_by_name_and_by_confidence(look: Page) -> None:
    look.get_by_label("Name has").fill("SCAN-0012")
    expect(look.locator(".matching")).to_have_text("10 of 2,000 rows")
    look.get_by_label("Confidence from").fill("0.9")
    look.get_by_label("Order").select_option("by name")
    expect(look.locator(".matching")).not_to_have_text("10 of 2,000 rows")
    names = [each for each in look.locator(".card-name").all_inner_texts() if each]
    assert names == sorted(names)
    look.get_by_label("Name has").fill("no such name")
    expect(look.locator(".matching")).to_contain_text("no row matches")


def test_the_threshold_tells_rows_above_and_expected_errors(look: Page, http: httpx.Client, finished: str) -> None:
    slider = look.get_by_label("Threshold")
    slider.fill("0.9")
    bins = http.get(f"/v1/jobs/{finished}/summary").json()["histogram"]
    above = [each for each in bins if each["confidence"] >= 0.9]
    words = look.locator(".threshold-words")
    expect(words).to_contain_text(f"{sum(each['rows'] for each in above):,} rows of 2,000 at 0.900 or above")
    wrong = sum(each["expected_errors"] for each in above)
    expect(words).to_contain_text(f"{wrong:.1f}" if wrong < 10 else str(round(wrong)))
    slider.focus()
    look.keyboard.press("ArrowRight")
    expect(words).to_contain_text("at 0.905 or above")
    box = look.locator(".bars-box svg").bounding_box()
    assert box
    look.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 20)
    look.mouse.down()
    look.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20, steps=5)
    look.mouse.up()
    expect(words).to_contain_text("at 0.500 or above")
    look.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 20)
    expect(words).to_contain_text("at 0.500 or above")


def test_the_doubtful_are_worked_off_without_one_being_passed_over(
    look: Page, http: httpx.Client, finished: str
) -> None:
    look.get_by_label("Threshold").fill("0.8")
    look.get_by_role("button", name="below").click()
    expect(look.locator(".matching")).to_contain_text("of 2,000 rows")
    number = matching(look)
    assert number > 100  # more than a page
    look.get_by_role("listbox").focus()
    for place in range(number):
        expect(look.locator(f"#card-{place}")).to_have_attribute("aria-selected", "true")
        expect(look.locator(f"#card-{place} .card-name")).not_to_be_empty()
        look.keyboard.press("Enter")
    expect(look.get_by_role("button", name="None below to look at")).to_be_visible()
    left = http.get(
        f"/v1/jobs/{finished}/results",
        params={"format": "json", "max_confidence": 0.7999, "reviewed": False},
    ).json()["results"]
    assert left == []


def test_merged_cases_are_told_where_labels_are(look: Page) -> None:
    look.get_by_label("Labels").fill("C")
    expect(look.locator(".card .case").first).to_have_text("or c")
    expect(look.locator(".detail-facts")).to_contain_text("C means C or c")
    look.goto("/#/model")
    expect(look.locator(".cannot")).to_contain_text(" ".join(MERGED_CASES))


def test_what_could_not_be_read_says_why_and_can_still_be_told(
    page: Page, service: EmbeddedService, http: httpx.Client
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("letter.txt", "to a friend")
        for scan in samples.draw(3, seed=2):
            file.writestr(scan.filename, scan.png)
    job = submitted(service.url, archive.getvalue())
    page.goto(f"/#/jobs/{job}")
    page.get_by_role("link", name="1 not readable").click()
    expect(page.locator("#card-0")).to_have_attribute("aria-label", "letter.txt: not readable")
    expect(page.locator(".detail .warning")).to_contain_text("The bytes are not a PNG")
    expect(page.locator("figcaption").first).to_have_text("scan: not a picture that browsers show")
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_have_text("There is no prediction to accept. Type the character.")
    page.keyboard.type("7")
    expect(page.locator("#card-0 .tick")).to_have_text("✓")
    corrected = http.get(
        f"/v1/jobs/{job}/results", params={"format": "json", "corrected": True, "reviewed": True}
    ).json()
    assert [(row["label"], row["final_label"]) for row in corrected["results"]] == [(None, "7")]


def test_the_rows_of_a_running_job_are_those_there_are(
    page: Page, service: EmbeddedService, http: httpx.Client, scans: Path
) -> None:
    with halted(service):
        job = http.post("/v1/jobs", content=scans.read_bytes()).json()["id"]
        page.goto(f"/#/jobs/{job}/look")
        expect(page.locator(".matching")).to_contain_text("0 of 2,000 rows so far")
    while http.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=30"}).json()["ended_at"] is None:
        pass
    page.get_by_role("button", name="Show those that have come since").click()
    expect(page.locator(".matching")).to_have_text("2,000 rows")
    expect(page.locator(".card .label").first).to_be_visible()


def test_escape_leaves(look: Page) -> None:
    look.keyboard.press("Escape")
    expect(look.locator(".verdict")).to_be_visible()
