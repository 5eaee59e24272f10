"""MRTD and the run-time registers: by the specification, and beside the event logs of real guests."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import uuid
from pathlib import Path
from typing import Any

import pytest
from measure_data import DATA, real_images
from tdvf_images import KEYS, SECTIONS, SIZE, VARIABLES, store, tdvf

from sequester.errors import InputError
from sequester.measure import td_hob, tdx_events
from sequester.measure.authenticode import image_digest
from sequester.measure.ovmf_ways import Ways, read_ways
from sequester.measure.tdvf_image import read_tdvf_image
from sequester.measure.tdx import Kernel, TdxLaunch
from sequester.measure.tdx_events import AcpiTables
from sequester.measure.tdx_guesses import nearest
from sequester.measure.uefi import GLOBAL, IMAGE_SECURITY, Variable, boot_option, load_options, read_store
from sequester.record import replaced

GIB = 1 << 30
FIRMWARE = read_tdvf_image(tdvf(), "TDVF.fd")
NEW = Ways(True, True, False, (b"menu", b"setup"))
OLD = Ways(False, False, False, (b"ui",))
ACPI = AcpiTables(b"loader", b"rsdp", b"tables")
KERNEL = Kernel(bytes(range(48)), hashlib.sha384(b"initrd").digest(), "console=hvc0")
WHOLE = TdxLaunch(FIRMWARE, 2 * GIB, ACPI, KERNEL, NEW)


def sha384(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()


def values(launch: TdxLaunch) -> dict[str, bytes | None]:
    return {register.name: register.value for register in launch.measure().registers}


def by_the_specification(data: bytes, pages_first: bool = False) -> bytes:
    """MRTD, written down anew from the specification's text: slowly, a block at a time."""

    def block(name: bytes, address: int) -> bytes:
        made = bytearray(128)
        made[: len(name)] = name
        made[16:24] = address.to_bytes(8, "little")
        return bytes(made)

    fed = b""
    for offset, _, address, size, _, attributes in SECTIONS:
        adds, extends = [], []
        for page in range(0, size, 4096):
            adds.append(block(b"MEM.PAGE.ADD", address + page))
            measured = b""
            for chunk in range(page, page + 4096, 256) if attributes & 1 else ():
                measured += block(b"MR.EXTEND", address + chunk)
                measured += data[offset + chunk : offset + chunk + 256]
            extends.append(measured)
        if pages_first:
            fed += b"".join(adds) + b"".join(extends)
        else:
            fed += b"".join(add + measured for add, measured in zip(adds, extends, strict=True))
    return sha384(fed)


def test_mrtd_is_what_the_specification_says_for_pages_that_are_added_and_extended() -> None:
    launch = TdxLaunch(FIRMWARE)
    assert launch.measure().digest == by_the_specification(FIRMWARE.data)
    assert replaced(launch, pages_first=True).measure().digest == by_the_specification(FIRMWARE.data, True)


def test_mrtd_depends_on_what_is_measured_and_on_where_it_is_but_not_on_the_variables() -> None:
    def mrtd(data: bytes) -> bytes:
        return TdxLaunch(read_tdvf_image(data, "")).measure().digest

    own = mrtd(FIRMWARE.data)
    assert mrtd(tdvf(fill=b"\xf5")) != own
    assert mrtd(tdvf((*SECTIONS[:-1], (0, 0, 0x800000, 0x5000, 3, 0)))) != own
    assert mrtd(tdvf((SECTIONS[0], *SECTIONS[:0:-1]))) != own
    assert mrtd(tdvf(configuration=store(KEYS))) == own


def test_contents_that_qemu_makes_are_measured_where_the_metadata_asks_for_it() -> None:
    def with_attribute(number: int) -> TdxLaunch:
        changed = [(*each[:5], 1) if at == number else each for at, each in enumerate(SECTIONS)]
        return TdxLaunch(read_tdvf_image(tdvf(changed), ""), GIB)

    hob, temporary = 4, 2
    steps = list(with_attribute(hob).build())
    assert steps[hob].contents == sha384(with_attribute(hob).hobs().ljust(0x2000, b"\0"))
    assert list(with_attribute(temporary).build())[temporary].contents == sha384(bytes(0x10000))
    with pytest.raises(InputError, match="memory is not known"):
        replaced(with_attribute(hob), memory=None).measure()
    assert (
        values(replaced(with_attribute(hob), memory=2 * GIB))["MRTD"] != values(with_attribute(hob))["MRTD"]
    )


