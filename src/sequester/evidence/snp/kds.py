"""Where AMD publishes what SEV-SNP reports are verified with.

Source: AMD's VCEK certificate and KDS interface specification 57230, chapter 4. A VLEK is not published: a cloud
provider hands it to its guests.
"""

from __future__ import annotations

from sequester.evidence.snp.products import TURIN, tcb

SITE = "https://kdsintf.amd.com"
_PARAMETERS = {
    "fmc": "fmcSPL",
    "boot-loader": "blSPL",
    "tee": "teeSPL",
    "snp": "snpSPL",
    "microcode": "ucodeSPL",
}
_SHORT_ID = 8


def vcek_address(product: str, chip_id: bytes, reported_tcb: int) -> str:
    """Return the address of a chip's certificate for a TCB, as its 64 bits."""
    chip = chip_id[:_SHORT_ID] if product == TURIN else chip_id
    parts = tcb(reported_tcb, product)
    query = "&".join(f"{name}={parts[part]:02d}" for part, name in _PARAMETERS.items() if part in parts)
    return f"{SITE}/vcek/v1/{product}/{chip.hex()}?{query}"


def chain_address(product: str, key: str = "vcek") -> str:
    """Return the address of the intermediate and root certificate, in PEM; `key` is ``vcek`` or ``vlek``."""
    return f"{SITE}/{key}/v1/{product}/cert_chain"


def list_address(product: str, key: str = "vcek") -> str:
    """Return the address of the root key's revocation list, in DER."""
    return f"{SITE}/{key}/v1/{product}/crl"
