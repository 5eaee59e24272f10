"""Intel's tables: which security versions are good (TCB info), and which quoting enclaves (QE identity).

JSON (Intel API for provisioning certification service, version 4: TCB info 3, enclave identity 2). What is signed is
the text of the inner object as it came. Levels are sorted, the best first; the first that a platform reaches is its
own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

LARGEST = 1 << 20
_LARGEST_KEPT = 128 << 10
_COMPONENTS = 16
_MOST_LEVELS = 256
STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
)
_OUTER = re.compile(rb'\A\s*\{\s*"(tcbInfo|enclaveIdentity)"\s*:\s*')
_TAIL = re.compile(rb'\A\s*,\s*"signature"\s*:\s*"([0-9a-fA-F]{128})"\s*\}\s*\Z')


class TableError(ValueError):
    """A table that is none; the text says why."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level: least SVNs, and what a platform that reaches it is. `sgx` and `tdx` have 16 numbers or none, and what
    Intel calls each, '' for one without a name."""

    status: str
    advisories: tuple[str, ...]
    sgx: tuple[int, ...] = ()
    tdx: tuple[int, ...] = ()
    pcesvn: int = 0
    isvsvn: int = 0
    sgx_names: tuple[str, ...] = ()
    tdx_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Module:
    """What a TDX module must be: signer (48 bytes), attributes under a mask, levels by its SVN."""

    signer: bytes
    attributes: int
    mask: int
    levels: tuple[Level, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """What both tables have: the signed text, R and S of its signature, and the time that it is good for."""

    text: bytes
    signature: bytes
    issued: datetime
    until: datetime
    evaluation: int
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class TcbInfo(Table):
    """The table of one kind of platform. `modules` are those of TDX modules by their id (``TDX_01``)."""

    fmspc: bytes
    pce_id: bytes
    module: Module
    modules: Mapping[str, Module]


@dataclass(frozen=True, slots=True)
class QeIdentity(Table):
    """What the quoting enclave must be."""

    signer: bytes
    product: int
    misc: int
    misc_mask: int
    attributes: int
    mask: int


def looks_so(document: bytes) -> bool:
    """Tell whether a document may be a table as Intel's service sends it."""
    return len(document) <= LARGEST and _OUTER.match(document) is not None


def read(document: bytes) -> TcbInfo | QeIdentity:
    """Read a table as Intel's service sends it. Raises TableError."""
    return _read_small(document) if len(document) <= _LARGEST_KEPT else _read(document)


@lru_cache(maxsize=32)
def _read_small(document: bytes) -> TcbInfo | QeIdentity:
    return _read(document)


def _read(document: bytes) -> TcbInfo | QeIdentity:
    found = _OUTER.match(document) if len(document) <= LARGEST else None
    if found is None:
        raise TableError("it is no TCB info and no QE identity")
    text = document.decode("utf-8", "replace")
    try:
        start = len(found[0])
        _, end = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError):
        raise TableError("it is no JSON") from None
    inner = document[start : start + end]
    tail = _TAIL.match(document[start + end :])
    if tail is None:
        raise TableError("it has no signature behind it")
    return read_inner(inner, bytes.fromhex(tail[1].decode()), found[1] == b"tcbInfo")