@pytest.fixture(scope="session")
def log_of_kernel() -> list[dict[str, Any]]:
    """The events of a real guest with 2 GiB that was started with -kernel."""
    return read_log("CCEL_data_ovmf_out.json")


@pytest.fixture(scope="session")
def log_of_disk() -> list[dict[str, Any]]:
    """The events of a real guest with 10 GiB and Secure Boot that was started from a disk."""
    return read_log("CCEL_data_grub_out.json")


def read_log(name: str) -> list[dict[str, Any]]:
    try:
        document = json.loads((DATA / "tdx" / name).read_text(encoding="utf-8"))
    except OSError:
        pytest.skip("no third-party data here (../shared/data/tdx)")
    events: list[dict[str, Any]] = document["uefi_event_logs"]
    return events


def digest(event: dict[str, Any]) -> str:
    said: str = event["digests"][0]["digest"]
    return said


def test_the_hand_off_blocks_are_those_that_real_guests_measured(
    log_of_kernel: list[dict[str, Any]], log_of_disk: list[dict[str, Any]]
) -> None:
    for gib, log in ((2, log_of_kernel), (10, log_of_disk)):
        hobs = TdxLaunch(FIRMWARE, gib * GIB).hobs()
        assert sha384(td_hob.measured(hobs)).hex() == digest(log[0])


def test_every_event_of_a_real_start_with_a_kernel_is_made_as_it_was_logged(
    log_of_kernel: list[dict[str, Any]],
) -> None:
    logged = {number: digest(event) for number, event in enumerate(log_of_kernel)}
    made = [event.digest.hex() for event in tdx_events.of_secure_boot((), supported=False)]
    assert made == [logged[number] for number in range(2, 8)]
    ui = boot_option(
        0x109,
        "UiApp",
        uuid.UUID("7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1"),
        uuid.UUID("462caa21-7614-4503-836e-8ab6f4662331"),
    )
    made = [event.digest.hex() for event in tdx_events.of_boot_options((ui,))]
    assert made == [logged[12], logged[13]]
    made = [event.digest.hex() for event in tdx_events.of_kernel(bytes.fromhex(logged[11]))]
    assert made == [logged[11], logged[14], logged[15], logged[18], logged[19]]


def test_variables_of_secure_boot_are_measured_as_a_real_guest_s_were(
    log_of_disk: list[dict[str, Any]],
) -> None:
    variables = []
    for event in log_of_disk[3:7]:
        details = event["details"]
        vendor = IMAGE_SECURITY if details["unicode_name"].startswith("db") else GLOBAL
        data = base64.b64decode(details["variable_data"])
        variables.append(Variable(vendor, details["unicode_name"], data))
    made = [event.digest.hex() for event in tdx_events.of_secure_boot(tuple(variables), supported=True)]
    assert made == [digest(event) for event in log_of_disk[2:8]]


def test_the_configuration_volume_of_debian_is_the_one_that_a_real_guest_measured(
    log_of_kernel: list[dict[str, Any]],
) -> None:
    found = [path for path in real_images() if path.name == "OVMF.fd"]
    images = []
    for path in found:
        try:
            images.append(read_tdvf_image(path.read_bytes(), str(path)))
        except InputError:
            continue
    if not images:
        pytest.skip("no TDVF here; tools/real-tools fetches Debian's")
    assert digest(log_of_kernel[1]) in {sha384(image.configuration or b"").hex() for image in images}


def test_a_log_that_is_replayed_gives_the_registers() -> None:
    events = [event for event in WHOLE.events() if isinstance(event, tdx_events.Event)]
    registers = tdx_events.replay(events)
    assert {name: values(WHOLE)[name] for name in registers} == registers
    assert registers["RTMR3"] == bytes(48)
    expected = bytes(48)
    for each in (sha384(load_options("initrd=initrd console=hvc0")), sha384(b"initrd")):
        expected = sha384(expected + each)
    assert registers["RTMR2"] == expected


def test_contributions_end_in_the_registers_values() -> None:
    last = {step.register: step.running for step in WHOLE.contributions()}
    assert last == {name: values(WHOLE)[name] for name in ("MRTD", "RTMR0", "RTMR1", "RTMR2")}


