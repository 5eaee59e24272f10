"""Digests of many launches: what they begin with alike is hashed once.

A launch digest ends with the processors. Launches of the same firmware, kernel and monitor share all before that,
and a launch with n processors is the beginning of one with n + 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256, sha384
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sequester.measure import snp_pages, vmsa
from sequester.measure.ovmf import Ovmf, reset_vector
from sequester.measure.sev import SevLaunch
from sequester.measure.sev_snp import SnpLaunch, image_digest, metadata_pages
from sequester.measure.svsm import SvsmLaunch

if TYPE_CHECKING:
    from hashlib import _Hash

L_contra = TypeVar("L_contra", contravariant=True)


class Prefixes(Protocol[L_contra]):
    """Remembers what launches begin with."""

    def digests(self, launch: L_contra, most: int) -> Iterator[tuple[int, bytes]]:
        """Yield the digest of this launch with 1, 2, 3 ... up to `most` processors, whatever number it has.

        Where their number does not matter, yields one digest with the launch's own number.
        """


@dataclass(frozen=True, slots=True)
class _Vmsas:
    """The first processor's VMSA page and every other's, made once."""

    known: dict[tuple[Any, ...], tuple[bytes, bytes]] = field(default_factory=dict)

    def of(self, launch: SevLaunch | SnpLaunch, hashed: bool) -> tuple[bytes, bytes]:
        key = (
            reset_vector(launch.firmware),
            launch.signature,
            launch.features,
            launch.monitor,
            launch.fpu,
        )
        if key not in self.known:
            first, other = vmsa.pages(2, *key)
            if hashed:
                first, other = sha384(first).digest(), sha384(other).digest()
            self.known[key] = first, other
        return self.known[key]


@dataclass(frozen=True, slots=True)
class SnpPrefixes:
    """What SEV-SNP launches begin with."""

    images: dict[Ovmf, bytes] = field(default_factory=dict)
    begun: dict[tuple[Any, ...], bytes] = field(default_factory=dict)
    vmsas: _Vmsas = field(default_factory=_Vmsas)

    def digests(self, launch: SnpLaunch, most: int) -> Iterator[tuple[int, bytes]]:
        """Yield numbers of processors up to `most`, and the digest with each."""
        chain = self.before_processors(launch)
        contents, other = self.vmsas.of(launch, hashed=True)
        for number in range(1, most + 1):
            chain = snp_pages.add_vmsa(chain, contents)
            contents = other
            yield number, chain

    def before_processors(self, launch: SnpLaunch) -> bytes:
        """Return the chain before the first processor."""
        key = (launch.firmware, launch.seed, launch.monitor, launch.boot)
        if key not in self.begun:
            chain = launch.seed or self.images.get(launch.firmware) or image_digest(launch.firmware)
            if not launch.seed:
                self.images[launch.firmware] = chain
            for pages in metadata_pages(launch.firmware, launch.monitor, launch.boot):
                chain = pages.after(chain)
            self.begun[key] = chain
        return self.begun[key]


@dataclass(frozen=True, slots=True)
class SevPrefixes:
    """What SEV and SEV-ES launches begin with."""

    images: dict[Ovmf, _Hash] = field(default_factory=dict)
    vmsas: _Vmsas = field(default_factory=_Vmsas)

    def digests(self, launch: SevLaunch, most: int) -> Iterator[tuple[int, bytes]]:
        """Yield numbers of processors up to `most`, and the digest with each; of plain SEV, one digest."""
        begun = self.before_processors(launch)
        if not launch.es:
            yield launch.vcpus, begun.digest()
            return
        page, other = self.vmsas.of(launch, hashed=False)
        for number in range(1, most + 1):
            begun.update(page)
            page = other
            yield number, begun.digest()

    def before_processors(self, launch: SevLaunch) -> _Hash:
        """Return a hash, the caller's own, of all before the first processor."""
        if launch.firmware not in self.images:
            self.images[launch.firmware] = sha256(launch.firmware.data)
        begun = self.images[launch.firmware].copy()
        if launch.boot is not None:
            begun.update(launch.boot.table())
        return begun


@dataclass(frozen=True, slots=True)
class SvsmPrefixes:
    """What launches under an SVSM begin with."""

    begun: dict[tuple[Ovmf, Ovmf], bytes] = field(default_factory=dict)

    def digests(self, launch: SvsmLaunch, most: int) -> Iterator[tuple[int, bytes]]:
        """Yield numbers of processors up to `most`, and the digest with each."""
        key = launch.firmware, launch.svsm
        if key not in self.begun:
            self.begun[key] = launch.before_processors()
        chain, contents = self.begun[key], launch.vmsa_digest()
        for number in range(1, most + 1):
            chain = snp_pages.add_vmsa(chain, contents)
            yield number, chain
