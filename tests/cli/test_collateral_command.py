"""`sequester collateral` and `verify --online` against a server on this machine that plays the vendors."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from snp_made import Vendor, der, report
from vendor_server import Server, ok, path_of, serving

from sequester.cli.main import main
from sequester.evidence.fetching.fetcher import Fetcher
from sequester.evidence.papers import fingerprint, read
from sequester.evidence.snp import kds, signing
from sequester.evidence.snp.report import parse
from sequester.evidence.tdx import judging
from sequester.evidence.tdx import signing as tdx_signing
from sequester.simulator.identity import Identity
from sequester.simulator.tdx_chain import FMSPC, collateral, quoting_enclave
from sequester.simulator.tdx_quote import Body

NOW = datetime.now(UTC)
VENDOR = Vendor("Genoa", simulated=False)
ZEROS = bytes(48)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity(tmp_path_factory.mktemp("identity"))


@pytest.fixture
def folder(tmp_path: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a quote and a report of made-up machines, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    body = Body(ZEROS, 1 << 28, 0x602E7, ZEROS, (ZEROS,) * 3, (ZEROS,) * 4, b"nonce")
    (tmp_path / "quote.dat").write_bytes(quoting_enclave(identity, NOW).quote(body))
    (tmp_path / "report.bin").write_bytes(report(VENDOR))
    return tmp_path


@pytest.fixture
def amd(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """AMD's service, played by the server: there is no option that says so."""
    parsed = parse(report(VENDOR), "").report
    address = kds.vcek_address("Genoa", parsed.chip_id, parsed.reported_tcb)
    server.put(path_of(address), ok(der(VENDOR.vcek())))
    server.put(path_of(kds.chain_address("Genoa")), ok(_pem(VENDOR)))
    current = VENDOR.revocations(begin=NOW - timedelta(days=1), end=NOW + timedelta(days=9))
    server.put(path_of(kds.list_address("Genoa")), ok(current))
    monkeypatch.setattr(signing, "_PINS", frozenset({fingerprint(VENDOR.ark)}))
    made = Fetcher.__init__

    def local(self: Fetcher, *_: object) -> None:
        made(self, server.sites)

    monkeypatch.setattr(Fetcher, "__init__", local)
    return server


