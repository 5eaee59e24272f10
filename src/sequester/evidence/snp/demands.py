"""What a policy asks of a SEV-SNP report, question by question.

Sources: SNP firmware ABI 1.58, tables 9 (guest policy), 23 (report), 24 (platform info).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, Criterion, failed, passed, skipped
from sequester.evidence.policy import Policy
from sequester.evidence.policy_keys import Key, Read, flag, number, octets, some, table, word
from sequester.evidence.snp.products import COMPONENTS, spelled, tcb
from sequester.evidence.snp.report import VCEK, VLEK, Report
from sequester.platforms.snp_policy_bits import POLICY_BITS

PLATFORM = "sev-snp"
PLATFORM_BITS = {
    "smt": 0,
    "tsme": 1,
    "ecc": 2,
    "rapl-disabled": 3,
    "ciphertext-hiding": 4,
    "alias-check": 5,
    "tio": 7,
}
"""PLATFORM_INFO, ABI table 24."""
GUEST_BITS = {name: number for number, name, _ in POLICY_BITS if name != "reserved-one"}
_DEBUG, _AGENT = GUEST_BITS["debug"], GUEST_BITS["migration-agent"]
_NO_AGENT = b"\xff" * 32
_LARGEST = 1 << 64


def version(value: Any) -> tuple[int, ...]:
    """Read a firmware version: ``1.55`` or ``1.55.22``."""
    parts = value.split(".") if isinstance(value, str) else []
    if len(parts) not in (2, 3) or not all(
        part.isascii() and part.isdigit() and int(part) < 256 for part in parts
    ):
        raise ValueError('a version, such as "1.55" or "1.55.22"')
    return tuple(int(part) for part in parts)


_TCB: Read = table({name: number(255) for name in COMPONENTS}, "TCB components")
_DIGESTS = some(octets(48))

KEYS: Mapping[str, Key] = {
    "guest-policy": Key(number(_LARGEST - 1), "the guest's policy, exactly"),
    "guest-policy-must": Key(some(word(*GUEST_BITS)), "bits that the guest's policy must have"),
    "guest-policy-must-not": Key(some(word(*GUEST_BITS)), "bits that the guest's policy must not have"),
    "minimum-abi": Key(version, "least ABI version that the guest's policy asks of the firmware"),
    "platform-must": Key(some(word(*PLATFORM_BITS)), "bits that the platform must have on"),
    "platform-must-not": Key(some(word(*PLATFORM_BITS)), "bits that the platform must have off"),
    "minimum-committed-tcb": Key(_TCB, "least committed security versions, other than minimum-tcb"),
    "minimum-launch-tcb": Key(_TCB, "least security versions at launch, other than minimum-tcb"),
    "minimum-firmware": Key(version, "least version of the firmware, current and committed"),
    "provisional": Key(flag, "false: refuse firmware that was not committed, which the host can take back"),
    "launch-mitigations": Key(
        number(_LARGEST - 1), "mitigations that must have been verified at launch, as bits"
    ),
    "current-mitigations": Key(number(_LARGEST - 1), "mitigations that must be verified now, as bits"),
    "vmpl": Key(number(3), "the privilege level that asked"),
    "signing-key": Key(word("vcek", "vlek"), "whose key must have signed"),
    "chip-ids": Key(some(octets(8, 64)), "chips that will do; Turin's with 8 bytes"),
    "id-keys": Key(_DIGESTS, "SHA-384 of ID keys that will do"),
    "author-keys": Key(_DIGESTS, "SHA-384 of author keys that will do"),
    "host-data": Key(octets(32), "what the host bound to the launch"),
    "family-id": Key(octets(16), "the ID block's family ID"),
    "image-id": Key(octets(16), "the ID block's image ID"),
    "minimum-guest-svn": Key(number((1 << 32) - 1), "least security version of the guest, of the ID block"),
    "report-id": Key(octets(32), "the guest's report ID"),
}
"""The keys of ``[sev-snp]`` in a policy."""


def demanded(report: Report, policy: Policy, product: str) -> Iterator[Check]:
    """Answer every criterion of the platform's state, of what the guest was allowed and of what it is bound to."""
    own = policy.of(PLATFORM)
    if "signing-key" in own:
        yield _signing_key(report, own["signing-key"])
    yield from _tcb(report, policy, own, product)
    yield skipped(criteria.ADVISORIES, "AMD names no advisories by TCB version: see minimum-tcb")
    yield _platform(report, own)
    yield _mitigations(report, own)
    yield _debug(report, policy)
    yield _agent(report, policy)
    yield _guest_policy(report, own)
    yield _identity(report, own)
    yield _privilege(report, own)
    yield _report_data(report, policy)
    yield _measurement(report, policy)
    yield _guest_data(report, own)


