"""What a plan carries from one format's words of a limitation into another's."""

import pytest

import sequester
from sequester.errors import InputError
from sequester.platforms.registry import named, platforms

SEV_DOMAIN = b"""<domain type='kvm'>
  <name>a-name-of-more-than-twenty-letters</name>
  <memory unit='GiB'>1</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type><loader readonly='yes' type='pflash'>/none/OVMF_CODE.fd</loader></os>
  <launchSecurity type='sev'><policy>0x0001</policy><dhCert>AQAA</dhCert><session>IHAV</session></launchSecurity>
</domain>
"""
FOLDER = "/var/lib/libvirt/qemu/domain--1-a-name-of-more-than-"


@pytest.mark.parametrize(
    ("limit", "policy"), [("sev", "0x0001"), ("sev-es", "0x000f"), ("sev-snp", "0x00030000")]
)
def test_a_policy_that_libvirt_demands_is_written_where_none_was_given(limit, policy):
    document = sequester.from_argv(["qemu-system-x86_64", "-M", "q35", "-nodefaults"])
    assert f"<policy>{policy}</policy>" in sequester.plan(document, limit=limit).to("xml").text


def test_a_quote_service_that_is_no_unix_socket_is_named_when_going_to_libvirt():
    tdx = (
        '{"qom-type":"tdx-guest","id":"t","quote-generation-socket":{"type":"vsock","cid":"2","port":"4050"}}'
    )
    words = ["qemu-system-x86_64", "-M", "q35,confidential-guest-support=t", "-nodefaults", "-object", tdx]
    written = sequester.plan(sequester.from_argv(words)).to("xml")
    assert "quoteGenerationService" not in written.text
    assert "quote-generation-socket" in written.lost


@pytest.mark.parametrize("form", ["argv", "toml"])
def test_the_texts_of_a_sev_session_become_the_files_that_libvirt_makes_of_them(form):
    written = sequester.plan(sequester.read(SEV_DOMAIN, "t.xml")).to(form)
    for file, name in (("dh_cert.base64", "dhCert"), ("session.base64", "session")):
        assert f"{FOLDER}/{file}" in written.text
        assert f"the text of {name}: write it to {FOLDER}/{file}" in written.lost


def test_the_texts_of_a_sev_session_are_not_looked_for_as_files(tmp_path):
    path = tmp_path / "t.xml"
    path.write_bytes(SEV_DOMAIN)
    found = sequester.check(sequester.load(str(path)), here=True)
    assert "SQ107" not in [finding.code for finding in found]


@pytest.mark.parametrize("limit", [platform.name for platform in platforms()])
def test_a_command_line_gets_the_platform_that_was_asked_for_and_no_other(limit):
    arch = named(limit).architectures[0]
    plan = sequester.plan(sequester.from_argv([f"qemu-system-{arch}"]), limit=limit)
    assert plan.limitation.name == limit
    again = sequester.plan(sequester.from_argv(plan.argv()[0]))
    assert again.limitation.name == limit
    assert not again.changes


def test_an_object_that_nothing_names_is_no_other_platform_than_was_asked_for():
    words = ["qemu-system-x86_64", "-M", "q35", "-object", "sev-guest,id=s,policy=1"]
    with pytest.raises(InputError, match="this guest asks for sev, and --limit for sev-es"):
        sequester.plan(sequester.from_argv(words), limit="sev-es")


def test_a_platform_of_another_architecture_is_refused_before_anything_is_planned():
    with pytest.raises(InputError, match="Intel TDX is a platform of x86_64, and this guest is s390x"):
        sequester.plan(sequester.from_argv(["qemu-system-s390x"]), limit="tdx")
