"""What a measurement is: registers with their expected values, and the contributions that they are made of."""

from __future__ import annotations

from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol
else:
    Protocol = object


@record
class Register:
    """One measured value: its name, its expected value, or why that cannot be known beforehand."""

    name: str
    value: bytes | None
    unknown: str = ""


@record
class Contribution:
    """One step of a measurement, in order.

    `what` is for a person, `kind` for programs (``normal``, ``zero``, ``secrets``, ``vmsa``, ``hash`` ...).
    `address` and `size` say what guest memory it covers in bytes, where it does. `contents` is a digest of what
    goes in, b"" where only the place and kind are measured. `running` is the register's value after it.
    """

    what: str
    kind: str
    running: bytes
    contents: bytes = b""
    address: int | None = None
    size: int = 0
    register: str = ""


@record
class Measurement:
    """What a launch will be measured as. `notes` say what a reader must know to use it rightly."""

    platform: str
    registers: tuple[Register, ...]
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> bytes:
        """The first register's value: the launch digest. ValueError where it cannot be known beforehand."""
        value = self.registers[0].value
        if value is None:
            raise ValueError(self.registers[0].unknown)
        return value


class Launch(Protocol):
    """Everything that a platform's measurement depends on, with all files read."""

    def measure(self) -> Measurement:
        """Return the measurement."""

    def contributions(self) -> Iterator[Contribution]:
        """Yield what it is made of, in order."""
