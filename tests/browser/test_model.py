"""The model's card: what was measured, what is confused, what cannot be known."""

import httpx
from playwright.sync_api import Page, expect

from glyphq.labels import LABELS


def test_the_card_is_told_as_it_was_measured(page: Page, http: httpx.Client) -> None:
    card = http.get("/v1/model").json()
    test = card["measured"]["emnist-balanced-test"]
    page.goto("/#/model")
    expect(page.locator(".headline dd").first).to_have_text(f"{100 * test['accuracy']['value']:.1f} %")
    row = page.get_by_role("row", name="emnist-balanced-test")
    expect(row).to_contain_text(f"{100 * test['accuracy']['value']:.2f} %")
    expect(page.locator(".cannot")).to_contain_text("The label C means C or c")
    for group in card["look_alikes"]:
        expect(page.locator(".cannot")).to_contain_text(" ".join(group))


def test_the_matrix_has_every_answer_to_every_class(page: Page, http: httpx.Client) -> None:
    matrix = http.get("/v1/model").json()["measured"]["emnist-balanced-test"]["matrix"]
    page.goto("/#/model")
    titles = page.locator(".matrix rect title")
    expect(titles).to_have_count(sum(len(answers) for answers in matrix.values()))
    assert page.locator(".matrix .right").count() == len(LABELS)
    taken = [title for title in titles.all_text_contents() if title.startswith("1 read as L:")]
    assert taken == [f"1 read as L: {matrix['1']['L']} of {sum(matrix['1'].values())}"]