def read_inner(text: bytes, signature: bytes, is_tcb: bool) -> TcbInfo | QeIdentity:
    """Read the signed text of a table. Raises TableError."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise TableError("it is no JSON") from None
    if len(signature) != 64:
        raise TableError("its signature has not 64 bytes")
    try:
        if not text.isascii():
            raise TableError("it is not ASCII")
        return _tcb(told, text, signature) if is_tcb else _identity(told, text, signature)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"a field is missing or wrong ({str(error)[:60]})") from None


def _tcb(told: Any, text: bytes, signature: bytes) -> TcbInfo:
    if told["id"] != "TDX" or told["version"] != 3:
        raise TableError(
            f"it is of '{str(told['id'])[:20]}', version {str(told['version'])[:5]}, not of TDX, 3"
        )
    modules: dict[str, Module] = {}
    for each in _some(told.get("tdxModuleIdentities", [])):
        name = str(each["id"]).upper()
        if name in modules:
            raise TableError(f"it has {name[:20]} twice")
        modules[name] = _module(each, _levels(each["tcbLevels"], _by_svn))
    if told["tcbType"] != 0:
        raise TableError(f"type {str(told['tcbType'])[:20]} of TCB is not known")
    # The service sends the best first; Intel's library sorts nevertheless, and so the order is no matter.
    levels = tuple(
        sorted(
            _levels(told["tcbLevels"], _by_components),
            key=lambda level: (level.sgx, level.pcesvn, level.tdx),
            reverse=True,
        )
    )
    head = (text, signature, *_times(told), levels)
    fmspc, pce_id = bytes.fromhex(told["fmspc"]), bytes.fromhex(told["pceId"])
    return TcbInfo(*head, fmspc, pce_id, _module(told["tdxModule"]), modules)


def _identity(told: Any, text: bytes, signature: bytes) -> QeIdentity:
    if told["id"] != "TD_QE" or told["version"] != 2:
        raise TableError("it is not the identity of a TD quoting enclave, version 2")
    head = (text, signature, *_times(told), _levels(told["tcbLevels"], _by_svn))
    return QeIdentity(
        *head,
        _octets(told["mrsigner"], 32),
        _number(told["isvprodid"]),
        int.from_bytes(_octets(told["miscselect"], 4), "little"),
        int.from_bytes(_octets(told["miscselectMask"], 4), "little"),
        int.from_bytes(_octets(told["attributes"], 16), "little"),
        int.from_bytes(_octets(told["attributesMask"], 16), "little"),
    )


def _times(told: Any) -> tuple[datetime, datetime, int]:
    return _time(told["issueDate"]), _time(told["nextUpdate"]), _number(told["tcbEvaluationDataNumber"])


def _time(said: Any) -> datetime:
    return datetime.strptime(said, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _module(told: Any, levels: tuple[Level, ...] = ()) -> Module:
    attributes, mask = (
        int.from_bytes(_octets(told[name], 8), "little") for name in ("attributes", "attributesMask")
    )
    return Module(_octets(told["mrsigner"], 48), attributes, mask, levels)


def _levels(told: Any, read: Any) -> tuple[Level, ...]:
    found = tuple(read(each) for each in _some(told))
    if not found:
        raise TableError("it has no levels")
    return found


def _by_components(told: Any) -> Level:
    tcb = told["tcb"]
    sgx, tdx = (_some(tcb[name]) for name in ("sgxtcbcomponents", "tdxtcbcomponents"))
    return Level(
        *_judged(told),
        _svns(sgx),
        _svns(tdx),
        _number(tcb["pcesvn"]),
        sgx_names=_names(sgx),
        tdx_names=_names(tdx),
    )


def _by_svn(told: Any) -> Level:
    return Level(*_judged(told), isvsvn=_number(told["tcb"]["isvsvn"]))


def _judged(told: Any) -> tuple[str, tuple[str, ...]]:
    status = told["tcbStatus"]
    if status not in STATUSES:
        raise TableError(f"'{str(status)[:40]}' is no status")
    return status, tuple(str(each)[:40] for each in _some(told.get("advisoryIDs", [])))


def _names(told: Sequence[Any]) -> tuple[str, ...]:
    """Return what Intel calls each component: its type, and who brings it (BIOS, OS/VMM)."""
    names = ((str(each.get("type", ""))[:40], str(each.get("category", ""))[:40]) for each in told)
    return tuple(f"{kind} ({by})" if kind and by else kind for kind, by in names)


def _svns(told: Sequence[Any]) -> tuple[int, ...]:
    found = tuple(_number(each["svn"]) for each in told)
    if len(found) != _COMPONENTS:
        raise TableError(f"a level has {_COMPONENTS} components, not {len(found)}")
    return found


def _some(told: Any) -> Sequence[Any]:
    if not isinstance(told, list) or len(told) > _MOST_LEVELS:
        raise TableError("a list is missing or too long")
    return told


def _number(told: Any) -> int:
    if isinstance(told, bool) or not isinstance(told, int) or not 0 <= told < 1 << 32:
        raise TableError(f"'{str(told)[:20]}' is no number")
    return told


def _octets(told: Any, size: int) -> bytes:
    found = bytes.fromhex(told)
    if len(found) != size:
        raise TableError(f"'{str(told)[:20]}' has not {size} bytes")
    return found
