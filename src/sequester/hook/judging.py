"""Whether a domain that asks for protection, or has to have it, may start: by the rules of `check`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sequester.errors import InputError, SequesterError, printable
from sequester.findings.rule import Finding, Severity
from sequester.formats.sources import read
from sequester.planning import check
from sequester.platforms.registry import resolve
from sequester.rules.engine import Selection

_MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class Policy:
    """What an administrator wants of the hook.

    `required` are patterns of names of domains that must be protected (the gate looks at them), `ignore` and
    `downgrade` codes of rules or their beginnings, `refuse` the severity from which a finding keeps a domain from
    starting.
    """

    required: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    downgrade: tuple[str, ...] = ()
    refuse: Severity = Severity.ERROR


def judged(xml: bytes, name: str, required: bool, policy: Policy, here: bool = True) -> tuple[str, ...]:
    """Return why a domain is not to start, one line each; () where it may.

    `here` allows looking at the firmware that the domain names, on this machine.
    """
    try:
        document = read(xml, f"libvirt:{name}", "xml")
        selection = Selection((), policy.ignore, policy.downgrade)
        findings = check(document, selection=selection, here=here)
    except SequesterError as error:
        return (str(error),)
    bad = [finding for finding in findings if finding.severity >= policy.refuse]
    lines = _told(bad)
    if required and resolve(document.guest) is None and not bad:
        lines = ("this domain must be protected, and asks for no protection that is known",)
    return lines


def _told(findings: Sequence[Finding]) -> tuple[str, ...]:
    lines = [
        printable(f"{finding.code}: {finding.found}" + (f" ({finding.remedy})" if finding.remedy else ""))
        for finding in findings[:_MOST_TOLD]
    ]
    if len(findings) > _MOST_TOLD:
        lines.append(f"and {len(findings) - _MOST_TOLD} findings more: `sequester check` tells them all")
    return tuple(lines)


def read_policy(path: str) -> Policy:
    """Read a policy file; one that does not exist is an empty policy. Raises InputError for anything wrong."""
    import tomllib

    try:
        with open(path, "rb") as file:
            said = tomllib.loads(file.read(1 << 20).decode())
    except FileNotFoundError:
        return Policy()
    except (OSError, ValueError) as error:
        raise _unusable(path, str(error)) from None
    unknown = set(said) - {"required", "ignore", "downgrade", "refuse"}
    if unknown:
        raise _unusable(path, f"there is no setting '{min(unknown)}'")
    lists = {key: _names(path, key, said.get(key, [])) for key in ("required", "ignore", "downgrade")}
    words = {severity.name.lower(): severity for severity in (Severity.ERROR, Severity.WARNING)}
    refuse = said.get("refuse", "error")
    if refuse not in words:
        raise _unusable(path, f"refuse is one of {', '.join(words)}")
    return Policy(lists["required"], lists["ignore"], lists["downgrade"], words[refuse])


def _names(path: str, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _unusable(path, f"{key} is no list of names")
    return tuple(value)


def _unusable(path: str, why: str) -> InputError:
    return InputError("this policy cannot be used", code="hook.policy", where=path, why=" ".join(why.split()))
