"""Command lines that are nearly the one that was meant."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDINGS = ((b" ", "a space"), (b"\n", "a newline"), (b"\0", "a zero byte"))
"""What gets behind a command line by mistake; the last not in an argument, so that it cannot be taken away."""


def near(line: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield lines near this one: what is different, the line, and the ending that QEMU hashes with it for SEV."""
    ended = b"\0"
    if line:
        yield "no command line", b"", ended
    yield "a command line hashed without the zero byte at its end", line, b""
    for ending, name in _ENDINGS:
        yield f"{name} more at the end of the command line", line + ending, ended
        if ending.strip(b"\0") and line.endswith(ending):
            yield f"{name} less at the end of the command line", line[: -len(ending)], ended
    stripped = line.strip()
    if stripped != line:
        yield "no white space around the command line", stripped, ended
    for quote in (b'"', b"'"):
        if len(line) > 1 and line.startswith(quote) and line.endswith(quote):
            yield "no quotes around the command line", line[1:-1], ended
        elif line:
            yield "quotes around the command line", quote + line + quote, ended
