"""What a host can do, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from sequester.errors import printable
from sequester.host.facts import HostFacts
from sequester.host.requirement import Outcome, State
from sequester.probing import Answer
from sequester.report.style import Style, wrapped

SCHEMA = "sequester-probe/1"
_MARKS = {State.PASSED: ("ok", "green"), State.FAILED: ("no", "red"), State.UNKNOWN: ("??", "yellow")}
_WORDS = {
    State.PASSED: ("works here", "green"),
    State.FAILED: ("does not work here", "red"),
    State.UNKNOWN: ("may work here", "yellow"),
}


def as_text(answers: Sequence[Answer], facts: HostFacts, verbose: bool, coloured: bool = False) -> str:
    """Return the answers for a person: what works, and for the rest what stands first in the way."""
    style = Style(coloured)
    lines = [*_host(facts, style), ""]
    for answer in answers:
        lines += _platform(answer, verbose, style)
    others = [answer.platform.title for answer in answers if answer.another_arch]
    if others and len(answers) > 1:
        lines.append(style.paint(f"of other architectures: {', '.join(others)}", "dim"))
    if facts.uid != 0:
        lines += _advice(answers, verbose)
    return "\n".join(lines).rstrip() + "\n"


def as_json(answers: Sequence[Answer], facts: HostFacts) -> str:
    """Return the answers as JSON (schema `SCHEMA`)."""
    told = {
        "schema": SCHEMA,
        "host": {
            "arch": facts.arch,
            "cpu": facts.cpu_name,
            "kernel": facts.kernel,
            "collected": facts.collected,
        },
        "qemu": [
            {
                "path": qemu.path,
                "version": ".".join(map(str, qemu.version)),
                "arch": qemu.arch,
                "types": sorted(qemu.types),
                "error": qemu.error,
            }
            for qemu in facts.qemus or ()
        ],
        "platforms": [
            {
                "name": answer.platform.name,
                "title": answer.platform.title,
                "object": answer.platform.object_type,
                "state": answer.state.value,
                "other_architecture": answer.another_arch,
                "ready_made": answer.ready or None,
                "requirements": [_outcome(outcome) for outcome in answer.outcomes],
            }
            for answer in answers
        ],
    }
    return json.dumps(told, indent=2) + "\n"


def _outcome(outcome: Outcome) -> dict[str, object]:
    return {
        "name": outcome.requirement.name,
        "title": outcome.requirement.title,
        "state": outcome.state.value,
        "needed": outcome.requirement.needed,
        "read": outcome.read,
        "why": outcome.why,
        "remedy": outcome.remedy,
        "follows_from": list(outcome.after_failed),
    }


def _host(facts: HostFacts, style: Style) -> Iterator[str]:
    where = f", a virtual machine ({printable(facts.virtual)})" if facts.virtual else ""
    processor = style.paint(printable(facts.cpu_name or facts.arch or "unknown processor"), "bold")
    yield f"{processor}, Linux {printable(facts.kernel) or 'unknown'}{where}"
    if facts.qemus is None:
        yield "QEMU: not asked"
    elif not facts.qemus:
        yield "QEMU: none found"
    for qemu in facts.qemus or ():
        if qemu.error:
            yield f"{printable(qemu.path)}: {style.paint(printable(qemu.error), 'red')}"
        else:
            kinds = ", ".join(sorted(qemu.types)) or "no protection objects"
            yield printable(f"{qemu}: {qemu.arch}, {kinds}")


def _platform(answer: Answer, verbose: bool, style: Style) -> Iterator[str]:
    platform = answer.platform
    if answer.another_arch:
        if verbose:
            yield f"{style.paint(platform.title, 'bold')}: of {', '.join(platform.architectures)} hosts only"
        return
    if not answer.outcomes:
        yield f"{style.paint(platform.title, 'bold')}: no released QEMU and kernel can host it yet"
        return
    words, colour = _WORDS[answer.state]
    yield f"{style.paint(platform.title, 'bold')} ({platform.name}): {style.paint(words, colour)}"
    shown = answer.outcomes if verbose else _worth_showing(answer)
    for outcome in shown:
        yield from _requirement(outcome, verbose, style)
    hidden = sum(o.state is not State.PASSED for o in answer.outcomes) - len(shown)
    if hidden > 0 and not verbose:
        yield style.paint(f"      and {hidden} more that may follow from this; -v shows all", "dim")
    if answer.ready:
        yield f"      ready-made: -object {printable(answer.ready)}"
    yield ""


def _worth_showing(answer: Answer) -> tuple[Outcome, ...]:
    if answer.state is State.FAILED:
        return answer.to_mend[:3]
    return tuple(outcome for outcome in answer.outcomes if outcome.state is not State.PASSED)


def _requirement(outcome: Outcome, verbose: bool, style: Style) -> Iterator[str]:
    mark, colour = _MARKS[outcome.state]
    if outcome.state is State.FAILED and not outcome.requirement.needed:
        mark, colour = "--", "yellow"
    yield f"  {style.paint(mark, colour)}  {outcome.requirement.title}: {printable(outcome.read)}"
    if outcome.state is State.PASSED:
        return
    if outcome.after_failed and verbose:
        yield wrapped(f"follows from: {', '.join(outcome.after_failed)}", "      ")
    if outcome.why:
        yield wrapped(printable(outcome.why), "      ")
    if outcome.remedy:
        yield wrapped(f"→ {outcome.remedy}", "      ")


def _advice(answers: Sequence[Answer], verbose: bool) -> Iterator[str]:
    unknown = any(
        o.state is State.UNKNOWN and o.requirement.root_would_tell for a in answers for o in a.outcomes
    )
    if unknown and not verbose:
        yield "Some answers need root: run the same as root, or see -v for what it would tell."
