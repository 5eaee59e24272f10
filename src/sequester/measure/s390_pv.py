"""What identifies an s390 Secure Execution guest: the header of its image, and the pages that it vouches for.

The ultravisor starts an image only if its pages have the digests in the header, and the header opens with one of the
machine's host keys; attestation then shows the header's tag (s390-tools rust/pvattest; Linux
Documentation/virt/kvm/s390/s390-pv-boot.rst).
"""

from __future__ import annotations

from sequester.errors import InputError
from sequester.measure.measurement import Contribution, Measurement, Register
from sequester.measure.se_image import Component, Digests, Header
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TAG, PLD, ALD, TLD = "tag", "PLD", "ALD", "TLD"
_UNCHECKED = (
    "the image does not say where its components are: its pages were not held against its header's digests"
)


@record
class SeLaunch:
    """A Secure Execution guest: its header, and each component with the digests up to its end, () if not known."""

    name: str
    header: Header
    components: tuple[tuple[Component, Digests], ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.components:
            return
        pages = sum(component.length for component, _ in self.components) // 4096
        found, header = self.components[-1][1], self.header
        wrong = [
            name
            for name, here, said in (
                ("number of pages", pages, header.pages),
                ("contents (PLD)", found.pld, header.pld),
                ("addresses (ALD)", found.ald, header.ald),
                ("tweaks (TLD)", found.tld, header.tld),
            )
            if here != said
        ]
        if wrong:
            raise InputError(
                f"the components' {', '.join(wrong)} are not those in the header: the ultravisor will not start it",
                code="image.damaged",
                where=self.name,
                remedy="make the image again, or copy it again",
            )

    def measure(self) -> Measurement:
        """Return the header's tag, its three digests, and the hashes of the host keys that open it."""
        header = self.header
        keys = (Register(f"host-key-{number}", key) for number, key in enumerate(header.host_keys))
        registers = (
            Register(TAG, header.tag),
            Register(PLD, header.pld),
            Register(ALD, header.ald),
            Register(TLD, header.tld),
            *keys,
        )
        said = [*self.notes]
        if header.flag_names:
            said.append(f"the image's control flags: {', '.join(header.flag_names)}")
        if not self.components:
            said.append(_UNCHECKED)
        return Measurement("s390-pv", registers, tuple(said))

    def contributions(self) -> Iterator[Contribution]:
        """Yield each component; `running` is PLD if it ended there."""
        for number, (component, digests) in enumerate(self.components):
            yield Contribution(
                f"{component.kind or f'component {number}'}, tweak {component.tweak:016x}",
                "pages",
                digests.pld,
                b"",
                component.address,
                component.length,
                PLD,
            )