@pytest.mark.parametrize(
    ("changes", "unknown", "why"),
    [
        ({"memory": None}, {"RTMR0"}, "size of the guest's memory"),
        ({"acpi": None}, {"RTMR0"}, "ACPI tables"),
        ({"kernel": None}, {"RTMR0", "RTMR1", "RTMR2"}, "boots from a disk"),
        ({"ways": None}, {"RTMR0", "RTMR1", "RTMR2"}, "drivers cannot be unpacked"),
        ({"ways": OLD}, {"RTMR1"}, "header that QEMU fills in"),
        ({"kernel": Kernel(bytes(48))}, {"RTMR2"}, "empty command line"),
    ],
)
def test_what_cannot_be_known_is_said_with_its_reason(
    changes: dict[str, Any], unknown: set[str], why: str
) -> None:
    measurement = replaced(WHOLE, **changes).measure()
    missing = {
        register.name: register.unknown for register in measurement.registers if register.value is None
    }
    assert set(missing) == unknown
    assert any(why in said for said in missing.values())


def test_secure_boot_leaves_open_which_certificate_vouches_for_a_kernel() -> None:
    enforcing = read_tdvf_image(tdvf(configuration=store(KEYS)), "")
    (rtmr0,) = (
        each for each in replaced(WHOLE, firmware=enforcing).measure().registers if each.name == "RTMR0"
    )
    assert rtmr0.value is None
    assert "certificate" in rtmr0.unknown


def test_a_store_gives_the_variables_that_are_there() -> None:
    volume = store({**KEYS, "odd": (GLOBAL, b"x" * 5)})
    assert [(each.name, each.data) for each in read_store(volume)] == [
        ("PK", b"platform"),
        ("KEK", b"exchange"),
        ("db", b"allowed"),
        ("odd", b"xxxxx"),
    ]
    assert read_store(store(KEYS, state=0x3C)) == ()
    for broken in (b"", bytes(40), bytes(VARIABLES), volume[:90], volume[:150]):
        assert len(read_store(broken)) <= 1


def test_the_owner_s_fields_are_what_the_guest_says() -> None:
    owners = (b"c" * 48, b"o" * 48, b"p" * 48)
    found = values(replaced(WHOLE, owners=owners))
    assert (found["MRCONFIGID"], found["MROWNER"], found["MROWNERCONFIG"]) == owners
    with pytest.raises(InputError, match="MROWNER has 48 bytes, not 3"):
        replaced(WHOLE, owners=(bytes(48), b"abc", bytes(48)))


def test_memory_lies_below_and_above_4_gib_as_q35_has_it() -> None:
    assert td_hob.ram(GIB) == (td_hob.Range(0, GIB),)
    assert td_hob.ram(0xB000_0000 - 4096) == (td_hob.Range(0, 0xB000_0000 - 4096),)
    assert td_hob.ram(3 * GIB) == (td_hob.Range(0, 2 * GIB), td_hob.Range(4 * GIB, GIB))
    with pytest.raises(InputError, match="wants memory at 0x800000"):
        replaced(WHOLE, memory=4 << 20).measure()


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (replaced(WHOLE, pages_first=True).measure().digest, "added before they are measured"),
        (values(replaced(WHOLE, memory=3 * GIB))["RTMR0"], "3072 MiB of memory"),
        (values(WHOLE)["RTMR1"], "it is RTMR1"),
        (values(replaced(WHOLE, kernel=replaced(KERNEL, initrd=None)))["RTMR2"], "no initrd"),
        (
            values(replaced(WHOLE, kernel=replaced(KERNEL, command_line="console=hvc0\n")))["RTMR2"],
            "a newline more",
        ),
        (TdxLaunch(read_tdvf_image(tdvf(fill=b"\xf5"), "")).measure().digest, "firmware other.fd instead of"),
    ],
)
def test_a_register_s_value_is_traced_to_the_mistake(seen: bytes, said: str) -> None:
    other = read_tdvf_image(tdvf(fill=b"\xf5"), "other.fd")
    found = nearest(seen, WHOLE, (other,))
    assert found is not None
    assert said in " ".join(found.differences)


def test_the_launch_itself_differs_in_nothing_and_another_value_is_not_found() -> None:
    found = nearest(WHOLE.measure().digest, WHOLE, ())
    assert found is not None
    assert found.differences == ()
    assert nearest(bytes(range(48)), WHOLE, ()) is None


