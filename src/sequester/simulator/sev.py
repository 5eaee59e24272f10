"""SEV and SEV-ES played: what QEMU does with the firmware, and what it answers about it.

Source: QEMU target/i386/sev.c (6.0 to 11.1): `sev_launch_start`, `sev_launch_get_measure`, `sev_inject_launch_secret`,
`sev_launch_finish`, `sev_get_capabilities`, `sev_get_attestation_report`, and its texts of the firmware's status codes.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sequester.errors import GuestError, InputError
from sequester.owner.launch import Launch
from sequester.owner.sev_secret import Packet
from sequester.simulator import migration, sev_platform
from sequester.simulator.platform import Forward, Handler, QmpError
from sequester.simulator.sev_firmware import NONCE, FirmwareError, SevFirmware, State, Status

if TYPE_CHECKING:
    from sequester.planning import Plan
    from sequester.simulator.identity import Identity
    from sequester.simulator.registry import Random

BLOCKED = "SEV: Migration is not implemented"
"""target/i386/sev.c, from the first run on."""
CBITPOS, REDUCED_PHYS_BITS = 51, 1

_LARGEST_FILE = 1 << 16
_TEXTS = {
    Status.INVALID_GUEST_STATE: "Guest state is invalid",
    Status.INVALID_LEN: "Buffer too small",
    Status.INVALID_CERTIFICATE: "Certificate is invalid",
    Status.POLICY_FAILURE: "Policy is not allowed",
    Status.BAD_MEASUREMENT: "Bad measurement",
    Status.INVALID_PARAM: "Invalid parameter",
}
"""sev.c, `sev_fw_errlist`."""
_STATES = {
    State.UNINIT: "uninit",
    State.LAUNCH_UPDATE: "launch-update",
    State.LAUNCH_SECRET: "launch-secret",
    State.RUNNING: "running",
}


def simulated(plan: Plan, identity: Identity, random: Random, _now: datetime) -> SimulatedSev:
    """Return a guest's SEV before its launch."""
    return SimulatedSev(plan, identity, random)


