"""Measurements for people and programs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sequester.measure.measurement import Contribution, Measurement
    from sequester.measure.search import Match
    from sequester.report.style import Style

SCHEMA = "sequester.measure/1"


def spelled(value: bytes, form: str) -> str:
    """Spell a digest in ``hex`` or ``base64``."""
    if form == "hex":
        return value.hex()
    from base64 import b64encode

    return b64encode(value).decode()


def measurement_text(measurement: Measurement, form: str) -> str:
    """Return the registers: one alone as its bare value, several a line each."""
    if len(measurement.registers) == 1 and measurement.registers[0].value is not None:
        return spelled(measurement.registers[0].value, form) + "\n"
    width = max(len(register.name) for register in measurement.registers)
    lines = []
    for register in measurement.registers:
        value = f"not known: {register.unknown}" if register.value is None else spelled(register.value, form)
        lines.append(f"{register.name:<{width}}  {value}\n")
    return "".join(lines)


def measurement_json(measurement: Measurement, contributions: Iterable[Contribution] = ()) -> str:
    """Return the measurement, with what it is made of where that is given."""
    steps = [_step(contribution) for contribution in contributions]
    return _dump(
        {
            "schema": SCHEMA,
            "platform": measurement.platform,
            "registers": [
                {
                    "name": register.name,
                    "value": None if register.value is None else register.value.hex(),
                    **({"unknown": register.unknown} if register.unknown else {}),
                }
                for register in measurement.registers
            ],
            **({"contributions": steps} if steps else {}),
            "notes": list(measurement.notes),
        }
    )


def contributions_text(contributions: Iterable[Contribution], style: Style) -> str:
    """Return contributions in order, a line each: running value, kind, place, what it is, digest of its contents."""
    steps = list(contributions)
    kinds = max((len(step.kind) for step in steps), default=0)
    places = max((len(_place(step)) for step in steps), default=0)
    lines = []
    register = ""
    for step in steps:
        if step.register != register:
            register = step.register
            lines.append(style.paint(f"{register}\n", "bold"))
        running = style.paint(f"{step.running.hex()[:16]:<16}", "cyan")
        what = step.what + (f"  {step.contents.hex()}" if step.contents else "")
        lines.append(f"  {running}  {step.kind:<{kinds}}  {_place(step):<{places}}  {what}\n")
    return "".join(lines)


def _place(step: Contribution) -> str:
    place = "" if step.address is None else f"{step.address:#x}"
    return place + (f"+{step.size:#x}" if step.size else "")


def match_text(match: Match | None, digest: bytes) -> str:
    """Return what sets the launch with this digest apart."""
    if match is None:
        return (
            f"no launch near this one has the digest {digest.hex()}: another firmware, kernel or platform, or more"
            " than three things are different at once\n"
        )
    if not match.differences:
        return "this launch has that digest\n"
    return "that digest is this launch's with\n" + "".join(f"  - {what}\n" for what in match.differences)


def match_json(match: Match | None, digest: bytes) -> str:
    """Return the same for programs."""
    return _dump(
        {
            "schema": SCHEMA,
            "digest": digest.hex(),
            "explained": match is not None,
            "differences": list(match.differences) if match else [],
        }
    )


def _step(step: Contribution) -> dict[str, Any]:
    return {
        "register": step.register,
        "what": step.what,
        "kind": step.kind,
        "address": step.address,
        "size": step.size,
        "contents": step.contents.hex(),
        "running": step.running.hex(),
    }


def _dump(value: Any) -> str:
    import json

    return json.dumps(value, indent=2) + "\n"
