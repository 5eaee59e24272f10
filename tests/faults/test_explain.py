"""Explaining a text: order, bounds, hostile input, and what is said of a text that nobody knows."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from examples_of_faults import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from sequester.faults import Fault, Origin, Weight, catalog, explain
from sequester.faults.passage import LONGEST, WIDTH, passages

CHAIN = """\
2024-12-06T09:14:26.679347Z qemu-system-x86_64: -accel kvm: sev_snp_launch_start: SNP_LAUNCH_START ret=-22 fw_error=0 ''
2024-12-06T09:14:26.679388Z qemu-system-x86_64: -accel kvm: sev_common_kvm_init: failed to create encryption context
2024-12-06T09:14:26.713132Z qemu-system-x86_64: -accel kvm: failed to initialize kvm: Operation not permitted
"""


def test_the_cause_comes_before_what_follows_from_it(tables: Sequence[Fault]) -> None:
    found = explain(CHAIN, tables)
    assert [each.code for each in found] == ["snp.launch-start-policy", "sev.context", "kvm.init-failed"]
    assert [each.line for each in found] == [1, 2, 3]


def test_the_cause_comes_first_even_when_it_is_printed_last(tables: Sequence[Fault]) -> None:
    found = explain("\n".join(reversed(CHAIN.splitlines())), tables)
    assert found[0].code == "snp.launch-start-policy"


def test_a_text_that_libvirt_wrapped_is_explained_as_well(tables: Sequence[Fault]) -> None:
    text = "error: internal error: process exited while connecting to monitor: " + CHAIN
    codes = [each.code for each in explain(text, tables)]
    assert codes[0] == "snp.launch-start-policy"
    assert "libvirt.monitor-closed" in codes


def test_a_general_text_gives_way_to_a_cause_in_the_same_line(tables: Sequence[Fault]) -> None:
    text = "qemu-system-x86_64: -accel kvm: vm-type TDX not supported by KVM"
    assert [each.code for each in explain(text, tables)] == ["tdx.vm-type"]


def test_a_general_text_stays_when_the_cause_is_in_another_line(tables: Sequence[Fault]) -> None:
    text = "SEAMCALL (0x21) failed: 0xc000090000000000\nvm-type TDX not supported by KVM"
    assert {each.code for each in explain(text, tables)} == {"tdx.seamcall", "tdx.vm-type"}


def test_one_fault_with_two_values_is_explained_twice_and_with_equal_ones_once(
    tables: Sequence[Fault],
) -> None:
    one, other = (
        "SEAMCALL (0x1c) failed: 0xc000030000000001\n",
        "SEAMCALL (0x21) failed: 0xc000090000000000\n",
    )
    found = explain(one * 3 + other + one, tables)
    assert [dict(each.details)["leaf"] for each in found] == [
        "TDH.PHYMEM.PAGE.RECLAIM (28)",
        "TDH.SYS.INIT (33)",
    ]


def test_a_flood_of_different_values_does_not_become_a_flood_of_explanations(tables: Sequence[Fault]) -> None:
    text = "\n".join(f"LAUNCH_UPDATE ret=-5 fw_error={n}" for n in range(200))
    assert len(explain(text, tables)) <= 8


def test_a_message_broken_by_a_terminal_or_a_mail_is_put_together(tables: Sequence[Fault]) -> None:
    text = "qemu-system-x86_64: sev_kvm_init: cbitpos check\n   failed, host '51' requested\n '47'"
    assert explain(text, tables)[0].code == "sev.cbitpos"
    text = "qemu-system-x86_64: sev_kvm_init: cbitpos check fai\nled, host '51' requested '47'"
    assert explain(text, tables)[0].code == "sev.cbitpos"


def test_colours_and_typographic_quotes_do_not_hide_a_message(tables: Sequence[Fault]) -> None:
    text = "\x1b[31merror:\x1b[0m cbitpos check failed, host ‘51’ requested ‘47’"
    assert explain(text, tables)[0].code == "sev.cbitpos"


def test_a_message_typed_in_other_case_is_recognized(tables: Sequence[Fault]) -> None:
    assert explain("pef requires kvm", tables)[0].code == "pef.needs-kvm"


def test_an_answer_of_qmp_is_explained_in_its_json(tables: Sequence[Fault]) -> None:
    text = json.dumps({"error": {"class": "GenericError", "desc": "SEV is not enabled in KVM"}})
    assert explain(text, tables)[0].code == "sev.kvm-disabled"


@pytest.mark.parametrize("text", ["", "   ", "\n\n\t\n"])
def test_an_empty_text_has_no_explanation(text: str, tables: Sequence[Fault]) -> None:
    assert explain(text, tables) == ()


def test_a_text_that_nobody_knows_is_said_to_be_unknown(tables: Sequence[Fault]) -> None:
    (found,) = explain("the frobnicator of the flux capacitor is misaligned", tables)
    assert not found.known
    assert found.code == "unknown"
    assert found.nearest == ()
    assert "none comes close" in found.meaning


def test_an_unknown_text_names_faults_with_the_same_rare_words(tables: Sequence[Fault]) -> None:
    (found,) = explain("quote-generation-socket: vsock address is unreachable, kernel_irqchip split", tables)
    assert not found.known
    assert "tdx.irqchip" in {near.code for near in found.nearest}
    assert all(near.shared for near in found.nearest)


def test_an_unknown_text_still_has_its_error_numbers_named(tables: Sequence[Fault]) -> None:
    (found,) = explain("kvm_foo_bar: something went wrong, ret=-22", tables)
    assert found.details == (("error number", "-22 EINVAL: the kernel does not take one of the values"),)


def test_every_look_alike_is_explained_without_an_error(tables: Sequence[Fault]) -> None:
    for each in examples():
        for text in each.look_alikes:
            assert explain(text, tables)


def test_values_from_the_text_are_made_printable_and_short(tables: Sequence[Fault]) -> None:
    text = 'TDX guest reports fatal error. error code: 0x1 error message:"\x07\x1b]0;evil\x07\u202eabc"'
    (found,) = explain(text, tables)
    assert found.code == "tdx.fatal"
    for shown in (found.meaning, found.quote, *(value for _, value in found.details)):
        assert shown.isprintable()


def test_braces_in_a_text_are_not_taken_for_fields(tables: Sequence[Fault]) -> None:
    (found,) = explain(
        "Property 'x-machine.{0.__class__}{why}' not found, Device '{name!r}' not found", tables
    )
    assert "{name!r}" in found.meaning


def test_a_very_long_line_is_searched_to_its_end(tables: Sequence[Fault]) -> None:
    for before in (WIDTH - 30, WIDTH, 10 * WIDTH + 7):
        text = "x" * before + " PEF requires KVM"
        assert explain(text, tables)[0].code == "pef.needs-kvm"


def test_of_an_endless_text_the_beginning_and_the_end_are_read(tables: Sequence[Fault]) -> None:
    middle = "nothing here\n" * (LONGEST // 4)
    found = explain(f"PEF requires KVM\n{middle}falling back to tcg", tables)
    assert [each.code for each in found] == ["pef.needs-kvm", "qemu.fell-back"]
    assert sum(len(piece.text) for piece in passages("y" * (3 * LONGEST))) < 2 * LONGEST


@pytest.mark.parametrize("line", ["", "\n"], ids=["in one line", "in lines"])
def test_a_megabyte_made_of_all_beginnings_of_messages_comes_to_an_end(
    line: str, tables: Sequence[Fault]
) -> None:
    beginnings = line.join(text[: len(text) * 2 // 3] for each in examples() for text in each.texts) + line
    assert explain(beginnings * (LONGEST // len(beginnings) + 1), tables)


@pytest.mark.parametrize(
    "seed",
    [
        "cbitpos check failed, host '",
        "Some features requested in the CPU model are not available in the configuration: ",
        "SEAMCALL (0x" + "0" * 16,
        "TDH.MNG.INIT " + "0xc",
        "failed to initialize ret=-",
        "-object sev-guest,",
        "0x" + "c" * 15,
        "[QPL] 0xb",
        "a" * 300,
        "'",
        "\u2018" * 10,
        "\x1b[",
        "\x00",
    ],
)
def test_a_megabyte_of_one_beginning_comes_to_an_end(seed: str, tables: Sequence[Fault]) -> None:
    explain(seed * (LONGEST // len(seed)), tables)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400))
def test_any_text_is_explained_or_said_to_be_unknown(text: str) -> None:
    found = explain(text, catalog(("sequester.platforms.sev_faults",)))
    assert (found == ()) == (not passages(text))
    for each in found:
        assert each.quote.isprintable()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([text for each in examples() for text in each.texts]),
    st.integers(0, 200),
    st.characters(),
)
def test_a_message_with_one_character_changed_breaks_nothing(text: str, at: int, char: str) -> None:
    explain(
        text[: at % len(text)] + char + text[at % len(text) + 1 :],
        catalog(("sequester.platforms.tdx_faults",)),
    )


def test_a_fault_without_groups_and_decoder_says_what_it_is() -> None:
    fault = Fault("a.b", "Title", "the sky falls", Origin.QEMU, "It does.", ("hide", "{nothing}"), ("here",))
    (found,) = explain("oh, the sky falls down", (fault,))
    assert (found.title, found.meaning, found.remedy, found.details) == ("Title", "It does.", ("hide",), ())
    assert (found.origin, found.sources, found.quote) == ("QEMU", ("here",), "oh, the sky falls down")


def test_weights_order_explanations_before_their_place_in_the_text() -> None:
    def fault(code: str, pattern: str, weight: Weight) -> Fault:
        return Fault(code, code, pattern, Origin.KVM, "m.", ("r",), ("s",), weight)

    tables = (
        fault("x.after", "third", Weight.AFTERMATH),
        fault("x.general", "second", Weight.GENERAL),
        fault("x.cause", "first", Weight.CAUSE),
    )
    assert [e.code for e in explain("third\nsecond\nfirst", tables)] == ["x.cause", "x.general", "x.after"]
    assert [e.code for e in explain("third second first", tables)] == ["x.cause", "x.after"]