def _signing_key(report: Report, wanted: str) -> Check:
    key, where = {VCEK: "vcek", VLEK: "vlek"}.get(report.signing_key, "no key"), "SIGNING_KEY, offset 0x48"
    if key != wanted:
        return failed(criteria.BINDING, f"signed by a {key.upper()}", f"by a {wanted.upper()}", where)
    return passed(criteria.BINDING, f"signed by a {key.upper()}", where)


def _tcb(report: Report, policy: Policy, own: Mapping[str, Any], product: str) -> Iterator[Check]:
    reported, committed, current, launch = (
        report.reported_tcb,
        report.committed_tcb,
        report.current_tcb,
        report.launch_tcb,
    )
    least = {name: value for name, value in policy.minimum_tcb.items() if name in COMPONENTS}
    yield _least(reported, least, product, "reported", "REPORTED_TCB, offset 0x180")
    yield _least(
        committed,
        own.get("minimum-committed-tcb", least),
        product,
        "committed",
        "COMMITTED_TCB, offset 0x1e0",
    )
    yield _least(launch, own.get("minimum-launch-tcb", least), product, "launch", "LAUNCH_TCB, offset 0x1f0")
    if report.committed_tcb != current or reported != current:
        for name, lower in (("committed", committed), ("reported", reported)):
            if any(tcb(current, product).get(part, 0) < value for part, value in tcb(lower, product).items()):
                yield failed(
                    criteria.TCB,
                    f"the {name} TCB is above the current one: {spelled(lower, product)}",
                    f"at most {spelled(current, product)}",
                    "CURRENT_TCB, offset 0x38",
                )
    yield _firmware(report, own, product)


def _least(value: int, least: Mapping[str, int], product: str, name: str, where: str) -> Check:
    found = tcb(value, product)
    low = {part: number for part, number in least.items() if found.get(part, -1) < number}
    if low:
        part, number = next(iter(low.items()))
        said = f"{part} {found[part]}" if part in found else f"no {part}"
        return failed(criteria.TCB, f"the {name} TCB has {said}", f"{part} {number} or later", where)
    text = f"{name}: {spelled(value, product)}"
    return passed(criteria.TCB, text if least else f"{text}; the policy has no minimum-tcb for it", where)


def _firmware(report: Report, own: Mapping[str, Any], product: str) -> Check:
    current, committed = (
        bytes(reversed(each[:3])) for each in (report.current_version, report.committed_version)
    )
    where = "CURRENT and COMMITTED version, offset 0x1e8"
    found = f"firmware {_dotted(current)}, committed {_dotted(committed)}"
    if committed > current:
        return failed(criteria.TCB, found, "what is committed is not later", where)
    provisional = committed != current or report.committed_tcb != report.current_tcb
    if provisional and not own.get("provisional", True):
        what = found if committed != current else f"committed {spelled(report.committed_tcb, product)}"
        expected = _dotted(current) if committed != current else spelled(report.current_tcb, product)
        return failed(criteria.TCB, f"the firmware is provisional: {what}", f"{expected}, committed", where)
    least = own.get("minimum-firmware", ())
    if tuple(committed)[: len(least)] < least:
        return failed(criteria.TCB, found, f"{_dotted(least)} or later", where)
    return passed(criteria.TCB, found, where)


def _dotted(parts: bytes | tuple[int, ...]) -> str:
    return ".".join(str(part) for part in parts)


def _platform(report: Report, own: Mapping[str, Any]) -> Check:
    must, must_not = own.get("platform-must", ()), own.get("platform-must-not", ())
    on = [name for name, bit in PLATFORM_BITS.items() if report.platform_info >> bit & 1]
    return _bits(criteria.PLATFORM_INFO, on, must, must_not, "PLATFORM_INFO, offset 0x40")


