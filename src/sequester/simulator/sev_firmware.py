"""The SEV firmware's side of one guest's launch: its states, commands and their status codes.

SEV API 0.24, chapter 6: LAUNCH_START (6.2.1), LAUNCH_UPDATE_DATA and _VMSA, LAUNCH_MEASURE (6.5.1), LAUNCH_SECRET
(6.6.1), LAUNCH_FINISH (6.7.1); ATTESTATION as of API 0.23, 208 bytes, little-endian::

    0x00 nonce of the caller, 16    0x10 launch digest, 32    0x30 policy, 32 bits    0x34 usage of the signing key
    0x38 algorithm, 32 bits each    0x40 R and S, 72 bytes each; signed are the first 52 bytes
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING

from sequester.errors import InputError
from sequester.measure.launch_measurement import launch_measurement
from sequester.owner.sev_certificate import Algorithm, SevCertificate, Usage, ecdsa_sign
from sequester.owner.sev_secret import Packet, PacketError, unseal
from sequester.owner.sev_session import SessionError, TransportKeys, shared_secret, unwrap

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

REPORT_SIZE = 208
NONCE = 16
_REPORT = struct.Struct("<16s32sIIII144s")
_SIGNED = 52
_KNOWN_POLICY = 0xFFFF003F


class Status(IntEnum):
    """Status codes (table 7), as far as they are given here."""

    INVALID_GUEST_STATE = 2
    INVALID_LEN = 4
    INVALID_CERTIFICATE = 6
    POLICY_FAILURE = 7
    BAD_MEASUREMENT = 11
    INVALID_PARAM = 22


class State(IntEnum):
    """A guest's states, with QEMU's numbers of them (qapi/misc-target.json, SevState)."""

    UNINIT = 0
    LAUNCH_UPDATE = 1
    LAUNCH_SECRET = 2
    RUNNING = 3


class FirmwareError(Exception):
    """A command that the firmware refused."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


class SevFirmware:
    """One guest's context. `digest` is the launch digest once it is known; `random` makes nonces and own keys."""

    def __init__(
        self,
        diffie_hellman: EllipticCurvePrivateKey,
        endorsement: EllipticCurvePrivateKey,
        api: tuple[int, int],
        build: int,
        random: Callable[[int], bytes],
    ) -> None:
        self._diffie_hellman = diffie_hellman
        self._endorsement = endorsement
        self._random = random
        self._keys = TransportKeys(bytes(16), bytes(16))
        self._digest = bytes(32)
        self._measurement = b""
        self.api = api
        self.build = build
        self.policy = 0
        self.state = State.UNINIT
        self.injected: list[bytes] = []

    def launch_start(self, policy: int, owner: bytes | None, session: bytes | None) -> None:
        """Begin a launch. With the owner's certificate (GODH) and session its keys are used, else new ones."""
        self._expect(State.UNINIT)
        if policy & ~_KNOWN_POLICY:
            raise FirmwareError(Status.INVALID_PARAM)
        if (policy >> 16 & 0xFF, policy >> 24) > self.api:
            raise FirmwareError(Status.POLICY_FAILURE)
        if (owner is None) != (session is None):
            raise FirmwareError(Status.INVALID_PARAM)
        if owner is not None and session is not None:
            self._keys = self._opened(owner, session, policy)
        else:
            self._keys = TransportKeys.random(self._random)
        self.policy = policy
        self.state = State.LAUNCH_UPDATE

    def _opened(self, owner: bytes, session: bytes, policy: int) -> TransportKeys:
        try:
            certificate = SevCertificate.unpack(owner)
            if certificate.usage is not Usage.PDH or certificate.algorithm != Algorithm.ECDH_SHA256:
                raise FirmwareError(Status.INVALID_CERTIFICATE)
            shared = shared_secret(self._diffie_hellman, certificate.public_key())
        except InputError:
            raise FirmwareError(Status.INVALID_CERTIFICATE) from None
        try:
            return unwrap(session, shared, policy)
        except SessionError:
            raise FirmwareError(Status.BAD_MEASUREMENT) from None

    def launch_measure(self, digest: bytes) -> bytes:
        """End the updates, whose digest this is; return MAC and nonce, 48 bytes."""
        self._expect(State.LAUNCH_UPDATE)
        self._digest = digest
        self._measurement = launch_measurement(
            digest, self._keys.tik, self._random(NONCE), self.policy, self.api, self.build
        )
        self.state = State.LAUNCH_SECRET
        return self._measurement

    def launch_secret(self, packet: Packet) -> bytes:
        """Take a secret; return what goes into the guest's memory."""
        self._expect(State.LAUNCH_SECRET)
        try:
            plain = unseal(self._keys, self._measurement, packet)
        except PacketError as error:
            raise FirmwareError(Status(error.status)) from None
        self.injected.append(plain)
        return plain

    def launch_finish(self) -> None:
        """End the launch: the transport keys are gone."""
        self._expect(State.LAUNCH_SECRET)
        self._keys = TransportKeys(bytes(16), bytes(16))
        self.state = State.RUNNING

    def attestation(self, nonce: bytes) -> bytes:
        """Return a report with a caller's nonce of 16 bytes."""
        if self.state not in (State.LAUNCH_SECRET, State.RUNNING):
            raise FirmwareError(Status.INVALID_GUEST_STATE)
        body = _REPORT.pack(
            nonce, self._digest, self.policy, Usage.PEK, Algorithm.ECDSA_SHA256, 0, bytes(144)
        )
        return body[: _REPORT.size - 144] + ecdsa_sign(self._endorsement, body[:_SIGNED])[:144]

    def _expect(self, state: State) -> None:
        if self.state is not state:
            raise FirmwareError(Status.INVALID_GUEST_STATE)
