"""What the ultravisor of PEF checks before a guest becomes a secure VM: five values in the guest's ESM blob.

The blob's encrypted part has, under ``/digests``, the SHA-512 of RTAS, of the kernel as it lies in memory and its size
(32 bits, big-endian), of the initrd, and of the command line without its zero byte; all have to be right before
anything of the guest runs protected (open-power/ultravisor svm/svm-esmb.c, `svm_esmb_digest_chk`; open-power/svm-tools
svm_tool/esm_digest). Nobody else gets to see them: PEF attests to no one.
"""

from __future__ import annotations

from hashlib import sha512

from sequester.measure.measurement import Contribution, Measurement, Register
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

RTAS_CODE = bytes.fromhex("7c641b78 3c600000 6063f000 44000022 4e800020")
"""The run-time services that QEMU puts into a pseries guest: r4 = r3, r3 = 0xf000 (KVMPPC_H_RTAS), sc 1, blr."""

_CHECKED = (
    "the ultravisor compares these with the guest's ESM blob, made by `svm-tool` for the machines that may run it, and"
    " shows them to nobody"
)
_ZIMAGE = (
    "the kernel is the vmlinux that runs; the zImage around it, which carries the ESM blob, is not measured"
)


@record
class PefLaunch:
    """A PEF guest: SHA-512 and size in bytes of its kernel in memory, SHA-512 of its initrd, and its command line."""

    kernel: bytes
    kernel_size: int
    initrd: bytes
    cmdline: bytes
    elf: bool = True
    notes: tuple[str, ...] = ()

    def measure(self) -> Measurement:
        """Return the five values, under the names that they have in the blob."""
        notes = (*self.notes, _CHECKED, _ZIMAGE) if self.elf else (*self.notes, _CHECKED)
        return Measurement("pef", tuple(Register(name, value) for name, value in self._values()), notes)

    def contributions(self) -> Iterator[Contribution]:
        """Yield what each value is of: they do not build on each other."""
        sizes = {
            "rtas": len(RTAS_CODE),
            "kernel": self.kernel_size,
            "bootargs": len(self.cmdline),
        }
        for name, value in self._values():
            yield Contribution(_WHAT[name], "value", value, value, size=sizes.get(name, 0), register=name)

    def _values(self) -> tuple[tuple[str, bytes], ...]:
        return (
            ("rtas", sha512(RTAS_CODE).digest()),
            ("kernel", self.kernel),
            ("kernel-size", self.kernel_size.to_bytes(4, "big")),
            ("initrd", self.initrd),
            ("bootargs", sha512(self.cmdline).digest()),
        )


_WHAT = {
    "rtas": "run-time services, as QEMU puts them into the guest",
    "kernel": "kernel as it lies in memory",
    "kernel-size": "its size in bytes",
    "initrd": "initrd",
    "bootargs": "command line",
}
