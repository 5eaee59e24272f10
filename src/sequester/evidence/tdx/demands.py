"""What a policy asks of a quote: attributes, the challenge, measured registers, what the launch was bound to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed, skipped
from sequester.evidence.policy import Policy
from sequester.evidence.policy_keys import Key, number, octets, some, word
from sequester.evidence.tdx import bits
from sequester.evidence.tdx.quote import Quote

REGISTERS = {"mrtd": "MRTD", **{f"rtmr{number}": f"RTMR{number}" for number in range(4)}}
_BOUND = ("mrconfigid", "mrowner", "mrownerconfig", "mrseam", "mrsignerseam", "mrservicetd")
_SIZE = 48
KEYS: Mapping[str, Key] = {
    "attributes": Key(number((1 << 64) - 1), "TDATTRIBUTES, exactly"),
    "attributes-must": Key(some(word(*bits.ATTRIBUTES)), "attributes that must be set, by name"),
    "attributes-must-not": Key(some(word(*bits.ATTRIBUTES)), "attributes that must not be set, by name"),
    "xfam": Key(number((1 << 64) - 1), "XFAM, exactly"),
    **{name: Key(octets(_SIZE), f"{name.upper()}, exactly") for name in _BOUND},
}


def demanded(quote: Quote, policy: Policy) -> Iterator[Check]:
    """Answer DEBUG, MIGRATION, GUEST_POLICY, REPORT_DATA, MEASUREMENT and GUEST_DATA."""
    own = policy.of("tdx")
    yield _debug(quote, policy)
    yield _migration(quote, policy)
    yield _guest_policy(quote, own)
    yield _report_data(quote, policy)
    yield from _measurements(quote, policy)
    yield _guest_data(quote, own)


def _debug(quote: Quote, policy: Policy) -> Check:
    where = quote.where("tdattributes")
    on = bits.on(quote.attributes & bits.UNDER_DEBUG)
    if not on:
        return passed(criteria.DEBUG, "off", where)
    said = ", ".join(on)
    if policy.debug:
        return skipped(criteria.DEBUG, f"{said}, which the policy allows")
    return failed(criteria.DEBUG, f"the host may look into the guest: {said}", "off", where)


def _migration(quote: Quote, policy: Policy) -> Check:
    """A service TD that is bound can move a guest only if its attributes let it; who it is, GUEST_DATA asks."""
    where = quote.where("tdattributes")
    bound = any(quote.body.get("mrservicetd", b""))
    if not quote.attributes & 1 << bits.MIGRATABLE:
        return passed(
            criteria.MIGRATION, "off; a service TD is bound to the guest" if bound else "off", where
        )
    if policy.migration:
        return skipped(criteria.MIGRATION, "the guest can be migrated, which the policy allows")
    return failed(criteria.MIGRATION, "the guest can be migrated", "off", where)


def _guest_policy(quote: Quote, own: Mapping[str, Any]) -> Check:
    on = bits.on(quote.attributes)
    said, where = ", ".join(on) or "no bits", quote.where("tdattributes")
    exact, xfam = own.get("attributes"), own.get("xfam")
    if exact is not None and quote.attributes != exact:
        return failed(criteria.GUEST_POLICY, f"{quote.attributes:#x}", f"{exact:#x}", where)
    missing = [name for name in own.get("attributes-must", ()) if name not in on]
    excess = [name for name in own.get("attributes-must-not", ()) if name in on]
    if missing or excess:
        expected = " and ".join([*missing, *(f"no {name}" for name in excess)])
        return failed(criteria.GUEST_POLICY, said, expected, where)
    had = int.from_bytes(quote.body["xfam"], "little")
    if xfam is not None and had != xfam:
        return failed(criteria.GUEST_POLICY, f"XFAM {had:#x}", f"{xfam:#x}", quote.where("xfam"))
    if not {"attributes", "attributes-must", "attributes-must-not", "xfam"} & own.keys():
        if not quote.attributes & 1 << bits.SEPT_VE_DISABLE:
            said += "; without sept-ve-disable the host may make any access to memory fault in the guest"
        return skipped(criteria.GUEST_POLICY, f"{said}; the policy asks for none")
    return passed(criteria.GUEST_POLICY, said, where)


def _report_data(quote: Quote, policy: Policy) -> Check:
    expected, where = policy.report_data, quote.where("reportdata")
    if expected is None:
        return skipped(criteria.REPORT_DATA, "the policy has no report-data: this may be old evidence")
    if quote.report_data != expected.ljust(64, b"\0"):
        return failed(criteria.REPORT_DATA, quote.report_data.hex(), expected.ljust(64, b"\0").hex(), where)
    return passed(criteria.REPORT_DATA, f"{quote.report_data[:8].hex()}…", where)


def _measurements(quote: Quote, policy: Policy) -> Iterator[Check]:
    asked = [name for name in REGISTERS if name in policy.measurements]
    if "mrtd" not in asked:
        said = f"MRTD {quote.body['mrtd'][:8].hex()}…"
        yield skipped(criteria.MEASUREMENT, f"{said}; the policy names none: any guest will do")
    for name in asked:
        acceptable, found = policy.measurements[name], quote.body[name]
        if found in acceptable:
            yield passed(criteria.MEASUREMENT, f"{name} {found[:8].hex()}…", quote.where(name))
        else:
            more = f", or one of {len(acceptable) - 1} more" if len(acceptable) > 1 else ""
            expected = f"{acceptable[0].hex()}{more}"
            yield failed(criteria.MEASUREMENT, f"{name} {found.hex()}", expected, quote.where(name))


def _guest_data(quote: Quote, own: Mapping[str, Any]) -> Check:
    asked = [name for name in _BOUND if name in own]
    for name in asked:
        if name not in quote.body:
            return failed(criteria.GUEST_DATA, f"there is no {name} in this quote", own[name].hex())
        if quote.body[name] != own[name]:
            return failed(
                criteria.GUEST_DATA, f"{name} {quote.body[name].hex()}", own[name].hex(), quote.where(name)
            )
    if not asked:
        return skipped(criteria.GUEST_DATA, "the policy asks for none")
    return passed(criteria.GUEST_DATA, ", ".join(asked))