def _bits(
    criterion: Criterion, on: list[str], must: tuple[str, ...], must_not: tuple[str, ...], where: str
) -> Check:
    said = ", ".join(on) or "no bits"
    missing = [name for name in must if name not in on]
    excess = [name for name in must_not if name in on]
    if missing or excess:
        expected = " and ".join([*missing, *(f"no {name}" for name in excess)])
        return failed(criterion, said, expected, where)
    if not must and not must_not:
        return skipped(criterion, f"{said}; the policy asks for none")
    return passed(criterion, said, where)


def _mitigations(report: Report, own: Mapping[str, Any]) -> Check:
    asked = {
        name: own[f"{name}-mitigations"] for name in ("launch", "current") if f"{name}-mitigations" in own
    }
    had = {"launch": report.launch_mitigations, "current": report.current_mitigations}
    for name, bits in asked.items():
        if had[name] & bits != bits:
            where = f"{name.upper()}_MIT_VECTOR, offset {'0x1f8' if name == 'launch' else '0x200'}"
            found = (
                f"0x{had[name]:x}"
                if report.version > 4
                else f"none: the report is of version {report.version}"
            )
            return failed(criteria.PLATFORM_INFO, f"mitigations at {name}: {found}", f"0x{bits:x}", where)
    if not asked:
        return skipped(criteria.PLATFORM_INFO, "the policy asks for no mitigations")
    said = ", ".join(f"{name} 0x{had[name]:x}" for name in asked)
    return passed(criteria.PLATFORM_INFO, f"mitigations: {said}", "offset 0x1f8")


def _debug(report: Report, policy: Policy) -> Check:
    where = "POLICY bit 19, offset 0x8"
    if not report.policy >> _DEBUG & 1:
        return passed(criteria.DEBUG, "off", where)
    if policy.debug:
        return skipped(criteria.DEBUG, "on, which the policy allows")
    return failed(criteria.DEBUG, "the guest's policy allows debugging", "off", where)


def _agent(report: Report, policy: Policy) -> Check:
    allowed, bound = (
        report.policy >> _AGENT & 1,
        report.report_id_agent != _NO_AGENT and any(report.report_id_agent),
    )
    if not allowed and not bound:
        return passed(criteria.MIGRATION, "off", "POLICY bit 18, offset 0x8")
    found = "an agent is bound to the guest" if bound else "the guest's policy allows an agent"
    if policy.migration:
        return skipped(criteria.MIGRATION, f"{found}, which the policy allows")
    where = "REPORT_ID_MA, offset 0x160" if bound else "POLICY bit 18, offset 0x8"
    return failed(criteria.MIGRATION, found, "none", where)


def _guest_policy(report: Report, own: Mapping[str, Any]) -> Check:
    where = "POLICY, offset 0x8"
    exact = own.get("guest-policy")
    if exact is not None and report.policy != exact:
        return failed(criteria.GUEST_POLICY, f"0x{report.policy:x}", f"0x{exact:x}", where)
    abi = report.policy >> 8 & 0xFF, report.policy & 0xFF
    if abi < own.get("minimum-abi", ())[:2]:
        return failed(
            criteria.GUEST_POLICY, f"ABI {_dotted(abi)}", f"{_dotted(own['minimum-abi'][:2])} or later", where
        )
    if exact is not None:
        return passed(criteria.GUEST_POLICY, f"0x{report.policy:x}", where)
    on = [name for name, bit in GUEST_BITS.items() if report.policy >> bit & 1]
    must, must_not = own.get("guest-policy-must", ()), own.get("guest-policy-must-not", ())
    return _bits(criteria.GUEST_POLICY, on, must, must_not, where)


