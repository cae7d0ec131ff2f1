"""Records, states and counts: what explains itself, what adds up, what an option may be."""

from dataclasses import FrozenInstanceError, replace
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyphq.errors import InvalidOption
from glyphq.jobs import (
    FILENAME_ENCODINGS,
    MAX_NAME_CHARACTERS,
    MAX_TOP_K,
    Chunk,
    Counts,
    Invert,
    Job,
    JobState,
    Kind,
    Options,
    Reason,
    Rejection,
    RowStatus,
)

DESCRIBED: list[type[StrEnum]] = [JobState, RowStatus, Reason, Kind, Invert]
MEMBERS = [member for kind in DESCRIBED for member in kind]
few = st.integers(0, 1000)


def refused_option(values: dict[str, str]) -> str | None:
    try:
        Options.from_strings(**values)
    except InvalidOption as error:
        return error.option
    return None


class TestDescribed:
    @pytest.mark.parametrize("member", MEMBERS)
    def test_every_member_has_a_sentence(self, member: JobState | RowStatus | Reason | Kind | Invert) -> None:
        assert member.sentence.endswith(".")
        assert member.sentence[0].isupper()

    @pytest.mark.parametrize("kind", DESCRIBED)
    def test_no_two_members_share_a_sentence(self, kind: type[JobState]) -> None:
        assert len({member.sentence for member in kind}) == len(kind)

    @pytest.mark.parametrize("member", MEMBERS)
    def test_a_member_is_its_plain_text(self, member: JobState | RowStatus | Reason | Kind | Invert) -> None:
        assert f"{member}" == member.value == member
        assert type(member)(member.value) is member

    def test_the_states_that_end_a_job_are_three(self) -> None:
        assert [state for state in JobState if state.ended] == [
            JobState.COMPLETED,
            JobState.CANCELLED,
            JobState.FAILED,
        ]


class TestRejection:
    def test_says_the_reasons_own_sentence_where_there_is_nothing_to_add(self) -> None:
        assert Rejection.of(Reason.EMPTY_FILE) == Rejection(Reason.EMPTY_FILE, "The file has no bytes.")

    def test_says_what_there_is_to_add(self) -> None:
        assert Rejection.of(Reason.TOO_MANY_PIXELS, "It has 9.").detail == "It has 9."


class TestCounts:
    @given(classified=few, blank=few, rejected=few, cancelled=few, pending=few)
    def test_they_always_add_up(self, classified: int, blank: int, rejected: int, cancelled: int, pending: int) -> None:
        total = classified + blank + rejected + cancelled + pending
        counts = Counts(total, classified, blank, rejected, cancelled)
        assert counts.pending == pending
        assert counts.done == total - pending
        shown = counts.as_dict()
        assert shown.pop("total") == sum(shown.values())

    def test_of_a_job_that_has_just_begun_everything_is_pending(self) -> None:
        assert Counts(7).as_dict() == {
            "total": 7,
            "pending": 7,
            "classified": 0,
            "blank": 0,
            "rejected": 0,
            "cancelled": 0,
        }


class TestWarnings:
    @pytest.mark.parametrize(
        ("counts", "beginnings"),
        [
            (Counts(400, classified=400), []),
            (Counts(400, classified=400, doubtful=16, several=2), []),
            (Counts(400, classified=400, inverted=312), ["312 of 400 look inverted"]),
            (Counts(400, classified=400, inverted=312, doubtful=200), ["312 of 400 look inverted"]),
            (Counts(1, classified=1, inverted=1), ["1 of 1 look inverted"]),
            (Counts(400, classified=400, several=250, doubtful=200), ["250 of 400 seem to hold more than one"]),
            (Counts(400, classified=400, doubtful=80), ["80 of 400 have a confidence under 0.5"]),
            (Counts(1000, classified=300, blank=700, doubtful=80), ["80 of 300 have", "700 of 1,000 have no ink"]),
            (Counts(1000, classified=10, doubtful=10), []),
            (Counts(1000), []),
        ],
    )
    def test_a_batch_that_is_off_is_told_in_words(self, counts: Counts, beginnings: list[str]) -> None:
        told = counts.warnings()
        assert len(told) == len(beginnings)
        assert all(warning.startswith(beginning) for warning, beginning in zip(told, beginnings, strict=True))

    def test_the_counts_of_a_job_are_the_sum_of_its_chunks(self) -> None:
        parts = [Counts(3, classified=2, blank=1, doubtful=1), Counts(2, classified=1, rejected=1, several=1)]
        assert Counts.summed(9, parts) == Counts(9, classified=3, blank=1, rejected=1, doubtful=1, several=1)


