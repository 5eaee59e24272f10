"""Reference values: the measurements that a guest may have, for those who check its evidence.

Three forms: our own JSON; CoRIM, unsigned (draft-ietf-rats-corim, one CoMID with a reference triple for each value);
and the message by which Trustee's reference value provider service takes values (rvps/README.md, ``sample``), under
the names that its default policy asks for.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterable, Mapping

from sequester.measure.tables import Reference
from sequester.report.cbor import Tagged, Value, encode
from sequester.report.measure import spelled

SCHEMA = "sequester.references/1"
FORMS = ("json", "corim", "rvps")

_CORIM, _COMID = 501, 506
_ALGORITHMS = {32: 1, 48: 7, 64: 8}
"""Size of a digest → its number among named information hash algorithms: SHA-256, SHA-384, SHA-512 (IANA)."""
_NAMESPACE = uuid.UUID("6d0f7f3e-9b1c-5d0e-8f7e-5a6f0c1f5b11")
"""From which the identities of our manifests are made: the same values have the same identity."""


def references_json(platform: str, references: Iterable[Reference]) -> str:
    """Return references as JSON, one a line."""
    lines = ",\n".join(f"    {json.dumps(_plain(reference))}" for reference in references)
    head = f'{{\n  "schema": "{SCHEMA}",\n  "platform": {json.dumps(platform)},\n  "references": ['
    return f"{head}\n{lines}\n  ]\n}}\n"


def references_rvps(references: Iterable[Reference], names: Mapping[str, str], form: str = "hex") -> str:
    """Return the message that registers references in Trustee.

    `names` are its names of our registers, `form` is how it spells their values: hex or base64.
    """
    values: dict[str, list[str]] = {}
    for reference in references:
        held = values.setdefault(names.get(reference.register, reference.register), [])
        held.append(spelled(reference.value, form))
    unique = {name: list(dict.fromkeys(held)) for name, held in values.items()}
    payload = base64.b64encode(json.dumps(unique).encode()).decode()
    return json.dumps({"version": "0.1.0", "type": "sample", "payload": payload}, indent=2) + "\n"


def references_corim(title: str, references: Iterable[Reference]) -> bytes:
    """Return references as a CoRIM; `title` names maker and model of the platform, as in ``AMD SEV-SNP``."""
    vendor, _, model = title.partition(" ")
    environment: Value = {0: {1: vendor, 2: model}}
    triples: list[Value] = [
        [environment, [{0: reference.register, 1: {2: [_digest(reference.value)]}}]]
        for reference in references
    ]
    body = encode({0: triples})
    identity = str(uuid.uuid5(_NAMESPACE, body.hex()))
    comid = encode({1: {0: identity}, 4: {0: triples}})
    return encode(Tagged(_CORIM, {0: identity, 1: [Tagged(_COMID, comid)]}))


def _digest(value: bytes) -> Value:
    return [_ALGORITHMS[len(value)], value]


def _plain(reference: Reference) -> dict[str, str | int]:
    told: dict[str, str | int] = {
        "register": reference.register,
        "value": reference.value.hex(),
        "firmware": reference.firmware,
    }
    if reference.processor:
        told["processor"] = reference.processor
    if reference.vcpus is not None:
        told["vcpus"] = reference.vcpus
    return told
