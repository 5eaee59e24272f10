"""An image as the parsers see it: a size, and bytes at an offset. Where the bytes come from is not their matter."""

from __future__ import annotations

from sequester.errors import InputError
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object  # loading `typing` takes longer than reading an image

MOST_AT_ONCE = 1 << 20
"""The most that one read may ask for, in bytes: no structure that is read here is larger."""


class Image(Protocol):
    """A firmware image or kernel."""

    @property
    def size(self) -> int:
        """Its size in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer only where the image has changed meanwhile."""


@record
class ImageBytes:
    """An image that is in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`."""
        return self.data[offset : offset + length]


def read_exactly(image: Image, offset: int, length: int, what: str) -> bytes:
    """Return `length` bytes from `offset` of an image.

    Raises InputError, naming `what` is read, where that range is not wholly inside the image.
    """
    if offset < 0 or length < 0 or offset + length > image.size:
        raise malformed(
            f"{what} would be at {offset:#x} to {offset + length:#x}, outside the image of {image.size:#x} bytes"
        )
    if length > MOST_AT_ONCE:
        raise malformed(f"{what} claims {length:#x} bytes, more than any real one has")
    data = image.read(offset, length)
    if len(data) != length:
        raise malformed(f"{what} at {offset:#x} ends early: the file is shorter than it was")
    return data


def malformed(what: str) -> InputError:
    """Return the error for an image whose own metadata is wrong."""
    return InputError(
        what, code="firmware.malformed", remedy="install the image again from its package or build"
    )
