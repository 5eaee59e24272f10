"""Intel's own documents, played by a server on this machine, are all that a real quote needs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from measure_data import DATA
from vendor_server import path_of, serving

from sequester.evidence.collateral import Collateral, Lookup
from sequester.evidence.fetching.cache import Cache
from sequester.evidence.fetching.fetcher import Fetcher
from sequester.evidence.fetching.saved import read_index, write_folder
from sequester.evidence.fetching.stack import Stack
from sequester.evidence.policy import Policy
from sequester.evidence.tdx import pcs
from sequester.verifying import verify

THEN = datetime(2025, 6, 20, tzinfo=UTC)
FOLDER = DATA / "tdx"


def alone(lookup: Lookup) -> Collateral:
    """A lookup without documents; its own tuple, as what was made of documents is kept as long as they are."""
    return Collateral(tuple(bytes(size) for size in range(1)), lookup)


def failed(found: object) -> set[str]:
    return {check.code for check in getattr(found, "checks", ()) if check.failed}


def test_a_real_quote_gets_the_same_verdict_from_the_network_the_cache_and_a_folder(tmp_path: Path) -> None:
    if not (FOLDER / "tdx_quote_collateral.json").exists():
        pytest.skip("no third-party data here (../shared/data/tdx)")
    bundle = (FOLDER / "tdx_quote_collateral.json").read_bytes()
    evidence = (FOLDER / "tdx_quote").read_bytes()
    expected = verify(evidence, Policy(), Collateral((bundle,)), THEN)
    told = json.loads(bundle)
    documents = {
        pcs.tcb_address(bytes.fromhex(json.loads(told["tcb_info"])["fmspc"])): (
            b'{"tcbInfo":%s,"signature":"%s"}'
            % (told["tcb_info"].encode(), told["tcb_info_signature"].encode()),
            {"TCB-Info-Issuer-Chain": quote(told["tcb_info_issuer_chain"])},
        ),
        pcs.identity_address(): (
            b'{"enclaveIdentity":%s,"signature":"%s"}'
            % (told["qe_identity"].encode(), told["qe_identity_signature"].encode()),
            {"SGX-Enclave-Identity-Issuer-Chain": quote(told["qe_identity_issuer_chain"])},
        ),
        "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=der": (
            bytes.fromhex(told["pck_crl"]),
            {"SGX-PCK-CRL-Issuer-Chain": quote(told["pck_crl_issuer_chain"])},
        ),
    }
    cache = Cache(tmp_path / "cache")
    notes: list[str] = []
    with serving() as server:
        for address, (body, headers) in documents.items():
            server.put(path_of(address), (200, headers, body))
        server.put("/sgx/certification/v4/rootcacrl", (200, {}, told["root_ca_crl"].encode()))
        online = Stack({}, cache, Fetcher(server.sites, now=lambda: THEN), notes.append, now=lambda: THEN)
        first = verify(evidence, Policy(), alone(online.lookup), THEN)
        asked = dict(server.asked)
        cached = Stack({}, cache, Fetcher(server.sites), notes.append, now=lambda: THEN)
        second = verify(evidence, Policy(), alone(cached.lookup), THEN)
        assert server.asked == asked
    assert set(asked.values()) == {1}
    assert notes == []
    addresses = [*documents, *(address + pcs.ISSUER_CHAIN for address in documents)]
    addresses.append("https://certificates.trustedservices.intel.com/IntelSGXRootCA.der")
    write_folder(str(tmp_path / "out"), [each for each in map(cached.find, addresses) if each is not None])
    saved = Stack(read_index(str(tmp_path / "out")))
    third = verify(evidence, Policy(), alone(saved.lookup), THEN)
    loose = tuple(path.read_bytes() for path in sorted((tmp_path / "out").iterdir()))
    fourth = verify(evidence, Policy(), Collateral(loose), THEN)
    for each in (first, second, third, fourth):
        assert (each.accepted, failed(each)) == (expected.accepted, failed(expected))
        assert not failed(each) & {"EV301", "EV302"}
