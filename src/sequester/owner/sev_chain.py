"""A platform's chain of SEV certificates, from the key that a session is made with up to AMD's root.

PDH is signed by PEK, PEK by the platform's owner (OCA) and by the chip (CEK), CEK by AMD's signing key (ASK), that one
by its root (ARK). Files: `sevctl export` writes PDH, PEK, OCA, CEK one after the other, with ASK and ARK behind them
where it is told ``--full``; QEMU and libvirt tell PDH apart from PEK, OCA, CEK, in base64.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from sequester.errors import GuestError, InputError
from sequester.owner.sev_certificate import SIZE, AmdCertificate, SevCertificate, Usage

ROOTS = {
    "Naples": "dedabca561e1dece8cc00b7bda864cf5f20b95017864408cfe18eaee0dce24b9",
    "Rome": "865977b268c16d5b27772b00aaefb4e737ba9499e818ed8e9f65b0cecefbc529",
    "Milan": "1246469862b78a7a8625579b0378d1f8e975eb8b82a1623b579d7968a5969888",
    "Genoa": "8f4e3fd36589c23f1fe0c8338465bac7e2e066d97fc92f228bbee4fd356fb674",
    "Turin": "f6405e5096a6eee1eb7d5df75c49f9b9f7c8357a31c7fff150149d68588a7bf7",
}
"""Product → SHA-256 of its root (ARK), in the format of `sev_certificate`.

