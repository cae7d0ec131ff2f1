"""Which characters can be on a scan, told from its file name."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyphq.charset_rules import (
    MAX_MATCHED_CHARACTERS,
    MAX_RULE_CHARACTERS,
    MAX_RULES,
    CharsetRule,
    charset_chooser,
    parse_rules,
)
from glyphq.errors import InvalidOption

globs = st.text("ab/*?[]!-^&|~.\\({=\n", min_size=1, max_size=8)
names = st.text("ab/[]!-^&|~.\\({=\n", max_size=8)


def charset_of(name: str, *rules: str) -> str:
    return charset_chooser(parse_rules(rules), "all")(name)


class TestMatching:
    def test_the_first_rule_that_matches_counts(self) -> None:
        assert charset_of("dates/1.png", "dates/*=digits", "*=letters") == "digits"
        assert charset_of("dates/1.png", "*=letters", "dates/*=digits") == "letters"

    def test_a_name_that_no_rule_matches_has_the_plain_charset(self) -> None:
        assert charset_of("notes/1.png", "dates/*=digits", "names/*=letters") == "all"
        assert charset_of("notes/1.png") == "all"

    @pytest.mark.parametrize(
        ("glob", "name", "matches"),
        [
            ("dates/*", "dates/1897/1.png", True),  # * crosses /
            ("dates/*", "form/dates/1.png", False),  # the whole name, not a part of it
            ("*/dates/*", "form/dates/1.png", True),
            ("Dates/*", "dates/1.png", False),
            ("box-?.png", "box-7.png", True),
            ("box-?.png", "box-77.png", False),
            ("box-[0-3].png", "box-7.png", False),
            ("box-[!0-3].png", "box-7.png", True),
            ("a=b/*", "a=b/1.png", True),
            ("[*]", "*", True),
            ("*", "", True),
        ],
    )
    def test_globs_are_those_of_a_shell_on_the_whole_name(self, glob: str, name: str, matches: bool) -> None:
        assert (charset_of(name, f"{glob}=digits") == "digits") is matches

    @given(chosen=st.lists(globs, max_size=4), name=names)
    def test_any_globs_match_as_in_fnmatch(self, chosen: list[str], name: str) -> None:
        charsets = "0123"[: len(chosen)]
        expected = (charset for glob, charset in zip(chosen, charsets, strict=True) if fnmatchcase(name, glob))
        rules = [f"{glob}={charset}" for glob, charset in zip(chosen, charsets, strict=True)]
        assert charset_of(name, *rules) == next(expected, "all")

    def test_a_name_longer_than_any_path_is_matched_by_none(self) -> None:
        assert charset_of("x" * MAX_MATCHED_CHARACTERS, "*=digits") == "digits"
        assert charset_of("x" * (MAX_MATCHED_CHARACTERS + 1), "*=digits") == "all"


class TestParsing:
    def test_the_last_equals_sign_parts_glob_and_charset(self) -> None:
        assert CharsetRule.parse("a=b/*=xyz") == CharsetRule("a=b/*", "xyz")

    @pytest.mark.parametrize(
        ("rule", "said"),
        [
            ("digits", "The rule 'digits' has no =. A rule is GLOB=CHARSET, for example"),
            ("=digits", "The rule '=digits' has no glob before its ="),
            ("*=", r"The rule '\*=' cannot be followed. The charset is empty"),
            ("*=ä", r"The rule '\*=ä' cannot be followed. The charset has characters that are no class"),
            ("*=digit", r"The rule '\*=digit' cannot be followed. .*did you mean digits"),
            ("\udcff*=digits", "has bytes that are not UTF-8"),
            ("x" * MAX_RULE_CHARACTERS + "=0", "The rule that begins 'xxx.* has 502 characters; 500 is the most"),
        ],
    )
    def test_a_rule_that_is_malformed_is_quoted(self, rule: str, said: str) -> None:
        with pytest.raises(InvalidOption, match=said) as raised:
            parse_rules(["*.png=all", rule])
        assert raised.value.option == "charset_rules"

    def test_there_may_be_a_hundred_of_500_characters(self) -> None:
        rule = "x" * (MAX_RULE_CHARACTERS - 2) + "=0"
        assert len(parse_rules([rule] * MAX_RULES)) == MAX_RULES
        with pytest.raises(InvalidOption, match="more than 100 rules") as raised:
            parse_rules([rule] * (MAX_RULES + 1))
        assert raised.value.option == "charset_rules"