def _identity(report: Report, own: Mapping[str, Any]) -> Check:
    """An ID key or an author key that is trusted will do: the firmware saw that the one signed for the other."""
    authors, keys = own.get("author-keys", ()), own.get("id-keys", ())
    if not authors and not keys:
        had = "an ID key" if any(report.id_key_digest) else "no ID key"
        return skipped(criteria.IDENTITY_KEYS, f"{had}; the policy names none")
    if authors and report.author_key_enabled and report.author_key_digest in authors:
        return passed(criteria.IDENTITY_KEYS, "the author key", "AUTHOR_KEY_DIGEST, offset 0x110")
    if keys and report.id_key_digest in keys:
        return passed(criteria.IDENTITY_KEYS, "the ID key", "ID_KEY_DIGEST, offset 0xe0")
    if keys:
        found, where, trusted = report.id_key_digest, "ID_KEY_DIGEST, offset 0xe0", keys
    else:
        found, where, trusted = report.author_key_digest, "AUTHOR_KEY_DIGEST, offset 0x110", authors
    said = found.hex() if any(found) else "there was none"
    return failed(criteria.IDENTITY_KEYS, said, _either(trusted), where)


def _privilege(report: Report, own: Mapping[str, Any]) -> Check:
    vmpl = own.get("vmpl")
    said = "the host" if report.vmpl > 3 else f"VMPL {report.vmpl}"
    if report.vmpl > 3:
        return failed(criteria.PRIVILEGE, f"{said} asked for this report", "the guest", "VMPL, offset 0x30")
    if vmpl is None:
        return skipped(criteria.PRIVILEGE, f"{said}; the policy names no level")
    if report.vmpl != vmpl:
        return failed(criteria.PRIVILEGE, said, f"VMPL {vmpl}", "VMPL, offset 0x30")
    return passed(criteria.PRIVILEGE, said, "VMPL, offset 0x30")


def _report_data(report: Report, policy: Policy) -> Check:
    expected, where = policy.report_data, "REPORT_DATA, offset 0x50"
    if expected is None:
        return skipped(criteria.REPORT_DATA, "the policy has no report-data: this may be old evidence")
    if report.report_data != expected.ljust(64, b"\0"):
        return failed(criteria.REPORT_DATA, report.report_data.hex(), expected.ljust(64, b"\0").hex(), where)
    return passed(criteria.REPORT_DATA, _short(report.report_data), where)


def _measurement(report: Report, policy: Policy) -> Check:
    acceptable, where = policy.measurements.get("measurement"), "MEASUREMENT, offset 0x90"
    if acceptable is None:
        return skipped(
            criteria.MEASUREMENT, f"{_short(report.measurement)}; the policy names none: any guest will do"
        )
    if report.measurement not in acceptable:
        return failed(criteria.MEASUREMENT, report.measurement.hex(), _either(acceptable), where)
    return passed(criteria.MEASUREMENT, _short(report.measurement), where)


_BOUND: Mapping[str, tuple[str, Callable[[Report], bytes]]] = {
    "host-data": ("HOST_DATA, offset 0xc0", lambda report: report.host_data),
    "family-id": ("FAMILY_ID, offset 0x10", lambda report: report.family_id),
    "image-id": ("IMAGE_ID, offset 0x20", lambda report: report.image_id),
    "report-id": ("REPORT_ID, offset 0x140", lambda report: report.report_id),
}


def _guest_data(report: Report, own: Mapping[str, Any]) -> Check:
    asked = [name for name in _BOUND if name in own]
    for name in asked:
        where, found = _BOUND[name]
        if found(report) != own[name]:
            return failed(criteria.GUEST_DATA, f"{name} {found(report).hex()}", own[name].hex(), where)
    svn = own.get("minimum-guest-svn")
    if svn is not None and report.guest_svn < svn:
        return failed(
            criteria.GUEST_DATA, f"guest SVN {report.guest_svn}", f"{svn} or later", "GUEST_SVN, offset 0x4"
        )
    chips = own.get("chip-ids")
    if chips is not None and report.chip_id not in [chip.ljust(64, b"\0") for chip in chips]:
        return failed(
            criteria.GUEST_DATA, f"chip {report.chip_id.hex()}", _either(chips), "CHIP_ID, offset 0x1a0"
        )
    asked += [name for name in ("minimum-guest-svn", "chip-ids") if name in own]
    if not asked:
        return skipped(criteria.GUEST_DATA, "the policy asks for none")
    return passed(criteria.GUEST_DATA, ", ".join(asked))


def _either(values: tuple[bytes, ...]) -> str:
    more = f", or one of {len(values) - 1} more" if len(values) > 1 else ""
    return f"{values[0].hex()}{more}"


def _short(value: bytes) -> str:
    return f"{value[:8].hex()}…"
