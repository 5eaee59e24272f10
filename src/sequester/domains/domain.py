"""One domain, as `run` needs it: its XML, its start, its launch security, its state. libvirt's errors become ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from sequester.domains.connection import PREFIX, bindings, reason
from sequester.errors import GuestError, SequesterError

T = TypeVar("T")

# include/libvirt/libvirt-domain.h
_XML_SECURE, _XML_INACTIVE = 1, 2
_DEFINE_VALIDATE = 1
_START_PAUSED, _START_AUTODESTROY = 1, 2
STATES = {
    0: "unknown",
    1: "running",
    2: "blocked",
    3: "paused",
    4: "shutting down",
    5: "shut off",
    6: "crashed",
    7: "suspended",
}
"""virDomainState."""
SHUT_OFF = "shut off"
_SHUT_OFF_REASONS = {1: "shut down", 2: "destroyed", 3: "crashed", 4: "migrated", 5: "saved", 6: "failed"}
_SHUT_OFF_REASONS |= {7: "from a snapshot", 8: "daemon"}
"""virDomainShutoffReason."""
_NO_DOMAIN = 42
"""VIR_ERR_NO_DOMAIN: a domain without a configuration is gone once it has ended."""


class Launching(Protocol):
    """What a launch asks of a domain."""

    @property
    def name(self) -> str:
        """What libvirt calls it."""

    def start(self, paused: bool) -> None:
        """Start it; it ends when the connection does."""

    def launch_security(self) -> Mapping[str, Any]:
        """Return virDomainGetLaunchSecurityInfo's parameters."""

    def give_secret(self, header: str, secret: str) -> None:
        """Give a paused guest its secret, both in base64."""

    def resume(self) -> None:
        """Let it run."""

    def state(self) -> tuple[str, str]:
        """Return its state, and for one that is shut off the reason."""

    def shut_down(self) -> None:
        """Ask the guest to power off."""

    def destroy(self) -> None:
        """End it at once; one that does not run stays as it is."""


class BoundDomain:
    """A domain by libvirt-python."""

    def __init__(self, connection: Any, domain: Any) -> None:
        self._connection = connection
        self._domain = domain
        self.name: str = domain.name()

    def xml(self) -> bytes:
        """Return its configuration, passwords and all: what is defined anew must not lose them."""
        text: str = self._call("read", lambda: self._domain.XMLDesc(_XML_SECURE | _XML_INACTIVE))
        return text.encode()

    def define(self, xml: str) -> None:
        """Replace its configuration."""
        self._call("define", lambda: self._connection.defineXMLFlags(xml, _DEFINE_VALIDATE))

    def runs(self) -> bool:
        """Tell whether it has been started."""
        return bool(self._call("ask", self._domain.isActive))

    def start(self, paused: bool) -> None:
        """Start it, paused for a measured launch; it ends when this connection does, however we end."""
        flags = _START_AUTODESTROY | (_START_PAUSED if paused else 0)
        self._call("start", lambda: self._domain.createWithFlags(flags), "qemu.start")

    def launch_security(self) -> Mapping[str, Any]:
        """Return virDomainGetLaunchSecurityInfo's parameters."""
        found: Mapping[str, Any] = self._call("measure", lambda: self._domain.launchSecurityInfo(0))
        return found

    def give_secret(self, header: str, secret: str) -> None:
        """Give a paused guest its secret, both in base64 (virDomainSetLaunchSecurityState, libvirt 8.0)."""
        given = {"sev-secret-header": header, "sev-secret": secret}
        self._call("give a secret to", lambda: self._domain.setLaunchSecurityState(given, 0))

    def resume(self) -> None:
        """Let it run."""
        self._call("resume", self._domain.resume)

    def state(self) -> tuple[str, str]:
        """Return its state, and for one that is shut off the reason."""
        libvirt = bindings()
        try:
            state, why = self._domain.state(0)
        except libvirt.libvirtError as error:
            if error.get_error_code() == _NO_DOMAIN:
                return SHUT_OFF, ""
            raise self._failed("ask", error) from None
        return STATES.get(state, "unknown"), _SHUT_OFF_REASONS.get(why, "") if state == 5 else ""

    def shut_down(self) -> None:
        """Ask the guest to power off."""
        self._call("shut down", self._domain.shutdown)

    def destroy(self) -> None:
        """End it at once; one that does not run stays as it is."""
        libvirt = bindings()
        try:
            self._domain.destroy()
        except libvirt.libvirtError as error:
            if self.state()[0] != SHUT_OFF:
                raise self._failed("end", error) from None

    def _call(self, verb: str, call: Callable[[], T], code: str = "libvirt.error") -> T:
        libvirt = bindings()
        try:
            return call()
        except libvirt.libvirtError as error:
            raise self._failed(verb, error, code) from None

    def _failed(self, verb: str, error: Any, code: str = "libvirt.error") -> SequesterError:
        return GuestError(
            f"libvirt could not {verb} this domain",
            code=code,
            where=f"{PREFIX}{self.name}",
            why=reason(error),
        )
