"""From a guest to the pieces of its launch: what is started is what is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from ovmf_images import image

from sequester.errors import InputError
from sequester.formats.sources import from_argv, read
from sequester.measure.guests import pieces_of
from sequester.measure.methods import method
from sequester.measure.pieces import Pieces
from sequester.measure.tables import Matrix
from sequester.measuring import contributions, images_beside, measure, pieces_of_guest, references, search
from sequester.planning import make_plan
from sequester.platforms.registry import platforms, resolve
from sequester.record import replaced

SNP = "sev-snp-guest,id=s0,cbitpos=51,reduced-phys-bits=1"
ES = "sev-guest,id=s0,cbitpos=51,reduced-phys-bits=1,policy=5"


def pieces(options: str, limitation: str = SNP) -> Pieces:
    argv = (
        f"qemu-system-x86_64 -nodefaults -M q35,confidential-guest-support=s0 -object {limitation} {options}"
    )
    guest = from_argv(argv.split()).guest
    resolved = resolve(guest)
    assert resolved is not None
    return pieces_of(guest, resolved)


@pytest.mark.parametrize(
    ("smp", "vcpus"),
    [
        ("", 1),
        ("-smp 4", 4),
        ("-smp cpus=3,maxcpus=8", 3),
        ("-smp sockets=2,cores=3,threads=2", 12),
        ("-smp maxcpus=6", 6),
        ("-smp 2,maxcpus=4 -device EPYC-x86_64-cpu,socket-id=2,core-id=0,thread-id=0", 3),
    ],
)
def test_vcpus_are_those_that_exist_when_the_guest_starts(smp: str, vcpus: int) -> None:
    assert pieces(smp).vcpus == vcpus


@pytest.mark.parametrize(
    ("cpu", "signature"),
    [
        ("", 0x60FB1),
        ("-cpu EPYC-Milan-v2", 0xA00F11),
        ("-cpu EPYC-Milan,stepping=2,+pcid", 0xA00F12),
        ("-cpu EPYC-Genoa,family=26,stepping=1", 0xB10F11),
        ("-cpu host", None),
    ],
)
def test_the_signature_is_that_of_the_model_with_what_the_guest_changes(
    cpu: str, signature: int | None
) -> None:
    assert pieces(cpu).signature == signature


def test_a_processor_model_that_qemu_has_not_is_refused() -> None:
    with pytest.raises(InputError, match="no processor model 'EPYC-Venice'"):
        pieces("-cpu EPYC-Venice")


def test_a_number_that_is_none_is_refused_with_its_place() -> None:
    with pytest.raises(InputError, match="is no number") as error:
        pieces("-smp four")
    assert error.value.where


def test_a_kernel_is_measured_only_with_kernel_hashes_and_the_pieces_say_so() -> None:
    off = pieces("-kernel k -initrd i -append quiet")
    on = pieces("-kernel k -initrd i -append quiet", f"{SNP},kernel-hashes=on")
    assert (on.kernel, on.initrd, on.append, on.measured_kernel) == ("k", "i", "quiet", True)
    assert not off.measured_kernel
    assert "kernel-hashes is off" in off.notes[0]
    assert not on.notes


@pytest.mark.parametrize(
    ("said", "new"), [("", False), (",legacy-vm-type=on", False), (",legacy-vm-type=off", True)]
)
def test_the_vm_type_of_sev_es_is_the_old_one_unless_the_guest_says_otherwise(said: str, new: bool) -> None:
    made = pieces("", ES + said)
    assert made.platform == "sev-es"
    assert made.new_vm_type is new
    assert bool(made.notes) is (said == "")


def test_the_firmware_is_the_image_that_the_processor_starts_in() -> None:
    assert pieces("-bios rom.fd").firmware == "rom.fd"
    flash = "-drive if=pflash,file=code.fd,readonly=on -drive if=pflash,file=vars.fd"
    assert pieces(flash, ES).firmware == "code.fd"


def test_libvirt_s_host_model_is_unknown_until_it_is_started() -> None:
    domain = """<domain type='kvm'><name>g</name><memory>1048576</memory><vcpu>2</vcpu>{cpu}
    <os><type arch='x86_64' machine='q35'>hvm</type></os>
    <launchSecurity type='sev-snp'><policy>0x30000</policy></launchSecurity></domain>"""
    known = {"": 0x60FB1, "<cpu mode='host-model'/>": None, "<cpu mode='host-passthrough'/>": None}
    for cpu, signature in known.items():
        guest = read(domain.format(cpu=cpu).encode(), "g.xml").guest
        resolved = resolve(guest)
        assert resolved is not None
        assert pieces_of(guest, resolved).signature == signature
        assert pieces_of(guest, resolved).vcpus == 2


def test_a_guest_and_its_pieces_have_the_same_measurement(tmp_path: Path) -> None:
    firmware, kernel = tmp_path / "OVMF.fd", tmp_path / "vmlinuz"
    firmware.write_bytes(image())
    kernel.write_bytes(b"kernel")
    argv = (
        f"qemu-system-x86_64 -M q35,confidential-guest-support=s0 -object {SNP},kernel-hashes=on -smp 3 -cpu EPYC-v4"
        f" -bios {firmware} -kernel {kernel} -append quiet"
    )
    from_guest = pieces_of_guest(from_argv(argv.split()))
    plain = Pieces("sev-snp", str(firmware), vcpus=3, signature=0x800F12, kernel=str(kernel), append="quiet")
    document = from_argv(argv.split())
    digests = {measure(of).digest for of in (document, make_plan(document), from_guest, plain)}
    assert len(digests) == 1
    (digest,) = digests
    assert list(contributions(document))[-1].running == digest
    found = search(measure(replaced(plain, vcpus=5)).digest, document)
    assert found is not None
    assert found.differences == ("5 vCPUs instead of 3",)
    assert [each.value for each in references(Matrix(plain))] == [digest]


@pytest.mark.parametrize(
    ("platform", "missing", "said"),
    [
        ("sev", {"firmware": ""}, "no firmware image"),
        ("sev-es", {"vcpus": None}, "number of vCPUs"),
        ("sev-snp", {"signature": None}, "type of the vCPUs"),
        ("sev-snp", {"svsm": "svsm.bin"}, "size of the variable store"),
        ("sev-snp", {"svsm": "svsm.bin", "kernel": "k"}, "kernel is not measured under an SVSM"),
        ("sev-snp", {"kernel": "", "initrd": "i"}, "with a kernel only"),
        ("pef", {}, "no kernel is named"),
    ],
)
def test_what_is_missing_is_asked_for_by_name(
    tmp_path: Path, platform: str, missing: dict[str, object], said: str
) -> None:
    firmware = tmp_path / "OVMF.fd"
    firmware.write_bytes(image())
    whole: dict[str, object] = {"firmware": str(firmware), "vcpus": 1, "signature": 1}
    with pytest.raises(InputError, match=said):
        method(platform).launch(Pieces(platform, **{**whole, **missing}))  # type: ignore[arg-type]


def test_guest_features_of_snp_are_no_sev_es_guest_s(tmp_path: Path) -> None:
    firmware = tmp_path / "OVMF.fd"
    firmware.write_bytes(image())
    digests = {}
    for features in (None, 0x21, 0x20):
        made = Pieces("sev-es", str(firmware), vcpus=1, signature=1, features=features)
        digests[features] = method("sev-es").launch(made).measure()
    assert digests[None].digest == digests[0x21].digest != digests[0x20].digest
    assert "0x21 are SEV-SNP's" in digests[0x21].notes[0]


def test_images_beside_another_are_those_that_look_like_firmware(tmp_path: Path) -> None:
    for name in ("a.fd", "b.fd", "c.txt", "d.bin"):
        (tmp_path / name).touch()
    assert [Path(path).name for path in images_beside(str(tmp_path / "a.fd"))] == ["b.fd", "d.bin"]
    assert images_beside(str(tmp_path / "absent" / "a.fd")) == ()


def test_a_tdx_guest_brings_its_memory_and_its_owner_s_fields() -> None:
    owner = "QUJD" * 16
    argv = (
        "qemu-system-x86_64 -M q35,confidential-guest-support=t0,kernel-irqchip=split -m 4G -cpu host"
        f" -object tdx-guest,id=t0,mrowner={owner} -bios TDVF.fd"
    )
    made = pieces_of_guest(from_argv(argv.split()))
    assert (made.platform, made.memory, made.firmware) == ("tdx", 4 << 30, "TDVF.fd")
    assert made.properties["mrowner"] == b"ABC" * 16


def test_every_platform_names_the_module_that_is_called_as_it_is() -> None:
    for platform in platforms():
        own = f"sequester.measure.methods.{platform.name.replace('-', '_')}"
        assert platform.measurement in ("", own)