class TestOptions:
    def test_without_a_choice_they_are_the_defaults(self) -> None:
        assert Options.from_strings() == Options() == Options(None, 3, "all", Invert.AUTO, "cp437", ())

    def test_strings_become_what_they_say(self) -> None:
        chosen = Options.from_strings(
            name="October", top_k="10", charset="digits", invert="yes", filename_encoding="cp866"
        )
        assert chosen == Options("October", 10, "digits", Invert.YES, "cp866")

    def test_what_is_shown_can_be_handed_in_again(self) -> None:
        rules = "dates/*=digits", "*=letters"
        options = Options("October", 10, "xyz", Invert.NO, "utf-8", rules, "https://example.org/told?job=7")
        shown = options.as_dict()
        rules = shown.pop("charset_rules")
        texts = {name: str(value) for name, value in shown.items()}
        assert Options.from_strings(charset_rules=rules, **texts) == options

    @pytest.mark.parametrize(
        ("option", "text"),
        [
            ("name", ""),
            ("name", "x" * (MAX_NAME_CHARACTERS + 1)),
            ("name", "two\nlines"),
            ("name", "bell\a"),
            ("name", "\u202eturned"),
            ("name", "\ud800"),
            ("top_k", "0"),
            ("top_k", str(MAX_TOP_K + 1)),
            ("top_k", "-1"),
            ("top_k", "+3"),
            ("top_k", "3.0"),
            ("top_k", " 3"),
            ("top_k", ""),
            ("top_k", "three"),
            ("top_k", "9" * 5000),
            ("top_k", "٣"),
            ("top_k", "²"),
            ("charset", ""),
            ("charset", "é"),
            ("charset", "Digits!"),
            ("charset_rules", "digits"),
            ("charset_rules", "=digits"),
            ("charset_rules", "*=é"),
            ("invert", "maybe"),
            ("invert", ""),
            ("invert", "YES"),
            ("filename_encoding", "ebcdic"),
            ("filename_encoding", ""),
            ("topk", "3"),
            ("x" * 1000, ""),
        ],
    )
    def test_what_is_malformed_is_refused_by_name(self, option: str, text: str) -> None:
        with pytest.raises(InvalidOption) as raised:
            Options.from_strings(**{option: text})
        assert raised.value.option == option
        assert raised.value.code == "invalid-option"

    def test_an_unknown_option_is_answered_with_the_known_ones(self) -> None:
        with pytest.raises(InvalidOption, match="name, top_k, charset, invert, filename_encoding"):
            Options.from_strings(topk="3")

    def test_rules_are_checked_however_options_are_made(self) -> None:
        with pytest.raises(InvalidOption, match="'digits' has no ="):
            Options(charset_rules=("*=letters", "digits"))

    @pytest.mark.parametrize("name", ["a", "x" * MAX_NAME_CHARACTERS, "Прописи, 2-й класс", "a b"])
    def test_a_name_of_printable_characters_is_taken(self, name: str) -> None:
        assert Options(name=name).name == name

    @pytest.mark.parametrize("encoding", FILENAME_ENCODINGS)
    def test_every_encoding_that_is_offered_can_decode(self, encoding: str) -> None:
        assert b"scan.png".decode(Options(filename_encoding=encoding).filename_encoding) == "scan.png"

    @pytest.mark.parametrize("top_k", range(1, MAX_TOP_K + 1))
    def test_every_top_k_in_range_is_taken(self, top_k: int) -> None:
        assert Options.from_strings(top_k=str(top_k)).top_k == top_k

    @given(values=st.dictionaries(st.sampled_from(list(Options.__dataclass_fields__)), st.text(max_size=20)))
    def test_any_strings_give_options_or_a_refusal_of_one_of_them(self, values: dict[str, str]) -> None:
        refused = refused_option(values)
        assert refused is None or refused in values


class TestJob:
    CHUNKS = (Chunk(100, 50, 3, "aa"), Chunk(150, 50, 2, "bb"), Chunk(200, 50, 1, "cc"))
    JOB = Job("id", "local", Kind.ZIP, Options(), "sha", 1000, 6, 0, CHUNKS, 0.0, "nonce")

    def test_rows_go_on_from_chunk_to_chunk(self) -> None:
        assert self.JOB.first_rows == (0, 3, 5, 6)

    def test_it_takes_the_interactive_lane_if_its_index_rides_in_it(self) -> None:
        assert not self.JOB.interactive
        assert replace(self.JOB, inline_index=b"index").interactive

    def test_it_is_immutable(self) -> None:
        with pytest.raises(FrozenInstanceError):
            self.JOB.total = 7  # type: ignore[misc]
