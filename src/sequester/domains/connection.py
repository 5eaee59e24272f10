"""The connection to libvirt, by libvirt-python, and its errors in our words.

The URI is libvirt's own default: LIBVIRT_DEFAULT_URI, or qemu:///system for root.
"""

from __future__ import annotations

import re
from typing import Any

from sequester.errors import HostError, InputError

PREFIX = "libvirt:"
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def bindings() -> Any:
    """Return the module `libvirt`. Raises HostError where it is not installed."""
    try:
        import libvirt
    except ImportError:
        raise HostError(
            "libvirt-python is not installed",
            code="libvirt.missing",
            remedy="install sequester[libvirt], or Debian's python3-libvirt",
        ) from None
    # libvirt's default handler writes every error to standard error, beside the exception.
    libvirt.registerErrorHandler(_quiet, None)
    return libvirt


def connected(uri: str | None = None) -> Any:
    """Open a connection that may start domains. Raises HostError with libvirt's reason."""
    libvirt = bindings()
    try:
        return libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise HostError(
            "libvirt cannot be reached", code="libvirt.unreachable", where=uri or "", why=reason(error)
        ) from None


def domain_of(connection: Any, name: str) -> Any:
    """Return a domain by name or UUID. Raises InputError where there is none."""
    libvirt = bindings()
    try:
        try:
            return connection.lookupByName(name)
        except libvirt.libvirtError:
            if not _UUID.fullmatch(name):
                raise
            return connection.lookupByUUIDString(name)
    except libvirt.libvirtError as error:
        raise InputError(
            "libvirt does not have this domain",
            code="libvirt.error",
            where=f"{PREFIX}{name}",
            why=reason(error),
        ) from None


def reason(error: Any) -> str:
    """Return what libvirt says, on one line."""
    return " ".join(str(error.get_error_message() or error).split())


def _quiet(_context: object, _error: object) -> None:
    return None
