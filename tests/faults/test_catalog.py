"""Holds every fault in the tables to what a fault promises."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import pytest
from examples_of_faults import examples

from sequester.errors import InputError
from sequester.faults import Fault, Weight, catalog, explain
from sequester.faults.cue import cues

EXAMPLES = tuple(examples())
_LONGEST_REPEAT = 1200


def _matches(fault: Fault, text: str) -> bool:
    return any(e.code == fault.code for e in explain(text, (fault,)))


def test_codes_are_unique(tables: Sequence[Fault]) -> None:
    assert [code for code, count in Counter(fault.code for fault in tables).items() if count > 1] == []


def test_codes_are_words_with_a_dot(tables: Sequence[Fault]) -> None:
    assert [f.code for f in tables if not re.fullmatch(r"[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*", f.code)] == []


def test_every_fault_has_an_example_and_a_look_alike(tables: Sequence[Fault]) -> None:
    complete = {each.code for each in EXAMPLES if each.texts and each.look_alikes and each.seen}
    assert {fault.code for fault in tables} - complete == set()
    assert complete - {fault.code for fault in tables} == set()


@pytest.mark.parametrize("each", EXAMPLES, ids=lambda each: each.code)
def test_a_fault_matches_its_examples_and_not_their_look_alikes(each, tables: Sequence[Fault]) -> None:  # type: ignore[no-untyped-def]
    fault = next(fault for fault in tables if fault.code == each.code)
    assert [text for text in each.texts if not _matches(fault, text)] == []
    assert [text for text in each.look_alikes if _matches(fault, text)] == []


@pytest.mark.parametrize("each", EXAMPLES, ids=lambda each: each.code)
def test_an_example_among_all_faults_is_explained_by_its_own(each, tables: Sequence[Fault]) -> None:  # type: ignore[no-untyped-def]
    for text in each.texts:
        found = explain(text, tables)
        assert each.code in {e.code for e in found}, [e.code for e in found]


def test_no_two_causes_claim_the_same_example(tables: Sequence[Fault]) -> None:
    causes = [fault for fault in tables if fault.weight is Weight.CAUSE]
    doubled = {
        text: codes
        for each in EXAMPLES
        for text in each.texts
        if len(codes := {e.code for e in explain(text, causes) if e.known}) > 1
    }
    # A migration blocker's text stands inside another's.
    assert doubled == {}


def test_every_field_of_a_template_is_one_that_its_pattern_or_decoder_makes(tables: Sequence[Fault]) -> None:
    wrong = {}
    for fault in tables:
        known = set(re.compile(fault.pattern).groupindex)
        for each in EXAMPLES:
            if each.code == fault.code and fault.decode is not None:
                for text in each.texts:
                    match = re.search(fault.pattern, text, re.IGNORECASE | re.ASCII)
                    assert match is not None
                    known |= set(fault.decode({k: v or "" for k, v in match.groupdict().items()}))
        templates = (fault.title, fault.meaning, *fault.remedy)
        used = {name for t in templates for _, name, _, _ in string.Formatter().parse(t) if name is not None}
        if used - known:
            wrong[fault.code] = used - known
    assert wrong == {}


def test_what_is_said_is_short_and_whole(tables: Sequence[Fault]) -> None:
    for fault in tables:
        assert fault.title
        assert not fault.title.endswith("."), fault.code
        assert len(fault.title) <= 80, fault.code
        assert fault.meaning.endswith((".", "}")), fault.code
        assert len(fault.meaning) <= 600, fault.code
        assert fault.remedy, fault.code
        assert all(len(step) <= 260 for step in fault.remedy), fault.code
        assert fault.sources, fault.code


def test_no_explanation_shows_a_hole_or_a_brace(tables: Sequence[Fault]) -> None:
    for each in EXAMPLES:
        for text in each.texts:
            for found in explain(text, tables):
                shown = " ".join((found.title, found.meaning, *found.remedy))
                assert "()" not in shown, (each.code, shown)
                assert ": ." not in shown, (each.code, shown)
                assert not re.search(r"\{[a-z_]+\}", shown), (each.code, shown)


def _repeats(pattern: Sequence[object], inside: bool = False) -> list[str]:
    """Name what could make matching slow: repetition without a bound, or within another of many."""
    faults: list[str] = []
    for operation, argument in pattern:  # type: ignore[misc]
        name = str(operation)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            _, most, body = argument
            many = int(most) > 4
            if int(most) > _LONGEST_REPEAT:
                faults.append("unbounded")
            if many and inside:
                faults.append("nested")
            faults += _repeats(body, inside or many)
        elif name == "SUBPATTERN":
            faults += _repeats(argument[-1], inside)
        elif name == "BRANCH":
            for branch in argument[1]:
                faults += _repeats(branch, inside)
        elif name in ("ASSERT", "ASSERT_NOT"):
            faults += _repeats(argument[1], inside)
    return faults


def test_no_pattern_repeats_without_bound_or_within_a_repetition(tables: Sequence[Fault]) -> None:
    from re import _parser as parser  # type: ignore[attr-defined]

    assert {f.code: bad for f in tables if (bad := _repeats(parser.parse(f.pattern)))} == {}


def test_every_pattern_names_words_that_sort_texts_out(tables: Sequence[Fault]) -> None:
    assert [fault.code for fault in tables if not cues(fault.pattern)] == []


def test_the_words_of_a_pattern_are_in_every_example(tables: Sequence[Fault]) -> None:
    patterns = {fault.code: fault.pattern for fault in tables}
    for each in EXAMPLES:
        for text in each.texts:
            assert any(cue in text.lower() for cue in cues(patterns[each.code])), (each.code, text)


def test_a_module_without_a_table_is_a_clear_error() -> None:
    with pytest.raises(InputError, match=r"'sequester\.platforms\.sev' is no table of faults"):
        catalog(("sequester.platforms.sev",))
    with pytest.raises(InputError, match="no_such_module"):
        catalog(("no_such_module",))


def test_a_table_named_twice_is_read_once() -> None:
    once = catalog(("sequester.platforms.sev_faults",))
    assert catalog(("sequester.platforms.sev_faults", "sequester.platforms.sev_faults")) == once
