"""What is booted without a boot loader (``-kernel``), as far as it is measured."""

from __future__ import annotations

from hashlib import sha256

from sequester.errors import InputError
from sequester.measure.files import file_digest
from sequester.measure.kernel_hashes import NOTHING, table
from sequester.measure.measurement import Contribution
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@record
class Boot:
    """A kernel and an initrd by their SHA-256, and a command line, which QEMU hashes with `ending`."""

    kernel: bytes
    initrd: bytes = NOTHING
    cmdline: bytes = b""
    ending: bytes = b"\0"

    @property
    def cmdline_hash(self) -> bytes:
        """The SHA-256 of the command line."""
        return sha256(self.cmdline + self.ending).digest()

    def table(self) -> bytes:
        """Return the table of hashes that QEMU gives the firmware."""
        return table(self.kernel, self.initrd, self.cmdline_hash)

    def hashes(self, running: bytes, register: str) -> Iterator[Contribution]:
        """Yield what the table is made of; a register changes only with the table itself."""
        entries = {
            "command line": self.cmdline_hash,
            "initrd": self.initrd,
            "kernel": self.kernel,
        }
        for what, digest in entries.items():
            absent = what == "initrd" and digest == NOTHING
            yield Contribution(
                f"SHA-256 of the {what}" + (" (none)" if absent else ""),
                "hash",
                running,
                digest,
                register=register,
            )


def read_boot(kernel: str, initrd: str = "", append: str = "") -> Boot | None:
    """Read and hash these files; None where there is no kernel.

    Raises InputError where a file cannot be read, or an initrd or command line comes without a kernel.
    """
    if not kernel:
        if initrd or append:
            raise InputError(
                f"{'an initrd' if initrd else 'a command line'} is measured with a kernel only",
                code="measure.kernel",
                remedy="give --kernel too",
            )
        return None
    return Boot(
        file_digest(kernel),
        file_digest(initrd) if initrd else NOTHING,
        append.encode("utf-8", "surrogateescape"),
    )
