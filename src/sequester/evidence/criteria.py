"""Every criterion, the same for all platforms: EV1xx form, EV2xx signatures, EV3xx revocation and freshness, EV4xx
the platform's own state (TCB), EV5xx what the guest was allowed, EV6xx what the evidence is bound to."""

from __future__ import annotations

from sequester.evidence.appraisal import Criterion

FORM = Criterion(
    "EV101",
    "the evidence is well formed",
    "Fields that must be zero, lengths and versions say whether the layout is one that is understood.",
    "get the evidence anew, whole and unchanged",
)
SIGNATURE = Criterion(
    "EV201",
    "the signature is that of the attestation key",
    "Only the platform's attestation key can have signed this evidence.",
    "use the certificate of the chip and the firmware level that signed; a change of one bit breaks a signature",
)
CHAIN = Criterion(
    "EV202",
    "the attestation key's certificates lead to the vendor's root",
    "A key that the vendor did not vouch for may be anybody's.",
    "give the intermediate certificates of this product",
)
VALIDITY = Criterion(
    "EV203",
    "every certificate is valid at this time",
    "Vendors end the validity of certificates whose keys are no longer good.",
    "get current certificates, or say the time of the evidence",
)
BINDING = Criterion(
    "EV204",
    "the certificate is that of this chip at this firmware level",
    "Attestation certificates name the chip and the TCB whose key they certify; another one's proves nothing.",
    "get the certificate for the chip ID and the reported TCB in the evidence",
)
QUOTING = Criterion(
    "EV205",
    "the quoting enclave or module is the vendor's, and current",
    "The key that signed belongs to a quoting component; a forged or outdated one signs anything.",
    "update the quoting enclave, or give its current identity",
)
SIMULATED = Criterion(
    "EV206",
    "the evidence is not simulated",
    "A simulated platform protects nothing.",
    "accept simulated evidence only in tests, with --trust-simulated",
)
REVOCATION = Criterion(
    "EV301",
    "no certificate was revoked",
    "Vendors revoke certificates of compromised keys; without a current list nobody can tell.",
    "get the current revocation list of the issuer",
)
FRESHNESS = Criterion(
    "EV302",
    "the collateral is current",
    "An old list or TCB table hides what was found since.",
    "fetch the collateral anew",
)
TCB = Criterion(
    "EV401",
    "the platform's firmware is new enough",
    "Older firmware has holes that are published.",
    "update firmware, microcode or modules of the host, then fetch new certificates",
)
ADVISORIES = Criterion(
    "EV402",
    "no advisory that is not accepted applies",
    "The vendor names advisories that touch this level.",
    "update the host, or accept the advisory by name in the policy",
)
PLATFORM_INFO = Criterion(
    "EV403",
    "the platform runs as the policy asks",
    "SMT, ECC, alias checks, ciphertext hiding and the like change what an attacker can do.",
    "change the host's settings, or the policy",
)
DEBUG = Criterion(
    "EV501",
    "the host cannot debug the guest",
    "A guest that may be debugged keeps nothing from its host.",
    "start the guest without the debug bit",
)
MIGRATION = Criterion(
    "EV502",
    "no migration agent can move the guest",
    "A migration agent gets the guest's memory.",
    "start the guest without it, or allow it in the policy",
)
GUEST_POLICY = Criterion(
    "EV503",
    "the guest was started with an acceptable policy",
    "What the guest's policy allows, its host may do.",
    "start the guest with the policy that is asked for",
)
IDENTITY_KEYS = Criterion(
    "EV504",
    "the launch was signed by the keys that are trusted",
    "ID key and author key say who stands behind the launch digest.",
    "sign the ID block with the trusted key, or trust this key",
)
PRIVILEGE = Criterion(
    "EV505",
    "the evidence was asked for at the privilege level that is expected",
    "A report from a less privileged level may have been asked for by other software in the guest.",
    "ask from the level that the policy names",
)
REPORT_DATA = Criterion(
    "EV601",
    "the evidence answers this challenge",
    "Without the verifier's own data in it, evidence may be old and somebody else's.",
    "ask the guest anew, with this nonce",
)
MEASUREMENT = Criterion(
    "EV602",
    "the guest is one of those that are expected",
    "The measurement is the one thing that tells which firmware, kernel and command line were started.",
    "`sequester measure --compare DIGEST` says which mistake gives this one",
)
EVENT_LOG = Criterion(
    "EV603",
    "the event log is the one that the registers tell of",
    "Only a log whose replay gives the registers says what was measured.",
    "get the log and the evidence from the same boot",
)
GUEST_DATA = Criterion(
    "EV604",
    "what the launch was bound to is as expected",
    "Host data, family and image IDs and configuration registers are bound to the launch from outside.",
    "start the guest with the values that the policy names",
)

CRITERIA = tuple(value for value in list(vars().values()) if isinstance(value, Criterion))
"""All of them, by code."""


def criterion(code: str) -> Criterion | None:
    """Return the criterion with a code, in whatever case, or None."""
    return next((each for each in CRITERIA if each.code == code.upper()), None)
