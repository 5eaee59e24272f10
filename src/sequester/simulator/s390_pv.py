"""s390 Protected Virtualization played: the image is opened when the guest's loader asks, and closed by a reset.

A guest whose kernel is no Secure Execution image runs on unprotected, as it does on a real machine. Sources: QEMU
target/s390x/kvm/pv.c and hw/s390x/s390-virtio-ccw.c, `s390_machine_protect`; Linux s390-pv-boot.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sequester.errors import GuestError
from sequester.simulator import migration

if TYPE_CHECKING:
    from sequester.planning import Plan
    from sequester.simulator.identity import Identity
    from sequester.simulator.registry import Random

BLOCKED = "protected VMs are currently not migratable."
"""hw/s390x/s390-virtio-ccw.c, from switchover to reset."""


def simulated(plan: Plan, identity: Identity, random: Random, now: datetime) -> SimulatedS390Pv:
    """Return a guest's PV before it starts."""
    kernel = plan.guest.one("kernel")
    return SimulatedS390Pv(kernel.type if kernel is not None else "", identity, random, now)


class SimulatedS390Pv:
    """One guest's PV. `image` is the path of what it boots, '' for our own small Linux, which stands for an image."""

    def __init__(self, image: str, identity: Identity, random: Random, now: datetime) -> None:
        self._image = image
        self._identity = identity
        self._random = random
        self._now = now
        self._opens = False
        self._header = b""
        self._protected = False
        self.handlers = migration.handlers(lambda: BLOCKED if self._protected else "")
        self.notes: tuple[str, ...] = ()

    @property
    def engaged(self) -> bool:
        """Whether the guest is protected now."""
        return self._protected

    def begin(self) -> None:
        """Open the image, as the ultravisor will when its loader asks for that (diagnose 308, subcode 10)."""
        if not self._image:
            self._opens = True
            self.notes = (
                "our own small Linux stands for a Secure Execution image: no header is opened, no page unpacked",
            )
            return
        from sequester.firmware.secure_execution import find_header
        from sequester.measure.se_image import SeImage
        from sequester.simulator.host_keys import host_key
        from sequester.simulator.ultravisor import UltravisorError, unpack

        try:
            with open(self._image, "rb") as file:
                image = SeImage(file, self._image)
                if find_header(image) is None:
                    self.notes = (
                        f"{self._image} is no Secure Execution image: the guest never becomes protected",
                    )
                    return
                for _ in unpack(image, host_key(self._identity)):
                    pass
                self._header, _ = image.raw_header()
        except UltravisorError as error:
            raise GuestError(
                "the simulated ultravisor refused the image",
                code="simulator.launch",
                where=self._image,
                why=str(error),
            ) from None
        except OSError as error:
            raise GuestError(
                "the image cannot be read",
                code="simulator.launch",
                where=self._image,
                why=error.strerror or "",
            ) from None
        self._opens = True

    def observe(self, event: str, data: Mapping[str, Any]) -> None:
        """Switch over before the guest's first line, and back at a reset."""
        if event == "RESET":
            self._protected = False
        elif event == "console" and self._opens:
            self._protected = True

    def evidence(self, report_data: bytes) -> Mapping[str, bytes]:
        """Return the answer to a request that is made here in the owner's place, what verifies it, and a policy that
        names the request's key and the root. Raises GuestError without an image that was opened."""
        if not self._header:
            raise GuestError(
                "there is no evidence without a Secure Execution image",
                code="simulator.evidence",
                why="the ultravisor measures the header of the image that it opened",
                remedy="make one for this simulated machine with `sequester image`",
            )
        from sequester.evidence.s390.request import ADDITIONAL
        from sequester.measure.se_image import read_header
        from sequester.owner.attestation_request import Secrets, attestation_request
        from sequester.simulator.host_keys import documents, host_key
        from sequester.simulator.ultravisor_attestation import answer

        host = host_key(self._identity)
        secrets = Secrets.random()
        asked = [name for name, _ in ADDITIONAL.values()]
        request = attestation_request([host.public_key()], secrets, asked)
        header = read_header(self._header)
        return {
            "exchange.bin": answer(request, header, host, report_data, self._random(7)),
            "header.bin": self._header[: int.from_bytes(self._header[12:16], "big")],
            "arp.key": secrets.protection,
            "policy.toml": b'[s390-pv]\narpk = "arp.key"\n',
            **documents(self._identity, self._now),
        }
