"""The answers for an attestation of a Secure Execution guest: what pvattest verifies and checks, a criterion each."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed, skipped
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.evidence.s390.exchange import Exchange
from sequester.evidence.s390.headers import REGISTERS, Known, known
from sequester.evidence.s390.machines import Shelf, shelf, trusted
from sequester.evidence.s390.request import Opened, Request, open_request
from sequester.evidence.secrets import secrets

SIMULATED = b"SIMULATED"
"""How the configuration UID of a simulated machine's guest begins."""
_LENGTHS = struct.Struct(">HHI")
_KEY_REMEDY = 'say arpk = "FILE" under [s390-pv] in the policy: the key that `pvattest create --arpk` wrote'
_HEADER_REMEDY = (
    "give the header of its image (pvextract-hdr) with --collateral, the guest with --guest, "
    "or tag, pld, ald and tld under [measurements] in the policy"
)


def measurement(guest: bytes, exchange: Exchange, opened: Opened) -> bytes:
    """Return the measurement of a guest with these measured bytes (s390-tools rust/pv/src/uvattest/attest.rs)."""
    lengths = _LENGTHS.pack(len(exchange.user), 0, len(exchange.additional))
    said = guest + exchange.config_uid + lengths + exchange.user + opened.nonce + exchange.additional
    return hmac.digest(opened.key, said, "sha512")


def answered(
    exchange: Exchange,
    request: Request,
    additional: Mapping[str, bytes],
    collateral: Collateral,
    policy: Policy,
    now: datetime,
) -> Iterator[Check]:
    """Answer every criterion but FORM."""
    own = policy.of("s390-pv")
    opened = next(filter(None, (open_request(request, key) for key in secrets(own, "arpk"))), None)
    at_hand = shelf(collateral.everything)
    guest = None
    if opened is None:
        yield _unopened(own)
        yield skipped(criteria.CHAIN, "it is not known whose request this is")
    else:
        guests = list(known(collateral, policy))
        guest = next(
            (
                each
                for each in guests
                if hmac.compare_digest(measurement(each.measured, exchange, opened), exchange.measurement)
            ),
            None,
        )
        yield _measured(guest, len(guests))
        yield from _chain(exchange, request, at_hand, policy, now)
    yield skipped(criteria.FRESHNESS, "the answer is to this one request; REVOCATION has the lists' dates")
    yield _binding(request, additional)
    yield from _platform(request, additional, at_hand, own)
    yield passed(criteria.DEBUG, "the ultravisor lets nobody debug a guest")
    yield passed(criteria.MIGRATION, "the ultravisor moves no guest")
    yield _user(exchange, policy)
    yield from _guest(guest, policy)
    yield from _bound(exchange, additional, own)


def _unopened(own: Mapping[str, Any]) -> Check:
    count = len(secrets(own, "arpk"))
    if not count:
        return failed(
            criteria.SIGNATURE,
            "the key that protects the request is not here: the measurement cannot be verified",
            "the owner's key (ARPK)",
            "request",
            _KEY_REMEDY,
        )
    what = f"none of {count} keys opens the request" if count > 1 else "the key does not open the request"
    return failed(
        criteria.SIGNATURE,
        f"{what}: it is another's, or was changed",
        "the owner's own",
        "request",
        _KEY_REMEDY,
    )


def _measured(guest: Known | None, count: int) -> Check:
    if guest is not None:
        return passed(criteria.SIGNATURE, "HMAC-SHA512 with the request's own key", "measurement")
    if not count:
        return failed(
            criteria.SIGNATURE,
            "it is not known which guest this should be, and only that tells whether the measurement is right",
            "the header of its image",
            "measurement",
            _HEADER_REMEDY,
        )
    guests = f"none of {count} guests that are known has" if count > 1 else "the guest that is known has not"
    return failed(
        criteria.SIGNATURE,
        f"{guests} this measurement: it is another guest's, or was changed",
        "the measurement of a guest that is known",
        "measurement",
        _HEADER_REMEDY,
    )


def _chain(
    exchange: Exchange, request: Request, at_hand: Shelf, policy: Policy, now: datetime
) -> Iterator[Check]:
    """Answer for the host keys; the UID of a simulated machine's guest says so whoever vouches for its key."""
    marked = exchange.config_uid.startswith(SIMULATED)
    told = False
    for check in trusted(request.host_keys, at_hand, policy, now):
        told = told or check.criterion is criteria.SIMULATED
        yield check
    if told:
        return
    if not marked:
        yield passed(criteria.SIMULATED, "neither a root nor the configuration UID says so")
    elif policy.simulated:
        yield skipped(criteria.SIMULATED, "simulated, which the policy allows: this guest is not protected")
    else:
        yield failed(criteria.SIMULATED, "the configuration UID says SIMULATED", "a machine's", "config-uid")


