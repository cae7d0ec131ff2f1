"""The classes are EMNIST's own, and a charset is what a person would mean by it."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyphq.errors import InvalidOption
from glyphq.labels import LABELS, MERGED_CASES, NAMED_CHARSETS, charset_classes, label_of

ALPHANUMERIC = string.digits + string.ascii_letters


def test_labels_are_those_of_emnists_own_mapping(shared_data: Path) -> None:
    mapping = (shared_data / "emnist/EMNIST/raw/emnist-balanced-mapping.txt").read_text()
    lines = [[int(number) for number in line.split()] for line in mapping.splitlines()]
    assert [index for index, _ in lines] == list(range(47))
    assert "".join(chr(code_point) for _, code_point in lines) == LABELS


def test_there_are_47_different_labels() -> None:
    assert len(LABELS) == len(set(LABELS)) == 47


def test_every_alphanumeric_character_has_a_label_and_every_label_a_character() -> None:
    assert {label_of(character) for character in ALPHANUMERIC} == set(LABELS)


def test_a_label_is_its_own() -> None:
    assert [label_of(label) for label in LABELS] == list(LABELS)


@pytest.mark.parametrize(
    ("character", "label"), [("c", "C"), ("C", "C"), ("z", "Z"), ("a", "a"), ("A", "A"), ("0", "0")]
)
def test_both_cases_share_a_label_only_where_they_look_alike(character: str, label: str) -> None:
    assert label_of(character) == label


def test_merged_cases_are_those_without_a_lower_case_label() -> None:
    assert set(MERGED_CASES) == {letter for letter in string.ascii_uppercase if letter.lower() not in LABELS}


@pytest.mark.parametrize("name", NAMED_CHARSETS)
def test_a_named_charset_has_the_classes_it_names(name: str) -> None:
    assert "".join(LABELS[index] for index in charset_classes(name)) == NAMED_CHARSETS[name]


def test_digits_and_letters_are_all() -> None:
    assert charset_classes("digits") + charset_classes("letters") == charset_classes("all") == tuple(range(47))


@given(charset=st.text(ALPHANUMERIC, min_size=1).filter(lambda text: text not in NAMED_CHARSETS))
def test_a_string_of_characters_is_the_set_of_their_classes_in_order(charset: str) -> None:
    classes = charset_classes(charset)
    assert {LABELS[index] for index in classes} == {label_of(character) for character in charset}
    assert list(classes) == sorted(set(classes))


def test_a_lower_case_letter_that_is_merged_means_the_merged_class() -> None:
    assert charset_classes("xo") == charset_classes("XO")
    assert charset_classes("a") != charset_classes("A")


@given(charset=st.text(min_size=1).filter(lambda text: not set(text) <= set(ALPHANUMERIC)))
def test_a_character_that_is_no_class_is_refused(charset: str) -> None:
    with pytest.raises(InvalidOption, match="characters that are no class") as raised:
        charset_classes(charset)
    assert raised.value.option == "charset"


def test_an_empty_charset_is_refused() -> None:
    with pytest.raises(InvalidOption, match="is empty") as raised:
        charset_classes("")
    assert raised.value.option == "charset"


def test_a_refusal_names_the_characters_and_the_choices() -> None:
    with pytest.raises(InvalidOption, match=rf"'-é'.*all, digits, letters, or .* {LABELS}"):
        charset_classes("aé-")


@pytest.mark.parametrize("misspelt", ["digts", "Digits", "letter"])
def test_a_name_misspelt_is_no_string_of_classes(misspelt: str) -> None:
    with pytest.raises(InvalidOption, match="did you mean"):
        charset_classes(misspelt)
