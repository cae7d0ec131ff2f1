"""`make settings-page`: docs/settings.md, from the settings themselves."""

from pathlib import Path

from glyphq.settings import Settings

PAGE = Path(__file__).parent.parent.parent / "docs" / "settings.md"
_HEAD = """# Settings

Every limit and address of API and workers, with its default. Each is read once, at the start, from the environment; a
list has commas. On several machines the limits are to be the same on all; hosts, ports and the user in GLYPHQ_REDIS_URL
are each machine's own. This page is written by `make settings-page` from [settings.py](../glyphq/settings.py).

| variable | default | meaning |
|---|---|---|
"""


def page() -> str:
    """The page as it should be."""
    return _HEAD + "".join(
        f"| `GLYPHQ_{name.upper()}` | {_shown(field.default)} | {field.description} |\n"
        for name, field in Settings.model_fields.items()
    )


def _shown(default: object) -> str:
    if default in (None, ()):
        return ""
    if isinstance(default, tuple):
        return f"`{','.join(map(str, default))}`"
    return f"`{default}`"


if __name__ == "__main__":
    PAGE.write_text(page())
