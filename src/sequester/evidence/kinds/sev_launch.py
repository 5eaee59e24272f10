"""Launch measurements of SEV and SEV-ES guests, by which an owner knows a guest before it gets a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sequester.errors import InputError
from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed, skipped
from sequester.evidence.collateral import Collateral
from sequester.evidence.field import Field
from sequester.evidence.policy import Policy
from sequester.evidence.policy_keys import Key, number, secret_file, some

if TYPE_CHECKING:
    from sequester.owner.launch import Launch
    from sequester.platforms.limitation import HostTrustLimitation

NAME = "sev-launch"
PLATFORM = "sev"
VARIANTS = ("sev-es",)
TITLE = "AMD SEV launch measurement"
REGISTERS = {"digest": "launch-digest"}
TCB_COMPONENTS: tuple[str, ...] = ()
POLICY_KEYS: Mapping[str, Key] = {
    "guest-policy": Key(number((1 << 32) - 1), "the guest's policy, exactly"),
    "tik": Key(
        some(secret_file(16)), "files of transport integrity keys, as `sequester owner session` writes"
    ),
}

_KEY_REMEDY = (
    'say tik = "FILE" under [sev] in the policy: NAME_tik.bin of the session that the guest was started with'
)
_DIGEST_REMEDY = "give the guest with --guest, or `digest` under [measurements] in the policy"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A launch, and the bytes that told of it."""

    launch: Launch
    data: bytes


def recognises(data: bytes) -> bool:
    """Tell whether bytes tell of a launch."""
    if b"sev" not in data and b"build-id" not in data:
        return False
    from sequester.evidence.sev.launches import recognises as looks_so

    return looks_so(data)


def parse(data: bytes, where: str) -> Evidence:
    """Read a launch. Raises InputError."""
    from sequester.evidence.sev.launches import read

    return Evidence(read(data, where), data)


def claims(evidence: Evidence) -> Mapping[str, Any]:
    """Return what a launch says, fit for JSON."""
    launch = evidence.launch
    return {
        "measurement": launch.measurement[:32].hex(),
        "nonce": launch.measurement[32:].hex(),
        "policy": launch.policy,
        "encrypted-state": bool(launch.policy & 4),
        "api": f"{launch.api[0]}.{launch.api[1]}",
        "build": launch.build,
    }


def fields(evidence: Evidence) -> Iterator[Field]:
    """Yield the text as it is: what it says has no place of its own."""
    yield Field("launch", 0, evidence.data, dict(claims(evidence)))


def appraise(evidence: Evidence, collateral: Collateral, policy: Policy, now: datetime) -> Iterator[Check]:
    """Answer every criterion that a launch can be asked."""
    from sequester.evidence.sev.chain import chains, demanded
    from sequester.owner.sev_chain import verify_chain

    launch = evidence.launch
    api = f"API {launch.api[0]}.{launch.api[1]} build {launch.build}"
    yield passed(criteria.FORM, f"a launch measurement of {api}")
    digest, check = _signed(launch, policy)
    yield check
    if digest is None:
        yield skipped(criteria.CHAIN, "it is not known whose platform measured")
    else:
        yield passed(criteria.CHAIN, "only the platform that the owner's session was made for has its key")
        found = [verify_chain(chain) for chain in chains(collateral.everything)]
        yield _simulated(launch.simulated or (bool(found) and all(each.simulated for each in found)), policy)
    why = "the session's certificates were checked when it was made (`sequester owner session`)"
    for criterion in (criteria.VALIDITY, criteria.REVOCATION, criteria.FRESHNESS):
        yield skipped(criterion, why)
    yield skipped(criteria.TCB, f"{api}: the policy asks for no version")
    yield from demanded(launch.policy, digest, policy)
    if digest is None:
        yield skipped(criteria.MEASUREMENT, "the measurement is that of no guest that is known")
    if policy.report_data is None:
        yield skipped(
            criteria.REPORT_DATA, "the session is the owner's own: no other one's launch has its key"
        )
    else:
        found_, wanted = "a launch measurement carries no data of the verifier's", policy.report_data.hex()
        yield failed(
            criteria.REPORT_DATA, found_, wanted, remedy="leave report-data out: the session is the nonce"
        )


def _signed(launch: Launch, policy: Policy) -> tuple[bytes | None, Check]:
    """Return the digest that was measured, None where that is not known, and the answer to SIGNATURE."""
    from sequester.evidence.secrets import secrets
    from sequester.measure.launch_measurement import DIGEST_SIZE, matches

    keys = secrets(policy.of("sev"), "tik")
    digests = [each for each in policy.measurements.get("digest", ()) if len(each) == DIGEST_SIZE]
    where = "measurement"
    if not keys:
        what = "the key of the owner's session is not here: the measurement cannot be verified"
        return None, failed(criteria.SIGNATURE, what, "the owner's key (TIK)", where, _KEY_REMEDY)
    if not digests:
        what = (
            "it is not known which guest this should be, and only that tells whether the measurement is right"
        )
        return None, failed(criteria.SIGNATURE, what, "a launch digest", where, _DIGEST_REMEDY)
    for key in keys:
        for digest in digests:
            try:
                if matches(launch.measurement, digest, key, launch.policy, launch.api, launch.build):
                    return digest, passed(
                        criteria.SIGNATURE, "HMAC-SHA256 under the owner's key (TIK)", where
                    )
            except InputError:
                break
    what = "this is the measurement of none of these guests under the owner's key: another guest or session"
    return None, failed(criteria.SIGNATURE, what, f"that of {digests[0].hex()}", where, _DIGEST_REMEDY)


def _simulated(simulated: bool, policy: Policy) -> Check:
    if not simulated:
        return passed(criteria.SIMULATED, "neither the launch nor a chain says so")
    if policy.simulated:
        return skipped(criteria.SIMULATED, "simulated, which the policy allows: this guest is not protected")
    return failed(criteria.SIMULATED, "the platform is simulated", "AMD's")


def demands(limitation: HostTrustLimitation) -> Mapping[str, Any]:
    """Return what the limitation of a plan asks of a launch: its policy."""
    return {"guest-policy": limitation.value("policy")}
