"""The launch digest of SEV-SNP: the firmware's pages, what its metadata asks for, and a VMSA for each processor.

Order and page types: QEMU target/i386/sev.c (9.1 to 11.1), `sev_snp_launch_finish`, `snp_populate_metadata_pages`;
what EC2 and GCE do otherwise: virtee/sev-snp-measure 0.0.6 to 0.0.13.
"""

from __future__ import annotations

from hashlib import sha384
from itertools import islice, repeat

from sequester.errors import InputError
from sequester.firmware.sev import CPUID, KERNEL_HASHES, SEC_MEM, SECRETS, SECTION_TYPES, SevSection
from sequester.measure import snp_pages, vmsa
from sequester.measure.measurement import Contribution, Measurement, Register
from sequester.measure.ovmf import PAGE, Ovmf, hash_area, reset_vector, snp_sections
from sequester.measure.sev import REGISTER, check_numbers
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sequester.measure.boot import Boot

SNP_ACTIVE = 1
"""SEV_FEATURES bit 0, which every SNP guest has; KVM sets no other since Linux 6.10 unless asked to."""
DIGEST_SIZE = 48


@record
class Pages:
    """Pages of one type that follow each other: `data` for normal ones, b"" where contents are not measured."""

    what: str
    type: int
    address: int
    size: int
    data: bytes = b""

    def after(self, chain: bytes) -> bytes:
        """Return the chain with these pages added."""
        if self.type == snp_pages.NORMAL:
            return snp_pages.add_contents(chain, self.address, self.data)
        return snp_pages.add_blank(chain, self.type, self.address, self.size)

    def contribution(self, running: bytes) -> Contribution:
        """Return this as a contribution; its `contents` are the SHA-384 of all the data together."""
        contents = sha384(self.data).digest() if self.data else b""
        kind = snp_pages.TYPE_NAMES[self.type]
        return Contribution(self.what, kind, running, contents, self.address, self.size, REGISTER)


@record
class SnpLaunch:
    """A SEV-SNP guest.

    `signature` is CPUID 1 EAX, `features` SEV_FEATURES, `monitor` who makes the initial processor state. `fpu` is
    false for KVM as it was before it was merged into Linux 6.11, which left the FPU state out.
    `boot` is what goes into the table of hashes (``kernel-hashes=on``). `seed`, 48 bytes, is the chain after the
    firmware's own pages, for an image that is not at hand (its metadata is `firmware`'s).
    Raises InputError where the firmware cannot be launched so.
    """

    firmware: Ovmf
    vcpus: int = 1
    signature: int = 0
    features: int = SNP_ACTIVE
    monitor: str = vmsa.QEMU
    boot: Boot | None = None
    seed: bytes = b""
    fpu: bool = True
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_numbers(self.vcpus, self.signature, self.features)
        check_whole_pages(self.firmware)
        if self.seed and len(self.seed) != DIGEST_SIZE:
            raise InputError(
                f"a firmware digest has {DIGEST_SIZE} bytes, not {len(self.seed)}", code="measure.digest"
            )

    def measure(self) -> Measurement:
        """Return the launch digest, 48 bytes."""
        sections = metadata_pages(self.firmware, self.monitor, self.boot)
        chain = self.seed or image_digest(self.firmware)
        for pages in sections:
            chain = pages.after(chain)
        for contents in self.vmsa_digests():
            chain = snp_pages.add_vmsa(chain, contents)
        said = (*self.notes, *empty_sections(self.firmware, sections))
        return Measurement("sev-snp", (Register(REGISTER, chain),), said)

    def vmsas(self) -> Iterator[bytes]:
        """Yield the VMSA page of each processor."""
        reset = reset_vector(self.firmware)
        return vmsa.pages(self.vcpus, reset, self.signature, self.features, self.monitor, self.fpu)

    def vmsa_digests(self) -> Iterator[bytes]:
        """Yield the SHA-384 of each processor's VMSA: all but the first are alike, and hashed once."""
        contents = b""
        for page in islice(self.vmsas(), 2):
            contents = sha384(page).digest()
            yield contents
        yield from repeat(contents, self.vcpus - 2)

    def contributions(self) -> Iterator[Contribution]:
        """Yield the image, each section and each VMSA; `running` is the chain after it."""
        image = Pages(
            f"firmware {self.firmware.name}",
            snp_pages.NORMAL,
            self.firmware.address,
            len(self.firmware.data),
            self.firmware.data,
        )
        chain = self.seed or image.after(snp_pages.NO_DIGEST)
        yield image.contribution(chain)
        for pages in metadata_pages(self.firmware, self.monitor, self.boot):
            if self.boot is not None and pages.type == snp_pages.NORMAL:
                yield from self.boot.hashes(chain, REGISTER)
            chain = pages.after(chain)
            yield pages.contribution(chain)
        for number, contents in enumerate(self.vmsa_digests()):
            chain = snp_pages.add_vmsa(chain, contents)
            yield vmsa_contribution(number, chain, contents)