def pe(sections: int = 2, certificates: bytes = b"", trailing: bytes = b"") -> bytes:
    """A PE32+ image of a header page and pages of letters."""
    start = 0x200
    data = b"".join(bytes([65 + number % 26]) * 0x200 for number in range(sections)) + trailing
    optional = bytearray(240)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<I", optional, 60, start)
    struct.pack_into("<I", optional, 64, 0xDEADBEEF)
    struct.pack_into("<I", optional, 108, 16)
    struct.pack_into("<II", optional, 112 + 32, start + len(data) if certificates else 0, len(certificates))
    table = b"".join(
        struct.pack("<8sIIIIIIHHI", b".text", 0x200, 0x1000 * n, 0x200, start + 0x200 * n, 0, 0, 0, 0, 0)
        for n in reversed(range(sections))
    )
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, sections, 0, 0, 0, 240, 0)
    header = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + coff + bytes(optional) + table
    return header.ljust(start, b"\0") + data + certificates


def test_an_image_s_digest_leaves_out_its_checksum_and_its_signatures() -> None:
    bare = image_digest(pe())
    signed = pe(certificates=b"s" * 64)
    other = pe(certificates=b"t" * 64)
    assert image_digest(signed) == image_digest(other)
    assert image_digest(signed) == bare
    changed = bytearray(pe())
    changed[0x40 + 24 + 64] ^= 1
    assert image_digest(bytes(changed)) == bare
    changed[0x210] ^= 1
    assert image_digest(bytes(changed)) != bare
    assert image_digest(pe(trailing=b"more")) != bare


@pytest.mark.parametrize(
    "image",
    [b"", b"MZ", b"ELF" * 100, pe()[:0x200], pe(sections=200), pe()[:0x3F], b"MZ".ljust(0x40, b"\xff")],
)
def test_what_is_no_executable_is_refused_by_name(image: bytes) -> None:
    with pytest.raises(InputError, match="no executable") as error:
        image_digest(image, "vmlinuz")
    assert error.value.where == "vmlinuz"


def test_the_digest_of_a_signed_kernel_is_the_one_that_was_signed() -> None:
    kernels = sorted(Path.home().glob(".cache/sequester/guest/x86_64/*/kernel"))
    if not kernels:
        pytest.skip("no signed kernel here; `make run` fetches Debian's")
    for path in kernels:
        data = path.read_bytes()
        signed_at = struct.unpack_from("<I", data, struct.unpack_from("<I", data, 0x3C)[0] + 24 + 112 + 32)[0]
        assert image_digest(data, str(path), hashlib.sha256) in data[signed_at:]


def test_what_real_builds_do_with_a_kernel_is_read_from_their_drivers(ovmfs: tuple[Path, ...]) -> None:
    found = [ways for path in ovmfs if (ways := read_ways(path.read_bytes())) is not None]
    assert found, "none of the real images could be unpacked"
    for ways in found:
        assert len(ways.options) in (1, 2)
        assert ways.command_line("quiet", initrd=False) == "quiet"
        assert ways.command_line("quiet", True) in ("initrd=initrd quiet", "quiet initrd=initrd")


def test_images_that_are_no_tdvf_are_refused() -> None:
    twice = [*SECTIONS, (0, 0, 0x809000, 0x1000, 3, 0)]
    huge = [*SECTIONS, (0, 0, 0x1000_0000, 0x2000_0000, 3, 0)]
    beyond = [(VARIABLES, SIZE, 0xFF00_0000, SIZE, 0, 1), *SECTIONS[1:]]
    for data, what in (
        (b"", "no TDX metadata"),
        (bytes(SIZE), "no TDX metadata"),
        (tdvf(SECTIONS[1:]), "no firmware volume"),
        (tdvf([each for each in SECTIONS if each[4] != 2]), "no place for hand-off blocks"),
        (tdvf(twice), "twice"),
        (tdvf(huge), "more memory"),
        (tdvf(beyond), "half of a split one"),
    ):
        with pytest.raises(InputError, match=what) as error:
            read_tdvf_image(data, "bad.fd")
        assert error.value.where == "bad.fd"


def test_a_compressed_bomb_is_not_unpacked_without_end() -> None:
    import lzma

    packed = lzma.compress(bytes(100 << 20), format=lzma.FORMAT_ALONE, preset=1)
    guid = bytes.fromhex("98584eee143959429d6edc7bd79403cf")
    section = (24 + len(packed)).to_bytes(3, "little") + b"\x02" + guid + struct.pack("<HH", 24, 1) + packed
    assert read_ways(b"\0" * 64 + section * 20) is None