class SimulatedSev:
    """One guest's SEV or SEV-ES."""

    engaged = True

    def __init__(self, plan: Plan, identity: Identity, random: Random) -> None:
        self._plan = plan
        self._limitation = plan.limitation.completed(None)
        self._identity = identity
        self._measurement = b""
        self._secret_area = False
        self.firmware = SevFirmware(
            sev_platform.diffie_hellman(identity),
            sev_platform.endorsement(identity),
            sev_platform.API,
            sev_platform.BUILD,
            random,
        )
        self.notes: tuple[str, ...] = ()
        self.handlers: Mapping[str, Handler] = {
            **migration.handlers(lambda: BLOCKED if self.firmware.state is State.RUNNING else ""),
            "cont": self._cont,
            "query-sev": self._query,
            "query-sev-capabilities": self._capabilities,
            "query-sev-launch-measure": self._launch_measure,
            "query-sev-attestation-report": self._report,
            "sev-inject-launch-secret": self._secret,
        }

    def begin(self) -> None:
        """LAUNCH_START to LAUNCH_MEASURE: QEMU then stands paused, in the state ``launch-secret``."""
        certificate, session = (self._file(name) for name in ("dh-cert-file", "session-file"))
        policy: int = self._limitation.value("policy")
        if session is None:
            self.notes = (
                "no owner made a session for this launch: nobody has the key that its measurement is checked with",
            )
        try:
            self.firmware.launch_start(policy, certificate, session)
        except FirmwareError as error:
            raise _ended("sev_launch_start: LAUNCH_START", error.status) from None
        self._measurement = self.firmware.launch_measure(self._digest())

    def _digest(self) -> bytes:
        from sequester.measuring import measure, pieces_of_plan

        try:
            pieces = pieces_of_plan(self._plan)
            digest = measure(pieces).digest
            table = pieces.read_firmware().table
        except InputError as error:
            self.notes = (*self.notes, f"the launch was not measured: {error}; its digest is zeros")
            return bytes(32)
        area = table.secret if table is not None else None
        self._secret_area = area is not None and area.size > 0
        return digest

    def _file(self, name: str) -> bytes | None:
        path = self._limitation.value(name)
        if not path:
            return None
        try:
            with open(path, "rb") as file:
                return b64decode(file.read(_LARGEST_FILE))
        except OSError as error:
            words = f"SEV: Failed to read '{path}' ({error.strerror})"
        except NoBase64:
            words = f"SEV: Failed to decode '{path}'"
        raise GuestError(
            "the simulated platform refused the launch", code="simulator.launch", where=path, why=words
        )

    async def _cont(self, _arguments: Mapping[str, Any], forward: Forward) -> Any:
        if self.firmware.state is State.LAUNCH_SECRET:
            self.firmware.launch_finish()
        return await forward()

    async def _query(self, _arguments: Mapping[str, Any], _forward: Forward) -> Any:
        (major, minor), firmware = self.firmware.api, self.firmware
        return {
            "enabled": True,
            "api-major": major,
            "api-minor": minor,
            "build-id": firmware.build,
            "state": _STATES[firmware.state],
            "sev-type": "sev",
            "policy": firmware.policy,
            "handle": 1,
        }

    async def _capabilities(self, _arguments: Mapping[str, Any], _forward: Forward) -> Any:
        chain = sev_platform.chain(self._identity)
        behind = b"".join(each.pack() for each in (chain.pek, chain.oca, chain.cek))
        return {
            "pdh": _told(chain.pdh.pack()),
            "cert-chain": _told(behind),
            "cpu0-id": _told(sev_platform.chip_id(self._identity)),
            "cbitpos": CBITPOS,
            "reduced-phys-bits": REDUCED_PHYS_BITS,
        }

    async def _launch_measure(self, _arguments: Mapping[str, Any], _forward: Forward) -> Any:
        if not self._measurement:
            raise QmpError("SEV launch measurement is not available")
        return {"data": _told(self._measurement)}

    async def _report(self, arguments: Mapping[str, Any], _forward: Forward) -> Any:
        nonce = _decoded(arguments, "mnonce")
        if nonce is None:
            raise QmpError("SEV: mnonce is not base64")
        if len(nonce) != NONCE:
            raise QmpError(f"SEV: mnonce must be {NONCE} bytes (got {len(nonce)})")
        try:
            return {"data": _told(self.firmware.attestation(nonce))}
        except FirmwareError as error:
            raise QmpError(
                f"SEV: Failed to get attestation report ret=-5 fw_error={error.status.value} "
                f"'{_TEXTS[error.status]}'"
            ) from None

    async def _secret(self, arguments: Mapping[str, Any], _forward: Forward) -> Any:
        if "gpa" not in arguments and not self._secret_area:
            raise QmpError("SEV: no secret area found in OVMF, gpa must be specified.")
        if self.firmware.state is not State.LAUNCH_SECRET:
            raise QmpError(f"SEV: Not in correct state. (LSECRET) {self.firmware.state.value:x}")
        header, payload = _decoded(arguments, "packet-header"), _decoded(arguments, "secret")
        if not header:
            raise QmpError("SEV: Failed to decode sequence header")
        if not payload:
            raise QmpError("SEV: Failed to decode data")
        try:
            self.firmware.launch_secret(Packet(header, payload))
        except FirmwareError as error:
            raise QmpError(
                f"SEV: failed to inject secret ret=-5 fw_error={error.status.value} '{_TEXTS[error.status]}'"
            ) from None
        return {}

    def observe(self, event: str, data: Mapping[str, Any]) -> None:
        """A guest is encrypted from its start to its end."""

    def evidence(self, report_data: bytes) -> Mapping[str, bytes]:
        """Return an attestation report with the first 16 bytes as its nonce, the launch as its owner is told of it, the
        launch measurement alone, and the chain."""
        try:
            report = self.firmware.attestation(report_data[:NONCE].ljust(NONCE, b"\0"))
        except FirmwareError:
            raise GuestError(
                "a guest that was not launched has no evidence", code="simulator.evidence"
            ) from None
        launch = Launch(
            self._limitation.name,
            self._measurement,
            self.firmware.policy,
            self.firmware.api,
            self.firmware.build,
            simulated=True,
        )
        return {
            "report.bin": report,
            "launch.json": json.dumps(launch.told(), indent=2).encode() + b"\n",
            "measurement.b64": b64encode(self._measurement) + b"\n",
            "chain.cert": sev_platform.chain(self._identity).pack(),
        }


def _told(data: bytes) -> str:
    return b64encode(data).decode()


def _decoded(arguments: Mapping[str, Any], name: str) -> bytes | None:
    try:
        return b64decode(str(arguments.get(name, "")))
    except ValueError:
        return None


def _ended(what: str, status: Status) -> GuestError:
    words = f"{what} ret=-5 fw_error={status.value} '{_TEXTS[status]}'"
    return GuestError("the simulated platform refused the launch", code="simulator.launch", why=words)
