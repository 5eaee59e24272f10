"""A launch that waits for its owner: what the host tells of it, whether it is the one that was meant, and the answer.

The host's words are JSON, `LAUNCH`: ``platform``, ``guest`` (a name), ``measurement`` (base64), ``policy``,
``api-major``, ``api-minor``, ``build-id`` (numbers), ``simulated`` (true where nothing is protected). The answer is
JSON too, `ANSWER`: ``accepted``, ``reason`` where it is not, and ``secret`` where there is one: ``packet-header`` and
``secret`` in base64, as QEMU's ``sev-inject-launch-secret`` takes them. Nothing in them is secret to the host: the
packet is encrypted for the firmware.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sequester.errors import GuestError, InputError
from sequester.measure.launch_measurement import matches
from sequester.owner.sev_secret import Packet
from sequester.owner.sev_session import TransportKeys

LAUNCH = "sequester-launch/1"
ANSWER = "sequester-answer/1"
LARGEST = 1 << 20
"""Bytes of either."""
_MEASUREMENT = 48
_NUMBERS = {"policy": 1 << 32, "api-major": 256, "api-minor": 256, "build-id": 256}


@dataclass(frozen=True, slots=True)
class Launch:
    """A SEV or SEV-ES launch as its host tells it. `measurement` has 32 bytes of MAC and 16 of nonce."""

    platform: str
    measurement: bytes
    policy: int
    api: tuple[int, int]
    build: int
    guest: str = ""
    simulated: bool = False

    @classmethod
    def of_qmp(
        cls, platform: str, state: Mapping[str, Any], measurement: Mapping[str, Any], where: str
    ) -> Launch:
        """Read the answers to ``query-sev`` and ``query-sev-launch-measure``."""
        told = {**{name: state.get(name) for name in _NUMBERS}, "measurement": measurement.get("data")}
        return cls.of({"schema": LAUNCH, "platform": platform, **told}, where)

    @classmethod
    def of(cls, told: Any, where: str) -> Launch:
        """Read `LAUNCH`. Raises InputError for anything else."""
        if not isinstance(told, dict) or told.get("schema") != LAUNCH:
            raise _wrong(where, f"this is not {LAUNCH}")
        for name, end in _NUMBERS.items():
            value = told.get(name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < end:
                raise _wrong(where, f"'{name}' is no number below {end}")
        try:
            measurement = b64decode(told.get("measurement") or "", validate=True)
        except (ValueError, TypeError):
            raise _wrong(where, "the measurement is no base64") from None
        if len(measurement) != _MEASUREMENT:
            raise _wrong(where, f"a launch measurement has {_MEASUREMENT} bytes, not {len(measurement)}")
        platform, guest = told.get("platform"), told.get("guest", "")
        if not isinstance(platform, str) or not isinstance(guest, str):
            raise _wrong(where, "'platform' and 'guest' are texts")
        api = (told["api-major"], told["api-minor"])
        simulated = told.get("simulated") is True
        return cls(platform, measurement, told["policy"], api, told["build-id"], guest, simulated)

    def told(self) -> dict[str, Any]:
        """Return it as `LAUNCH`."""
        return {
            "schema": LAUNCH,
            "platform": self.platform,
            "guest": self.guest,
            "measurement": b64encode(self.measurement).decode(),
            "policy": self.policy,
            "api-major": self.api[0],
            "api-minor": self.api[1],
            "build-id": self.build,
            "simulated": self.simulated,
        }

    def demand(self, digest: bytes, keys: TransportKeys, policy: int) -> None:
        """Raise GuestError unless this is the launch that was meant: digest, policy, and under the owner's key."""
        if self.policy != policy:
            raise GuestError(
                f"the guest was started with the policy {self.policy:#x}, not {policy:#x}",
                code="owner.policy",
                where=self.guest,
                remedy="do not give it a secret; the session that was made for the policy would not open either",
            )
        if not matches(self.measurement, digest, keys.tik, policy, self.api, self.build):
            raise GuestError(
                "the measurement is not that of the guest that was meant",
                code="owner.measurement",
                where=self.guest,
                why=f"expected one of the launch digest {digest.hex()}, under this owner's TIK",
                remedy="firmware, kernel, initrd, command line, or for SEV-ES the vCPUs, are others; or the session is",
            )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the owner says: whether the guest may run, why not, and the secret that it shall have."""

    accepted: bool
    reason: str = ""
    secret: Packet | None = None

    @classmethod
    def parse(cls, data: bytes, where: str) -> Answer:
        """Read `ANSWER`. Raises InputError for anything else: what is not understood accepts nothing."""
        try:
            told = json.loads(data) if len(data) <= LARGEST else None
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict) or told.get("schema") != ANSWER:
            raise _wrong(where, f"the owner's answer is not {ANSWER}")
        accepted, reason, secret = told.get("accepted"), told.get("reason", ""), told.get("secret")
        if not isinstance(accepted, bool) or not isinstance(reason, str):
            raise _wrong(where, "'accepted' is true or false, and 'reason' a text")
        if secret is None:
            return cls(accepted, reason[:1000])
        try:
            header, payload = (b64decode(secret[name], validate=True) for name in ("packet-header", "secret"))
        except (ValueError, TypeError, KeyError):
            raise _wrong(where, "the secret is no 'packet-header' and 'secret' in base64") from None
        return cls(accepted, reason[:1000], Packet(header, payload))

    def told(self) -> dict[str, Any]:
        """Return it as `ANSWER`."""
        told: dict[str, Any] = {"schema": ANSWER, "accepted": self.accepted}
        if self.reason:
            told["reason"] = self.reason
        if self.secret is not None:
            told["secret"] = in_base64(self.secret)
        return told


def in_base64(packet: Packet) -> dict[str, str]:
    """Return a packet as QEMU's ``sev-inject-launch-secret`` takes it."""
    header, payload = (b64encode(part).decode() for part in (packet.header, packet.payload))
    return {"packet-header": header, "secret": payload}


def _wrong(where: str, what: str) -> InputError:
    return InputError(what, code="owner.launch", where=where)