def _binding(request: Request, additional: Mapping[str, bytes]) -> Check:
    key = additional.get("request-host-key")
    if key is None:
        return skipped(criteria.BINDING, "the request does not ask which host key opened it")
    if key not in request.host_keys:
        return failed(
            criteria.BINDING, key.hex(), "a host key of the request", "additional data: request-host-key"
        )
    return passed(criteria.BINDING, f"opened with {key.hex()[:16]}…", "additional data: request-host-key")


def _platform(
    request: Request, additional: Mapping[str, bytes], at_hand: Shelf, own: Mapping[str, Any]
) -> Iterator[Check]:
    """Answer TCB, by the firmware's state, and PLATFORM_INFO, by the host key that opened the image."""
    state, states = additional.get("firmware-state"), own.get("firmware-states")
    where = "additional data: firmware-state"
    if states is None:
        yield skipped(
            criteria.TCB, "the policy names no state of the firmware; IBM alone can say what one means"
        )
    elif state not in states:
        found = f"{state[:16].hex()}…" if state else "the request does not ask for it"
        yield failed(criteria.TCB, found, f"{states[0][:16].hex()}…", where)
    else:
        yield passed(criteria.TCB, "a state of the policy", where)
    key = additional.get("image-host-key")
    if key is None:
        yield skipped(criteria.PLATFORM_INFO, "the request does not ask which host key opened the image")
    elif key in request.host_keys or key in at_hand.documents or key in own.get("host-keys", ()):
        yield passed(criteria.PLATFORM_INFO, f"image opened with {key.hex()[:16]}…", "additional data")
    else:
        yield failed(
            criteria.PLATFORM_INFO,
            f"the image was opened with {key.hex()}",
            "a host key that is known",
            "additional data: image-host-key",
            "give its host key document, or name it in `host-keys`",
        )


def _user(exchange: Exchange, policy: Policy) -> Check:
    expected, found = policy.report_data, exchange.user
    if expected is None:
        return skipped(
            criteria.REPORT_DATA,
            "the policy has no report-data: it is an answer to this request, whenever made",
        )
    if len(found) < len(expected) or found != expected.ljust(len(found), b"\0"):
        return failed(criteria.REPORT_DATA, found[:64].hex() or "none", expected.hex(), "user data")
    return passed(criteria.REPORT_DATA, f"{found[:8].hex()}…", "user data")


def _guest(guest: Known | None, policy: Policy) -> Iterator[Check]:
    if guest is None:
        yield skipped(criteria.MEASUREMENT, "the measurement is that of no guest that is known")
        return
    asked = [name for name in REGISTERS if name in policy.measurements]
    tag = guest.values["tag"]
    if not asked and guest.named:
        yield passed(criteria.MEASUREMENT, f"the header that was given, tag {tag.hex()}", "measurement")
    elif not asked:
        yield skipped(
            criteria.MEASUREMENT,
            f"tag {tag.hex()}, of a header that came with the evidence: any guest will do",
        )
    for name in asked:
        value, acceptable = guest.values[name], policy.measurements[name]
        if value in acceptable:
            yield passed(criteria.MEASUREMENT, f"{name} {value[:8].hex()}…", "measurement")
        else:
            yield failed(
                criteria.MEASUREMENT,
                f"{name} {value.hex()}",
                acceptable[0].hex(),
                "measurement",
                _HEADER_REMEDY,
            )


def _bound(exchange: Exchange, additional: Mapping[str, bytes], own: Mapping[str, Any]) -> Iterator[Check]:
    had = {"config-uid": exchange.config_uid, "secret-store": additional.get("secret-store", b"")}
    for name, found in had.items():
        expected = own.get(name)
        if expected is None:
            continue
        if found == expected:
            yield passed(criteria.GUEST_DATA, f"{name} {found[:8].hex()}…", name)
        else:
            told = found.hex() or "the request does not ask for it"
            yield failed(criteria.GUEST_DATA, f"{name} {told}", expected.hex(), name)
    if not had.keys() & own.keys():
        yield skipped(criteria.GUEST_DATA, "the policy names neither a configuration UID nor a secret store")
