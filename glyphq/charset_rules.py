"""Rules GLOB=CHARSET: which characters can be on a scan, told from its file name. Knows names and charsets; nothing of
jobs or images.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Self

from glyphq.errors import InvalidOption
from glyphq.labels import charset_classes

MAX_RULES = 100
MAX_RULE_CHARACTERS = 500
MAX_MATCHED_CHARACTERS = 4096
"""Of a file name; Linux' PATH_MAX. A zip may hold one of 65,535, for which a hundred bad globs take 5 s."""

_OPTION = "charset_rules"
_FORM = "A rule is GLOB=CHARSET, for example dates/*=digits."
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class CharsetRule:
    """Scans whose file name matches `glob` show characters of `charset`."""

    glob: str
    charset: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """From GLOB=CHARSET; the last `=` parts the two. Raises InvalidOption, quoting the rule."""
        if len(text) > MAX_RULE_CHARACTERS:
            start = text[:_SHOWN_CHARACTERS]
            raise InvalidOption(
                _OPTION,
                f"The rule that begins {start!r} has {len(text):,} characters; {MAX_RULE_CHARACTERS} is the most.",
            )
        glob, separator, charset = text.rpartition("=")
        if not separator:
            raise InvalidOption(_OPTION, f"The rule {text!r} has no =. {_FORM}")
        if not glob:
            raise InvalidOption(_OPTION, f"The rule {text!r} has no glob before its =; * is every name. {_FORM}")
        if not _is_text(glob):
            raise InvalidOption(_OPTION, f"The rule {text!r} has bytes that are not UTF-8. Write ? for each of them.")
        try:
            charset_classes(charset)
        except InvalidOption as error:
            raise InvalidOption(_OPTION, f"The rule {text!r} cannot be followed. {error.detail}") from None
        return cls(glob, charset)


def parse_rules(texts: Sequence[str]) -> tuple[CharsetRule, ...]:
    """Each as `CharsetRule.parse` does. Raises InvalidOption, for too many as well."""
    if len(texts) > MAX_RULES:
        raise InvalidOption(_OPTION, f"There are more than {MAX_RULES} rules. One glob can match many names.")
    return tuple(map(CharsetRule.parse, texts))


def charset_chooser(rules: Sequence[CharsetRule], otherwise: str) -> Callable[[str], str]:
    """A function from a file name to the charset of the first rule that matches it, or else `otherwise`.

    A glob matches as in `fnmatch.fnmatchcase`: the whole name, case-sensitively, and `*` crosses `/`. No glob matches a
    name of more than MAX_MATCHED_CHARACTERS.
    """
    pattern = re.compile("|".join(f"({translate(rule.glob)})" for rule in rules))
    charsets = (otherwise, *(rule.charset for rule in rules))

    def charset_of(name: str) -> str:
        matching = pattern.match(name) if len(name) <= MAX_MATCHED_CHARACTERS else None
        return charsets[(matching.lastindex or 0) if matching else 0]

    return charset_of


def _is_text(glob: str) -> bool:
    """Whether it can be written as UTF-8: an argument of a command that cannot has lone surrogates for its bytes."""
    try:
        glob.encode()
    except UnicodeEncodeError:
        return False
    return True
