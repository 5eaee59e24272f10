"""Measures POWER PEF: what the ultravisor compares with the guest's ESM blob."""

from __future__ import annotations

from hashlib import sha512

from sequester.errors import InputError
from sequester.measure import elf
from sequester.measure.files import file_digest, opened
from sequester.measure.pef import PefLaunch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sequester.measure.pieces import Pieces
    from sequester.measure.search import Match
    from sequester.measure.tables import Matrix, Reference

TRUSTEE_NAMES: dict[str, str] = {}
"""Trustee verifies no evidence of PEF: there is none."""
_NO_INITRD = sha512(b"").digest()


def launch(pieces: Pieces) -> PefLaunch:
    """Read a PEF guest's kernel and initrd."""
    if not pieces.kernel:
        raise InputError(
            "no kernel is named, and it is what the ultravisor checks",
            code="measure.kernel",
            remedy="give --kernel, the guest's vmlinux",
        )
    digest, size = sha512(), 0
    with opened(pieces.kernel) as file:
        is_elf = file.read(len(elf.MAGIC)) == elf.MAGIC
        file.seek(0)
        for part in (
            elf.memory_image(file, pieces.kernel) if is_elf else iter(lambda: file.read(1 << 20), b"")
        ):
            digest.update(part)
            size += len(part)
    if not 0 < size < 1 << 32:
        raise InputError("this kernel is empty, or too large", code="measure.kernel", where=pieces.kernel)
    initrd = file_digest(pieces.initrd, sha512) if pieces.initrd else _NO_INITRD
    cmdline = pieces.append.encode("utf-8", "surrogateescape")
    return PefLaunch(digest.digest(), size, initrd, cmdline, is_elf, pieces.notes)


def find(digest: bytes, pieces: Pieces, others: tuple[str, ...]) -> Match | None:
    """Return this guest, or one with another kernel or command line, of which a value is this one; or None."""
    from sequester.measure.cmdlines import near
    from sequester.measure.search import Match
    from sequester.record import replaced

    given = launch(pieces)
    for register in given.measure().registers:
        if register.value == digest:
            return Match(given, (f"it is {register.name}",))
    if digest == _NO_INITRD:
        return Match(replaced(given, initrd=digest), ("it is initrd, with no initrd",))
    lines = [("the zero byte at its end hashed too", given.cmdline + b"\0")]
    lines += [(what, line) for what, line, ending in near(given.cmdline) if ending]
    for what, line in lines:
        if sha512(line).digest() == digest:
            return Match(replaced(given, cmdline=line), ("it is bootargs", what))
    for path in others:
        try:
            other = launch(replaced(pieces, kernel=path))
        except InputError:
            continue
        if other.kernel == digest:
            return Match(other, ("it is kernel", f"kernel {path} instead of {pieces.kernel}"))
    return None


def references(matrix: Matrix) -> Iterator[Reference]:
    """Yield every value of the guest."""
    from sequester.measure.tables import Reference

    for register in launch(matrix.pieces).measure().registers:
        if register.value is not None:
            yield Reference(register.name, register.value, matrix.pieces.kernel)
