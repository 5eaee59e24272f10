"""Evidence in JSON, as tools and services pass it around; which form it is tells by its keys.

* Trustee (confidential-containers, attester crates): ``quote`` and ``cc_eventlog`` of TDX; ``attestation_report`` and
  ``cert_chain`` of SEV-SNP, in base64 or as numbers; Azure's ``hcl_report``, ``tpm_quote`` and ``vcek``;
* Linux configfs-tsm (Documentation/ABI/testing/configfs-tsm-report): ``outblob`` and ``auxblob`` of a folder, as
  `evidence.files` reads it;
* QMP's ``{"return": {"data": ...}}``; our own ``{"evidence": ...}``;
* a conceptual message wrapper (draft-ietf-rats-msg-wrap): ``[media type, base64url]``.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

from sequester.errors import InputError
from sequester.evidence.appraisal import Check
from sequester.evidence.wrappings import Wrapped
from sequester.evidence.wrappings.text import of_base64

NAME = "json"
_MOST_NUMBERS = 1 << 16


def recognises(data: bytes) -> bool:
    """Tell whether bytes may be JSON."""
    return data.lstrip()[:1] in (b"{", b"[")


def unwrap(data: bytes, where: str) -> Wrapped:
    """Return what is in it. Raises InputError for JSON of no form that is known."""
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        raise _fault("this is no JSON", where) from None
    if isinstance(told, list) and 2 <= len(told) <= 3 and isinstance(told[0], str):
        return Wrapped(_octets(told[1], where))
    if isinstance(told, dict):
        if "encr_measurement_key" in told:
            raise _fault(
                "this names its own measurement key, encrypted with a public one: anybody can have made it",
                where,
                "keep the exchange of pvattest with the owner's request and its key (ARPK), and verify that",
            )
        for key, read in _FORMS.items():
            if key in told:
                return read(told, where)
    keys = ", ".join(str(key)[:30] for key in list(told)[:8]) if isinstance(told, dict) else "a list"
    raise _fault(f"there is no evidence in this JSON ({keys})", where)


def _quote(told: Mapping[str, Any], where: str) -> Wrapped:
    log = told.get("cc_eventlog")
    logs = (_octets(log, where),) if log else ()
    return Wrapped(_octets(told["quote"], where), event_logs=logs)


def _report(told: Mapping[str, Any], where: str) -> Wrapped:
    chain = told.get("cert_chain") or []
    if not isinstance(chain, list) or len(chain) > 16:
        raise _fault("'cert_chain' is no list of certificates", where)
    documents = []
    for each in chain:
        inner = each.get("data") if isinstance(each, dict) else each
        documents.append(_octets(inner, where))
    return Wrapped(_octets(told["attestation_report"], where), tuple(documents))


def _azure(told: Mapping[str, Any], where: str) -> Wrapped:
    from sequester.evidence.azure import vtpm
    from sequester.evidence.wrappings import azure_hcl

    hcl = _octets(told["hcl_report"], where)
    vcek = told.get("vcek")
    documents = (_document(vcek, where),) if vcek else ()
    if not azure_hcl.recognises(hcl):
        raise _fault("'hcl_report' is no report of Azure's", where)
    if "td_quote" in told:
        data = _octets(told["td_quote"], where)
        runtime, name = azure_hcl.runtime_data(hcl, azure_hcl.TDX, where)
        checks: tuple[Check, ...] = (azure_hcl.bound_by_quote(data, runtime, name),)
    else:
        inside = azure_hcl.unwrap(hcl, where)
        runtime, _ = azure_hcl.runtime_data(hcl, azure_hcl.SNP, where)
        data, checks = inside.data, inside.checks
    if "tpm_quote" not in told:
        return Wrapped(data, documents, checks=checks)
    check, nonce = vtpm.quoted(told["tpm_quote"], runtime)
    return Wrapped(data, documents, checks=(*checks, check), nonce=nonce)


def _folder(told: Mapping[str, Any], where: str) -> Wrapped:
    auxiliary = told.get("auxblob")
    documents = (_octets(auxiliary, where),) if auxiliary else ()
    return Wrapped(_octets(told["outblob"], where), documents)


def _inside(key: str) -> Callable[[Mapping[str, Any], str], Wrapped]:
    def read(told: Mapping[str, Any], where: str) -> Wrapped:
        inner = told[key]
        if isinstance(inner, dict):
            return Wrapped(json.dumps(inner).encode())
        return Wrapped(_octets(inner, where))

    return read


_FORMS: Mapping[str, Callable[[Mapping[str, Any], str], Wrapped]] = {
    "quote": _quote,
    "attestation_report": _report,
    "hcl_report": _azure,
    "outblob": _folder,
    "evidence": _inside("evidence"),
    "report": _inside("report"),
    "return": _inside("return"),
    "data": _inside("data"),
}


def _document(value: Any, where: str) -> bytes:
    """Return a certificate: PEM as text, or base64."""
    if isinstance(value, str) and value.lstrip().startswith("-----BEGIN"):
        return value.encode()
    return _octets(value, where)


def _octets(value: Any, where: str) -> bytes:
    """Return bytes that are told in hex, base64, or as a list of numbers. Raises InputError."""
    if isinstance(value, list) and len(value) <= _MOST_NUMBERS:
        try:
            return bytes(value)
        except (TypeError, ValueError):
            raise _fault("a list is none of bytes", where) from None
    if not isinstance(value, str):
        raise _fault("a value is neither text nor a list of bytes", where)
    if value and len(value) % 2 == 0 and not value.strip("0123456789abcdef"):
        return bytes.fromhex(value)
    try:
        return b64decode(value, validate=True)
    except ValueError:
        return of_base64(value, where)


def _fault(what: str, where: str, remedy: str = "") -> InputError:
    return InputError(what, code="evidence.wrapping", where=where, remedy=remedy)