@pytest.fixture
def intel(folder: Path, server: Server, identity: Identity, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Intel's service by its caching one; its root is taken for Intel's own, so that lists are asked for too."""
    files = collateral(identity, NOW)
    server.put_intel(files)
    quote = (folder / "quote.dat").read_bytes()
    chains = files["tcb_chain.pem"], quote[quote.index(b"-----BEGIN") :].rstrip(b"\0")
    pins = frozenset(fingerprint(read(chain).certificates[-1]) for chain in chains)
    for module in (judging, tdx_signing):
        monkeypatch.setattr(module, "PINS", pins)
    return server


def _pem(vendor: Vendor) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return b"".join(each.public_bytes(Encoding.PEM) for each in (vendor.ask, vendor.ark))


def verify(path: Path, *more: str) -> int:
    return main(["verify", str(path), "--trust-simulated", *more])


def test_a_folder_filled_from_a_pccs_is_all_that_a_quote_needs_without_a_network(
    folder: Path, intel: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "out"
    assert verify(folder / "quote.dat") == 4
    capsys.readouterr()
    assert main(["collateral", str(folder / "quote.dat"), "-o", str(out), "--pccs", intel.url]) == 0
    told, err = capsys.readouterr()
    assert "until" in told
    assert "tcb?fmspc=" in told
    assert err == f"{out}: 6 documents for 1 of evidence\n"
    asked = sum(intel.asked.values())
    assert verify(folder / "quote.dat", "--collateral", str(out)) == 0
    assert sum(intel.asked.values()) == asked


def test_a_filled_folder_among_the_evidence_is_no_evidence(
    folder: Path, intel: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = folder / "mine"
    mine.mkdir()
    quote = (folder / "quote.dat").rename(mine / "quote.dat")
    out = mine / "collateral"
    assert main(["collateral", str(quote), "-o", str(out), "--pccs", intel.url]) == 0
    for name in ("text", "jsonl"):
        capsys.readouterr()
        assert verify(mine, "--collateral", str(out), "--format", name) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["name"] == str(quote)
    assert main(["verify", str(out), "--format", "jsonl"]) == 0
    assert main(["verify", str(out / "index.json"), "--format", "jsonl"]) == 2, (
        "what was named is always told"
    )


def test_verify_online_fetches_once_and_then_takes_the_cache(folder: Path, intel: Server) -> None:
    online = (
        "--online",
        "--pccs",
        intel.url + "/sgx/certification/v4/",
        "--collateral",
        str(folder / "own"),
    )
    (folder / "own").mkdir()
    (folder / "own" / "1").write_bytes(b"1")
    assert verify(folder / "quote.dat", *online) == 0
    asked = dict(intel.asked)
    assert set(asked.values()) == {1}
    assert verify(folder / "quote.dat", *online) == 0
    assert intel.asked == asked
    assert verify(folder / "quote.dat") == 4, "without --online the cache is not read"


@pytest.mark.parametrize("spoil", ["old", "foreign"])
def test_a_table_at_hand_that_is_old_or_another_machines_does_not_keep_the_right_one_from_being_fetched(
    folder: Path, identity: Identity, intel: Server, spoil: str
) -> None:
    at_hand = collateral(identity, NOW - timedelta(days=60) if spoil == "old" else NOW)
    fmspc = FMSPC.hex().upper().encode()
    (folder / "own").mkdir()
    for name, data in at_hand.items():
        data = data if spoil == "old" else data.replace(fmspc, b"0123456789AB")
        (folder / "own" / name).write_bytes(data)
    own = ("--collateral", str(folder / "own"))
    assert verify(folder / "quote.dat", *own) == 4
    assert verify(folder / "quote.dat", *own, "--online", "--pccs", intel.url) == 0


def test_many_lines_are_verified_online_by_several_processes(
    folder: Path, intel: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    line = json.dumps({"evidence": b64encode((folder / "quote.dat").read_bytes()).decode()})
    (folder / "quotes.jsonl").write_text((line + "\n") * 100)
    options = ["--format", "jsonl", "--jobs", "2", "--online", "--pccs", intel.url, "--trust-simulated"]
    fed = subprocess.run(
        [sys.executable, "-m", "sequester", "verify", "-", *options],
        stdin=(folder / "quotes.jsonl").open(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [json.loads(each)["accepted"] for each in fed.stdout.splitlines()] == [True] * 100
    assert set(intel.asked.values()) <= {1, 2}


def test_a_chips_certificate_and_the_root_keys_list_are_gathered(
    folder: Path, amd: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "out"
    assert main(["collateral", str(folder / "report.bin"), "-o", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "sequester-collateral/1"
    assert told["missing"] == []
    until = {each["address"].split("/")[-1].split("?")[0]: each["until"] for each in told["documents"]}
    assert until[VENDOR.chip_id.hex()] is None
    assert until["crl"].startswith(f"{NOW + timedelta(days=9):%Y-%m-%d}")
    assert verify(folder / "report.bin", "--collateral", str(out)) == 0
    assert main(["collateral", "--list", "-o", str(out)]) == 0
    assert "for ever" in capsys.readouterr().out


def test_what_cannot_be_had_is_named_once_and_exits_1(
    folder: Path, amd: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    amd.put(path_of(kds.list_address("Genoa")), (404, {}, b""))
    (folder / "again.bin").write_bytes(report(VENDOR, report_data=b"again"))
    names = [str(folder / "report.bin"), str(folder / "again.bin")]
    assert main(["collateral", *names, "-o", str(folder / "out")]) == 1
    out, err = capsys.readouterr()
    assert f"missing                     {kds.list_address('Genoa')}" in out
    assert err.count("did not send it: 404") == 1
    assert amd.asked[path_of(kds.list_address("Genoa"))] == 1
    assert "1 document could not be had, without which 2 will be refused" in err


def test_an_old_report_is_looked_for_among_two_product_lines_and_one_is_enough(
    folder: Path, amd: Server
) -> None:
    old = report(VENDOR, version=2)
    (folder / "old.bin").write_bytes(old)
    assert main(["collateral", str(folder / "old.bin"), "-o", str(folder / "out")]) == 0
    assert verify(folder / "old.bin", "--collateral", str(folder / "out")) == 0


def test_a_list_tells_what_is_out_of_date_or_gone(
    folder: Path, amd: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "out"
    assert main(["collateral", str(folder / "report.bin"), "-o", str(out)]) == 0
    index = json.loads((out / "index.json").read_text())
    index["documents"][0]["until"] = "2020-01-01T00:00:00+00:00"
    (out / "index.json").write_text(json.dumps(index))
    capsys.readouterr()
    assert main(["collateral", "--list", "-o", str(out)]) == 1
    assert "was until 2020-01-01 00:00" in capsys.readouterr().out
    (out / index["documents"][1]["file"]).unlink()
    assert main(["collateral", "--list", "-o", str(out), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["missing"] == [index["documents"][1]["address"]]


def test_filling_a_folder_again_renews_what_ends_and_keeps_what_other_evidence_needs(
    folder: Path, amd: Server, identity: Identity
) -> None:
    amd.put_intel(collateral(identity, NOW))
    out = str(folder / "out")
    assert main(["collateral", str(folder / "quote.dat"), "-o", out]) == 0
    assert main(["collateral", str(folder / "report.bin"), "-o", out]) == 0
    asked = dict(amd.asked)
    assert main(["collateral", str(folder / "report.bin"), "-o", out]) == 0
    renewed = {path for path, count in amd.asked.items() if count > asked[path]}
    assert path_of(kds.list_address("Genoa")) in renewed
    assert not any(VENDOR.chip_id.hex() in path for path in renewed)
    assert verify(folder / "quote.dat", "--collateral", out) == 0
    assert verify(folder / "report.bin", "--collateral", out) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-o", "out"], "no evidence was given"),
        (["x", "--list", "-o", "out"], "--list takes no evidence"),
        (["--list", "-o", "out"], "no index of collateral"),
        (["x", "-o", "out", "--pccs", "http://example.com"], "no address of a PCCS"),
        (["x", "-o", "out", "--pccs", "https://user:secret@example.com"], "no address of a PCCS"),
        (["/nonexistent", "-o", "out"], "cannot be read"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    words: list[str],
    says: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert main(["collateral", *words]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert "Traceback" not in err


def test_a_pccs_without_online_is_a_mistake(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(folder / "quote.dat", "--pccs", "https://example.com") == 2
    assert "add --online" in capsys.readouterr().err


def test_an_index_that_points_out_of_its_folder_is_refused(
    folder: Path, amd: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "out"
    assert main(["collateral", str(folder / "report.bin"), "-o", str(out)]) == 0
    index = json.loads((out / "index.json").read_text())
    index["documents"][0]["file"] = "../report.bin"
    (out / "index.json").write_text(json.dumps(index))
    capsys.readouterr()
    assert verify(folder / "report.bin", "--collateral", str(out)) == 2
    assert "entry 1 of this index is malformed" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_line(
    folder: Path, amd: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collateral", str(folder / "report.bin"), "-o", str(folder / "report.bin" / "out")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_folder_that_is_filled_may_lie_among_the_evidence(
    folder: Path, intel: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    evidence = folder / "evidence"
    evidence.mkdir()
    (folder / "quote.dat").rename(evidence / "quote.dat")
    for _ in range(2):
        capsys.readouterr()
        assert main(["collateral", str(evidence), "-o", str(evidence / "out"), "--pccs", intel.url]) == 0
    assert "6 documents for 1 of evidence" in capsys.readouterr().err


def test_evidence_whose_own_fault_it_is_lacks_nothing(folder: Path, amd: Server) -> None:
    data = bytearray((folder / "report.bin").read_bytes())
    data[0x90] ^= 1
    (folder / "report.bin").write_bytes(data)
    assert main(["collateral", str(folder / "report.bin"), "-o", str(folder / "out")]) == 0
