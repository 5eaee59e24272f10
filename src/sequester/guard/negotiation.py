"""Capabilities negotiation as a QMP server answers it (QEMU monitor/qmp-cmds-control.c, monitor/qmp.c)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

COMMAND = "qmp_capabilities"
FIRST = f"Expecting capabilities negotiation with '{COMMAND}'"
TWICE = "Capabilities negotiation is already complete, command ignored"


def fault(request: Mapping[str, Any], capabilities: Collection[str]) -> str:
    """Return what is wrong with a client's ``qmp_capabilities``, in QEMU's words, '' where nothing is."""
    strange = next((name for name in request if name not in ("execute", "arguments")), None)
    if strange is not None:
        return f"QMP input member '{strange}' is unexpected"
    arguments = request.get("arguments", {})
    if not isinstance(arguments, dict):
        return "QMP input member 'arguments' must be an object"
    strange = next((name for name in arguments if name != "enable"), None)
    if strange is not None:
        return f"Parameter '{strange}' is unexpected"
    enable = arguments.get("enable", [])
    if not isinstance(enable, list):
        return "Invalid parameter type for 'enable', expected: array"
    refused = next((name for name in enable if name not in capabilities), None)
    return "" if refused is None else f"Parameter 'enable' does not accept value '{refused}'"
