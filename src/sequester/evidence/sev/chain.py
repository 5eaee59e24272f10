"""The certificates that a SEV platform's evidence is held against: AMD's own format, up to AMD's root."""

from __future__ import annotations

from collections.abc import Iterator

from sequester.errors import InputError
from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed, skipped
from sequester.evidence.policy import Policy
from sequester.owner.sev_certificate import SIZE
from sequester.owner.sev_chain import SevChain, verify_chain


def chains(documents: tuple[bytes, ...]) -> tuple[SevChain, ...]:
    """Return the chains among documents, as `sevctl export` writes them."""
    found = []
    for document in documents:
        if len(document) < 4 * SIZE or not document.startswith(b"\1\0\0\0"):
            continue
        try:
            found.append(SevChain.unpack(document))
        except InputError:
            continue
    return tuple(found)


def trusted(chain: SevChain, policy: Policy) -> Iterator[Check]:
    """Answer CHAIN, SIMULATED, VALIDITY, REVOCATION and FRESHNESS for a chain."""
    verdict = verify_chain(chain)
    broken = next((step for step in verdict.steps if not step.holds), None)
    if broken is not None:
        what = f"the {broken.of} was not signed by the {broken.by}"
        yield failed(criteria.CHAIN, what, "signatures up to AMD's root", "certificates")
        yield skipped(criteria.SIMULATED, "the chain leads to no root")
    elif verdict.simulated and not policy.simulated:
        yield skipped(criteria.CHAIN, "it leads to a simulated root")
        yield failed(criteria.SIMULATED, "the platform is simulated", "AMD's root")
    elif verdict.simulated:
        yield passed(criteria.CHAIN, "PDH ← PEK ← CEK ← ASK ← ARK, simulated, which the policy trusts")
        yield skipped(criteria.SIMULATED, "simulated, which the policy allows: this guest is not protected")
    else:
        yield passed(criteria.CHAIN, f"PDH ← PEK ← CEK ← ASK ← ARK of {verdict.product}")
        yield passed(criteria.SIMULATED, "the root is AMD's")
    why = "SEV's certificates have no end and no revocation list"
    for criterion in (criteria.VALIDITY, criteria.REVOCATION, criteria.FRESHNESS):
        yield skipped(criterion, why)


def demanded(policy_bits: int, digest: bytes | None, policy: Policy) -> Iterator[Check]:
    """Answer DEBUG, MIGRATION, GUEST_POLICY and MEASUREMENT; `digest` is None where only a MAC over it is known."""
    own = policy.of("sev")
    yield _debug(policy_bits, policy)
    if policy_bits & 8:
        yield passed(criteria.MIGRATION, "no-send")
    elif policy.migration:
        yield skipped(criteria.MIGRATION, "the guest may be sent elsewhere, which the policy allows")
    else:
        yield failed(
            criteria.MIGRATION, "the guest may be sent to another machine", "no-send (bit 3)", "POLICY"
        )
    exact = own.get("guest-policy")
    if exact is None:
        yield skipped(criteria.GUEST_POLICY, f"{policy_bits:#x}; the policy asks for none")
    elif exact != policy_bits:
        yield failed(criteria.GUEST_POLICY, f"{policy_bits:#x}", f"{exact:#x}", "POLICY")
    else:
        yield passed(criteria.GUEST_POLICY, f"{policy_bits:#x}", "POLICY")
    if digest is not None:
        yield _measurement(digest, policy)


def _debug(bits: int, policy: Policy) -> Check:
    if bits & 1:
        return passed(criteria.DEBUG, "off", "POLICY bit 0")
    if policy.debug:
        return skipped(criteria.DEBUG, "on, which the policy allows")
    return failed(criteria.DEBUG, "the host may debug the guest", "off (bit 0 set)", "POLICY bit 0")


def _measurement(digest: bytes, policy: Policy) -> Check:
    acceptable = policy.measurements.get("digest")
    if acceptable is None:
        return skipped(criteria.MEASUREMENT, f"{digest[:8].hex()}…; the policy names none: any guest will do")
    if digest not in acceptable:
        return failed(criteria.MEASUREMENT, digest.hex(), acceptable[0].hex(), "LAUNCH_DIGEST, offset 0x10")
    return passed(criteria.MEASUREMENT, f"{digest[:8].hex()}…", "LAUNCH_DIGEST, offset 0x10")
