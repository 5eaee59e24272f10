"""The launch digest of an SNP guest under COCONUT-SVSM, as its own QEMU of 2024 started it.

The image of the SVSM lies below the firmware and its variables; its metadata is used, not the firmware's, and every
processor starts in it. Source: coconut-svsm/qemu 0e64fb84, target/i386/sev.c; virtee/sev-snp-measure 0.0.8 to 0.0.13.
An SVSM in an IGVM file, as QEMU starts it since 10.1, is measured by `sequester.measure.igvm`.
"""

from __future__ import annotations

from hashlib import sha384

from sequester.measure import snp_pages, vmsa
from sequester.measure.measurement import Contribution, Measurement, Register
from sequester.measure.ovmf import Ovmf, svsm_entry
from sequester.measure.sev import REGISTER, check_numbers
from sequester.measure.sev_snp import Pages, check_whole_pages, metadata_pages, vmsa_contribution
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@record
class SvsmLaunch:
    """An SNP guest under an SVSM; `svsm` ends where the firmware's variables begin.

    `signature` is CPUID 1 EAX. Raises InputError where these images cannot be launched.
    """

    firmware: Ovmf
    svsm: Ovmf
    vcpus: int = 1
    signature: int = 0

    def __post_init__(self) -> None:
        check_numbers(self.vcpus, self.signature, 0)
        check_whole_pages(self.firmware)
        check_whole_pages(self.svsm)

    def measure(self) -> Measurement:
        """Return the launch digest, 48 bytes."""
        chain, contents = self.before_processors(), self.vmsa_digest()
        for _ in range(self.vcpus):
            chain = snp_pages.add_vmsa(chain, contents)
        return Measurement("sev-snp", (Register(REGISTER, chain),))

    def before_processors(self) -> bytes:
        """Return the chain before the first processor."""
        chain = snp_pages.NO_DIGEST
        for pages in self._pages():
            chain = pages.after(chain)
        return chain

    def contributions(self) -> Iterator[Contribution]:
        """Yield the images, each section of the SVSM's metadata, and each VMSA."""
        chain = snp_pages.NO_DIGEST
        for pages in self._pages():
            chain = pages.after(chain)
            yield pages.contribution(chain)
        contents = self.vmsa_digest()
        for number in range(self.vcpus):
            chain = snp_pages.add_vmsa(chain, contents)
            yield vmsa_contribution(number, chain, contents)

    def _pages(self) -> Iterator[Pages]:
        for what, image in (("firmware", self.firmware), ("SVSM", self.svsm)):
            yield Pages(f"{what} {image.name}", snp_pages.NORMAL, image.address, len(image.data), image.data)
        yield from metadata_pages(self.svsm, vmsa.QEMU, None)

    def vmsa_digest(self) -> bytes:
        """Return the SHA-384 of each processor's VMSA."""
        return sha384(vmsa.page(vmsa.svsm_state(svsm_entry(self.svsm), self.signature))).digest()
