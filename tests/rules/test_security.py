"""SQ8xx: what weakens a guest's protection, or hands its secrets to the host and to the network."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import ALL, CCA, PEF, PLAIN, PV, SEV, SEV_ES, SNP, TDX, case_of, codes, fixed, found

from sequester.findings import Severity
from sequester.rules.security import RULES

SESSION = ",dh-cert-file=/d,session-file=/s"
WEAK = (
    "-qmp tcp::4444,server=on,wait=off",
    "-vnc :0",
    "-serial tcp::4555,server=on",
    "-object secret,id=k,data=hunter2",
    "-append 'password=hunter2'",
    "-chardev socket,id=ga,path=/g,server=on -device virtserialport,chardev=ga,name=org.qemu.guest_agent.0",
    "-fsdev local,id=f,path=/srv,security_model=none -device virtio-9p-pci,fsdev=f,mount_tag=t",
    "-blockdev driver=luks,node-name=l,file=f,key-secret=k",
)


def what(text, **more):
    return codes(RULES, text, **more)


@pytest.mark.parametrize("option", WEAK)
def test_nothing_is_said_of_a_guest_without_limitation(option):
    assert what(f"{PLAIN} {option}") == []


@pytest.mark.parametrize("guest", [SNP, TDX, PV, PEF, CCA])
def test_a_guest_of_a_management_layer_has_no_finding(guest):
    more = (
        "-S -qmp unix:/q,server=on -chardev socket,id=m,fd=3,server=on,wait=off -mon chardev=m,mode=control "
        "-vnc unix:/v,password=on -serial stdio -object secret,id=k,keyid=master,iv=x,data=y,format=base64 "
        "-object secret,id=f,file=/f -blockdev driver=file,node-name=d,filename=/d -append 'root=/dev/vda1 quiet'"
    )
    assert what(f"{guest} {more}") == []


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ALL), st.lists(st.sampled_from(WEAK), max_size=5, unique=True))
def test_these_rules_report_and_change_nothing(guest, options):
    text = " ".join([guest, *options])
    assert fixed(RULES, text) == text


# SQ801, SQ804, SQ810


@pytest.mark.parametrize(
    ("guest", "bit"),
    [
        (SEV.replace("policy=1", "policy=0"), "0 (no-debug)"),
        (SEV_ES.replace("policy=5", "policy=0x6"), "0 (no-debug)"),
        (SNP.replace("id=s0", "id=s0,policy=0xb0000"), "19 (debug)"),
        (TDX.replace("id=s0", "id=s0,attributes=0x10000001"), "0 (debug)"),
    ],
)
def test_a_policy_that_allows_debugging_is_an_error_that_names_the_bit(guest, bit):
    (finding,) = found(RULES, guest, "SQ801")
    assert finding.severity is Severity.ERROR
    assert bit in finding.found
    assert bit in finding.remedy


@pytest.mark.parametrize(
    "guest",
    [
        *(SEV, SEV_ES, SNP, TDX),
        SEV.replace(",policy=1", ""),
        SNP.replace("id=s0", "id=s0,policy=0x30000"),
        SNP.replace("id=s0", "id=s0,policy=nonsense"),
    ],
)
def test_a_policy_that_forbids_debugging_is_right(guest):
    assert found(RULES, guest, "SQ801") == []


def test_a_migration_agent_is_a_warning():
    (finding,) = found(RULES, SNP.replace("id=s0", "id=s0,policy=0x70000"), "SQ804")
    assert finding.severity is Severity.WARNING
    assert "18 (migration-agent)" in finding.found
    assert found(RULES, SNP.replace("id=s0", "id=s0,policy=0x30000"), "SQ804") == []


@pytest.mark.parametrize(
    ("policy", "said"),
    [("1", ["bit 1", "bit 3"]), ("3", ["bit 3"]), ("9", ["bit 1"]), ("0xb", []), ("0x0f", [])],
)
def test_rights_that_the_policy_leaves_are_one_note(policy, said):
    listed = found(RULES, SEV.replace("policy=1", f"policy={policy}"), "SQ810")
    assert [f.severity for f in listed] == ([Severity.NOTE] if said else [])
    assert all(bit in listed[0].found for bit in said)


# SQ802, SQ803, SQ809


@pytest.mark.parametrize(
    ("guest", "expected"),
    [(SEV, ["SQ802", "SQ803"]), (SEV_ES, ["SQ803"]), (SNP, []), (TDX, []), (PV, []), (PEF, []), (CCA, [])],
)
def test_what_the_platform_leaves_open_is_said(guest, expected):
    assert [code for code in what(guest) if code in ("SQ802", "SQ803")] == expected


@pytest.mark.parametrize("guest", [SEV, SEV_ES])
def test_a_launch_without_an_owner_is_a_note(guest):
    (finding,) = found(RULES, guest, "SQ809")
    assert finding.severity is Severity.NOTE
    assert found(RULES, guest + SESSION, "SQ809") == []


@pytest.mark.parametrize("guest", [SNP, TDX, PV])
def test_an_owner_takes_no_part_in_other_launches(guest):
    assert found(RULES, guest, "SQ809") == []


# SQ805, SQ806


@pytest.mark.parametrize(
    ("option", "severity"),
    [
        ("-qmp tcp::4444,server=on,wait=off", Severity.WARNING),
        ("-monitor telnet:0.0.0.0:4444,server", Severity.WARNING),
        ("-s", Severity.WARNING),
        ("-chardev socket,id=c,host=10.1.1.1,port=1,server=on -mon chardev=c", Severity.WARNING),
        ("-qmp tcp:127.0.0.1:4444,server=on", Severity.NOTE),
        ("-gdb tcp:localhost:1234", Severity.NOTE),
    ],
)
def test_a_control_socket_with_an_address_is_said_to_be_open(option, severity):
    (finding,) = found(RULES, f"{SNP} {option}")
    assert (finding.code, finding.severity) == ("SQ805", severity)


@pytest.mark.parametrize("option", ["-s", "-gdb tcp:localhost:1234"])
def test_the_remedy_for_an_open_gdb_stub_is_no_monitor(option):
    (finding,) = found(RULES, f"{SNP} {option}")
    assert "-gdb unix:" in finding.remedy


def test_a_control_socket_behind_tls_is_right():
    assert what(f"{SNP} -chardev socket,id=c,host=,port=1,server=on,tls-creds=t -mon chardev=c") == []


@pytest.mark.parametrize(
    ("option", "severity"),
    [
        ("-vnc :0", Severity.WARNING),
        ("-vnc 0.0.0.0:0", Severity.WARNING),
        ("-display vnc=:0", Severity.WARNING),
        ("-spice port=5900,disable-ticketing=on", Severity.WARNING),
        ("-serial telnet::4555,server=on", Severity.WARNING),
        ("-vnc :0,password=on", Severity.NOTE),
        ("-spice port=5900,addr=10.1.1.1", Severity.NOTE),
        ("-vnc 127.0.0.1:0", None),
        ("-vnc localhost:0", None),
        ("-vnc unix:/v", None),
        ("-vnc :0,tls-creds=t", None),
        ("-spice port=5900,addr=127.0.0.1,disable-ticketing=on", None),
        ("-serial tcp:127.0.0.1:4555,server=on", None),
        ("-nographic", None),
    ],
)
def test_a_screen_or_console_on_the_network_is_said_to_be_open(option, severity):
    listed = found(RULES, f"{SNP} {option}")
    assert [(f.code, f.severity) for f in listed] == ([("SQ806", severity)] if severity else [])


# SQ807, SQ808


@pytest.mark.parametrize(
    "option",
    [
        "-object secret,id=k,data=hunter2",
        "-spice port=5900,addr=127.0.0.1,password=hunter2",
        "-vnc 127.0.0.1:0,password=hunter2",
        "-iscsi user=me,password=hunter2",
        "-drive file=https://me:hunter2@example.org/d.img",
        "-drive file=iscsi://me%hunter2@example.org/iqn/1",
        """-drive 'file=json:{"driver":"https",,"url":"https://me:hunter2@example.org/d"}'""",
        "-drive file=rbd:pool/image:id=me:key=QVFB",
        "-blockdev driver=curl,node-name=d,url=https://me:hunter2@example.org/d.img",
        "-append 'quiet luks.password=hunter2'",
        "-append 'api_token=hunter2'",
        "-append systemd.set_credential=a:b",
        "-fw_cfg name=opt/org.example/password,string=hunter2",
    ],
)
def test_a_secret_on_the_command_line_is_a_warning_and_is_not_repeated(option):
    (finding,) = found(RULES, f"{SNP} {option}", "SQ807")
    assert finding.severity is Severity.WARNING
    assert "hunter2" not in finding.found
    assert "hunter2" not in finding.part.label()
    assert "hunter2" not in finding.part.spelled


@pytest.mark.parametrize(
    "option",
    [
        "-object secret,id=k,file=/k",
        "-object secret,id=k,keyid=master,iv=x,data=y,format=base64",
        "-iscsi user=me,password-secret=k",
        "-vnc 127.0.0.1:0,password=on",
        "-vnc 127.0.0.1:0,password-secret=k",
        "-drive file=https://example.org/d@2.img",
        "-drive file=rbd:pool/image:id=me",
        "-append 'rd.luks.key=/keyfile password= quiet tokens=5'",
        "-fw_cfg name=opt/org.example/password,file=/p",
        "-smbios type=11,value=hello",
    ],
)
def test_what_only_points_at_a_secret_is_right(option):
    assert found(RULES, f"{SNP} {option}", "SQ807") == []


def test_a_credential_in_smbios_is_on_the_command_line_even_where_it_is_measured():
    assert what(f"{TDX} -smbios type=11,value=io.systemd.credential:a=b") == ["SQ807"]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("-blockdev driver=luks,node-name=l,file=f,key-secret=k", ["SQ808"]),
        ("-blockdev driver=qcow2,node-name=l,file=f,encrypt.format=luks,encrypt.key-secret=k", ["SQ808"]),
        (
            '-blockdev \'{"driver":"qcow2","node-name":"l","file":"f","encrypt":{"format":"luks"}}\'',
            ["SQ808"],
        ),
        ("-drive file=/d,encrypt.format=luks,encrypt.key-secret=k", ["SQ808"]),
        ("-drive file=/d,format=luks,key-secret=k", ["SQ808"]),
        ("-drive file=/d,format=qcow2", []),
    ],
)
def test_a_disk_that_the_host_decrypts_is_a_note(option, expected):
    assert what(f"{SNP} {option}") == expected


# SQ811, SQ812


def test_the_guest_agents_channel_is_a_note():
    text = f"{SNP} -chardev socket,id=c,path=/g,server=on -device virtserialport,chardev=c,name="
    assert what(text + "org.qemu.guest_agent.0") == ["SQ811"]
    assert what(text + "com.redhat.spice.0") == []


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (
            "-fsdev local,id=f,path=/srv,security_model=none -device virtio-9p-pci,fsdev=f,mount_tag=t",
            ["SQ812"],
        ),
        (
            "-fsdev local,id=f,path=/srv,security_model=none,readonly=on -device virtio-9p-pci,fsdev=f,mount_tag=t",
            [],
        ),
        ("-virtfs local,path=/srv,mount_tag=t,security_model=none", ["SQ812"]),
        ("-virtfs local,path=/srv,mount_tag=t,security_model=none,readonly=on", []),
        ("-device vhost-user-fs-pci,chardev=c,tag=t", ["SQ812"]),
    ],
)
def test_a_folder_of_the_host_that_the_guest_writes_is_a_note(option, expected):
    assert what(f"{SNP} {option}") == expected


def test_a_guest_whose_platform_is_not_known_is_judged_by_what_holds_for_all():
    text = SEV.replace("sev-guest", "other-guest") + " -vnc :0"
    assert case_of(text).limitation is None
    assert what(text) == []
