"""docs/settings.md is what the settings are."""

from tests.docs.settings_page import PAGE, page


def test_the_page_has_each_setting_with_its_default() -> None:
    assert PAGE.read_text() == page()