Source: developer.amd.com/wp-content/resources/ask_ark_{naples,rome,milan,genoa,turin}.cert, as also in virtee/sev,
src/certs/sev/builtin. The Naples root was published without its signature on itself (AMDESE/AMDSEV#17)."""
SIMULATED = b"SIMULATED ARK   "
"""Key ID of the root of simulated platforms."""
_LARGEST = 4 * SIZE + 2 * 1600
_PLATFORM = (Usage.PDH, Usage.PEK, Usage.OCA, Usage.CEK)


@dataclass(frozen=True, slots=True)
class Authority:
    """AMD's two keys of one product."""

    product: str
    ask: AmdCertificate
    ark: AmdCertificate

    @classmethod
    def unpack(cls, data: bytes, where: str, product: str = "") -> Authority:
        """Read ASK and ARK, one after the other. Raises InputError for what is not both."""
        ask, rest = AmdCertificate.unpack(data, where)
        ark, rest = AmdCertificate.unpack(rest, where)
        if (ask.usage, ark.usage) != (Usage.ASK, Usage.ARK) or rest:
            raise InputError("this is not an ASK and an ARK", code="sev-certificate.order", where=where)
        return cls(product or product_of(ark), ask, ark)

    @property
    def simulated(self) -> bool:
        """Tell whether the root is that of a simulated platform."""
        return self.ark.key_id == SIMULATED and not self.product

    def pack(self) -> bytes:
        """Return both, as AMD publishes them."""
        return self.ask.pack() + self.ark.pack()


def product_of(ark: AmdCertificate) -> str:
    """Return the product whose pinned root this is, '' for a root of nobody's."""
    digest = sha256(ark.pack()).hexdigest()
    return next((product for product, pin in ROOTS.items() if pin == digest), "")


@cache
def authorities() -> tuple[Authority, ...]:
    """Return AMD's keys of every product, as they are shipped. Raises InputError for a file that was changed."""
    found = []
    for product in ROOTS:
        name = f"{product.lower()}.cert"
        authority = Authority.unpack(files("sequester.owner.roots").joinpath(name).read_bytes(), name)
        if authority.product != product:
            raise InputError("this shipped root was changed", code="sev-certificate.root", where=name)
        found.append(authority)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class SevChain:
    """A platform's own certificates, and AMD's where they came with them."""

    pdh: SevCertificate
    pek: SevCertificate
    oca: SevCertificate
    cek: SevCertificate
    authority: Authority | None = None

    @classmethod
    def unpack(cls, data: bytes, where: str = "chain") -> SevChain:
        """Read PDH, PEK, OCA, CEK, and ASK and ARK if they follow. Raises InputError for anything else."""
        if len(data) > _LARGEST or len(data) < 4 * SIZE:
            raise InputError(
                f"a chain has at least {4 * SIZE} bytes, not {len(data)}",
                code="sev-certificate.malformed",
                where=where,
                remedy="give what `sevctl export` wrote, or ask QEMU with --qmp",
            )
        parts = [SevCertificate.unpack(data[at : at + SIZE], where) for at in range(0, 4 * SIZE, SIZE)]
        for part, usage in zip(parts, _PLATFORM, strict=True):
            if part.usage is not usage:
                raise InputError(
                    f"here is a certificate of a {part.usage.name} where that of the {usage.name} belongs",
                    code="sev-certificate.order",
                    where=where,
                )
        rest = data[4 * SIZE :]
        pdh, pek, oca, cek = parts
        return cls(pdh, pek, oca, cek, Authority.unpack(rest, where) if rest else None)

    @classmethod
    def told(cls, pdh: str, cert_chain: str, where: str) -> SevChain:
        """Read what ``query-sev-capabilities`` and libvirt tell. Raises InputError for what is no base64 or chain."""
        try:
            data = b64decode(pdh, validate=True) + b64decode(cert_chain, validate=True)
        except ValueError:
            raise InputError(
                "the certificates are no base64", code="sev-certificate.malformed", where=where
            ) from None
        return cls.unpack(data, where)

    def pack(self) -> bytes:
        """Return it as `sevctl export` writes it; with AMD's certificates, as it does with ``--full``."""
        own = b"".join(each.pack() for each in (self.pdh, self.pek, self.oca, self.cek))
        return own + (self.authority.pack() if self.authority is not None else b"")


@dataclass(frozen=True, slots=True)
class Step:
    """One signature of a chain: whose certificate, by which key, and whether it holds."""

    of: str
    by: str
    holds: bool


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """What was found of a chain: every step, the product whose root it ends at, and whether that is simulated."""

    steps: tuple[Step, ...]
    product: str
    simulated: bool

    def demand(self, where: str, trust_simulated: bool = False) -> None:
        """Raise GuestError, naming the step, unless every signature holds and the root is trusted."""
        for step in self.steps:
            if not step.holds:
                raise GuestError(
                    f"the {step.of} was not signed by the {step.by}",
                    code="sev-certificate.chain",
                    where=where,
                    remedy="do not give this platform a secret; ask it for its chain again",
                )
        if self.simulated and not trust_simulated:
            raise GuestError(
                "this is a simulated platform: it protects nothing",
                code="sev-certificate.simulated",
                where=where,
                remedy="trust it in tests only, with --trust-simulated",
            )


def verify_chain(chain: SevChain) -> ChainVerdict:
    """Check every signature up to a root that is pinned, or that of a simulated platform.

    Without AMD's certificates in it, those of every product are tried.
    """
    steps = [
        Step("PDH", "PEK", chain.pdh.signed_by(chain.pek)),
        Step("PEK", "OCA", chain.pek.signed_by(chain.oca)),
        Step("OCA", "OCA", chain.oca.signed_by(chain.oca)),
        Step("PEK", "CEK", chain.pek.signed_by(chain.cek)),
    ]
    told = chain.authority
    if told is not None and told.simulated:
        steps += _of_authority(chain, told)
        return ChainVerdict(tuple(steps), "", True)
    known = next((each for each in authorities() if chain.cek.signed_by(each.ask)), None)
    if known is None:
        steps.append(Step("CEK", "ASK of AMD", False))
        return ChainVerdict(tuple(steps), "", False)
    steps += _of_authority(chain, known)
    return ChainVerdict(tuple(steps), known.product, False)


def _of_authority(chain: SevChain, authority: Authority) -> list[Step]:
    ask, ark = authority.ask, authority.ark
    return [
        Step("CEK", "ASK", chain.cek.signed_by(ask)),
        Step("ASK", "ARK", ask.signed_by(ark)),
        Step("ARK", "ARK", ark.signed_by(ark)),
    ]
