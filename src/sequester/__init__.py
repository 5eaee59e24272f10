"""One switch that protects a QEMU/KVM guest from its host.

    import sequester

    guest = sequester.load("web.xml")                       # .toml, .xml, .args, "-", "libvirt:web"
    for finding in sequester.check(guest):
        print(finding.code, finding.found)
    plan = sequester.plan(guest, limit="sev-snp")           # or "auto" with host=sequester.this_host()
    for applied in plan.applied:
        print(applied.rule.code, applied.breach.change)
    print(plan.to("argv").text)

Errors are `SequesterError` and its kinds; each has a stable `code`, and says where, what, why and what to do.
Everything here is loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # loading `typing` takes longer than some commands' work
if TYPE_CHECKING:
    from typing import Any

    from sequester.errors import GuestError, HostError, InputError, RefusedError, SequesterError
    from sequester.evidence.appraisal import Appraisal
    from sequester.evidence.collateral import Collateral
    from sequester.evidence.policy import Policy
    from sequester.findings.rule import Finding, Rule, Severity
    from sequester.formats.sources import from_argv, read
    from sequester.formats.sources import open_guest as load
    from sequester.host.facts import HostFacts
    from sequester.host.local import this_host
    from sequester.planning import Plan, check
    from sequester.planning import make_plan as plan
    from sequester.platforms.limitation import HostTrustLimitation, Limits
    from sequester.platforms.registry import platforms as all_platforms
    from sequester.probing import probe
    from sequester.rules.catalogue import rules as all_rules
    from sequester.rules.engine import Selection
    from sequester.verifying import policy_of_plan, verify

_WHERE = {
    "Appraisal": "evidence.appraisal",
    "Collateral": "evidence.collateral",
    "Finding": "findings.rule",
    "GuestError": "errors",
    "HostError": "errors",
    "HostFacts": "host.facts",
    "HostTrustLimitation": "platforms.limitation",
    "InputError": "errors",
    "Limits": "platforms.limitation",
    "Plan": "planning",
    "Policy": "evidence.policy",
    "RefusedError": "errors",
    "Rule": "findings.rule",
    "Selection": "rules.engine",
    "SequesterError": "errors",
    "Severity": "findings.rule",
    "all_platforms": "platforms.registry:platforms",
    "all_rules": "rules.catalogue:rules",
    "check": "planning",
    "from_argv": "formats.sources",
    "load": "formats.sources:open_guest",
    "plan": "planning:make_plan",
    "policy_of_plan": "verifying",
    "probe": "probing",
    "read": "formats.sources",
    "this_host": "host.local",
    "verify": "verifying",
}

__all__ = [
    "Appraisal",
    "Collateral",
    "Finding",
    "GuestError",
    "HostError",
    "HostFacts",
    "HostTrustLimitation",
    "InputError",
    "Limits",
    "Plan",
    "Policy",
    "RefusedError",
    "Rule",
    "Selection",
    "SequesterError",
    "Severity",
    "all_platforms",
    "all_rules",
    "check",
    "from_argv",
    "load",
    "plan",
    "policy_of_plan",
    "probe",
    "read",
    "this_host",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'sequester' has no attribute '{name}'")
    from importlib import import_module

    module, _, attribute = _WHERE[name].partition(":")
    value = getattr(import_module(f"sequester.{module}"), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted((*__all__, "__version__"))