def image_digest(firmware: Ovmf) -> bytes:
    """Return the chain after an image's own pages: it depends on nothing else, and can stand in for the image."""
    check_whole_pages(firmware)
    return snp_pages.add_contents(snp_pages.NO_DIGEST, firmware.address, firmware.data)


def metadata_pages(firmware: Ovmf, monitor: str, boot: Boot | None) -> tuple[Pages, ...]:
    """Return what is added for each section of an image's metadata, in order.

    Raises InputError where the metadata is malformed, or there is a `boot` and no section for its hashes.
    """
    sections = snp_sections(firmware)
    if boot is not None and not any(section.type == KERNEL_HASHES for section in sections):
        raise InputError(
            "this image has no section for kernel hashes, so that a kernel would not be measured",
            code="firmware.lacking",
            where=firmware.name,
            remedy="use an OVMF that measures kernels, such as Debian's OVMF.amdsev.fd",
        )
    found = [_pages(section, firmware, monitor, boot) for section in sections]
    if monitor == vmsa.EC2:  # EC2 adds the CPUID page after everything else
        found.sort(key=lambda pages: pages.type == snp_pages.CPUID)
    return tuple(found)


def _pages(section: SevSection, firmware: Ovmf, monitor: str, boot: Boot | None) -> Pages:
    base, size = section.base, section.size
    if section.type == SECRETS:
        return Pages(section.name, snp_pages.SECRETS, base, size or PAGE)
    if section.type == CPUID:
        return Pages(section.name, snp_pages.CPUID, base, size or PAGE)
    if section.type == KERNEL_HASHES and boot is not None:
        return Pages(section.name, snp_pages.NORMAL, base, size, _hash_pages(firmware, boot, size))
    if section.type == SEC_MEM and monitor == vmsa.GCE:
        return Pages(section.name, snp_pages.UNMEASURED, base, size)
    if section.type not in SECTION_TYPES and monitor != vmsa.QEMU:
        raise InputError(
            f"what {monitor} does with a section of type {section.type:#x} is not known",
            code="firmware.malformed",
            where=firmware.name,
        )
    return Pages(section.name, snp_pages.ZERO, base, size)


def _hash_pages(firmware: Ovmf, boot: Boot, size: int) -> bytes:
    """Return the memory with the table: QEMU takes only its offset in the page from where the table belongs."""
    table, offset = boot.table(), hash_area(firmware).base % PAGE
    if offset + len(table) > size:
        raise InputError(
            f"this image's section of {size:#x} bytes does not hold a table of kernel hashes at {offset:#x}",
            code="firmware.malformed",
            where=firmware.name,
        )
    return (bytes(offset) + table).ljust(size, b"\0")


def vmsa_contribution(number: int, chain: bytes, contents: bytes) -> Contribution:
    """Return a processor's VMSA as a contribution."""
    return Contribution(
        f"VMSA of vCPU {number}", "vmsa", chain, contents, snp_pages.VMSA_ADDRESS, PAGE, REGISTER
    )


def check_whole_pages(firmware: Ovmf) -> None:
    """Raise InputError for an image that is no whole number of pages."""
    if len(firmware.data) % PAGE:
        raise InputError(
            f"this image of {len(firmware.data)} bytes is no whole number of pages",
            code="firmware.malformed",
            where=firmware.name,
            remedy="an SNP launch needs a multiple of 4096 bytes",
        )


def empty_sections(firmware: Ovmf, sections: tuple[Pages, ...]) -> tuple[str, ...]:
    """Return what has to be known of empty sections in an image's metadata: nothing, where there are none."""
    empty = [pages.what for pages in sections if not pages.size]
    if not empty:
        return ()
    return (
        f"{firmware.name} has empty sections in its SEV metadata ({', '.join(empty)}): QEMU does not start an SNP"
        " guest with it",
    )
