"""The tables of firmware statuses: complete, and decoded as the manuals have them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sequester.faults.errno_names import ERRNO, errno_text
from sequester.platforms.s390_pv_status_faults import ultravisor_status
from sequester.platforms.sev_status_faults import FIRMWARE, firmware_status
from sequester.platforms.tdx_status_faults import (
    DCAP,
    LEAVES,
    OPERANDS,
    SEAMCALL,
    dcap_status,
    seamcall_status,
)

HEADER = Path("/usr/include/linux/psp-sev.h")


def test_every_status_of_the_sev_firmware_api_is_in_the_table() -> None:
    assert set(range(-1, 0x1E)) <= set(FIRMWARE)
    assert set(range(0x1F, 0x29)) <= set(FIRMWARE)
    assert set(range(0x30, 0x40)) - set(FIRMWARE) == {0x34}
    assert 0x1E not in FIRMWARE


def test_the_names_are_those_of_the_kernels_header() -> None:
    if not HEADER.exists():
        pytest.skip("no Linux headers here (linux-libc-dev)")
    found = re.findall(r"SEV_RET_(\w+)\s*=\s*(-?\w+),", HEADER.read_text(encoding="utf-8"))
    names = {int(value, 0): name for name, value in found if value.lstrip("-")[0].isdigit()}
    if not names:
        pytest.skip("these headers number the statuses by position")
    spelt = {"INAVLID_CONFIG": "INVALID_CONFIG", "HWSEV_RET_PLATFORM": "HWERROR_PLATFORM"}
    spelt |= {"HWSEV_RET_UNSAFE": "HWERROR_UNSAFE"}
    ours = {code: status.name for code, status in FIRMWARE.items() if code in names}
    theirs = {code: spelt.get(name, name).removeprefix("SEV_STATUS_") for code, name in names.items()}
    assert ours == theirs


def test_every_status_a_user_can_mend_says_how() -> None:
    for code in (0x01, 0x03, 0x06, 0x07, 0x0A, 0x0B, 0x0D, 0x11, 0x13, 0x16, 0x17, 0x20, 0x26):
        assert FIRMWARE[code].step, hex(code)
    assert all(status.cause for status in FIRMWARE.values())


def test_a_status_is_read_in_decimal_and_hexadecimal() -> None:
    assert firmware_status({"fw_error": "11"})["fw_error"] == "11 (0xb) BAD_MEASUREMENT"
    assert firmware_status({"fw_error": "0xb"})["fw_error"] == "11 (0xb) BAD_MEASUREMENT"
    assert firmware_status({"fw_error": "38"})["fw_error"] == "38 (0x26) RMP_INITIALIZATION_FAILED"


def test_a_status_that_is_none_names_the_kernel_as_the_one_that_refused() -> None:
    for none in ("0", "-1"):
        found = firmware_status({"ret": "-22", "fw_error": none})
        assert (
            found["_verdict"] == "the kernel refused, -22 EINVAL: the kernel does not take one of the values"
        )


def test_a_status_above_the_api_is_the_secure_processors_own() -> None:
    found = firmware_status({"fw_error": "0x8004"})
    assert "below the SEV API" in found["fw_error"]
    assert "update the BIOS" in found["_step"]


def test_an_unknown_status_is_called_unknown() -> None:
    found = firmware_status({"fw_error": "200"})
    assert found["fw_error"] == "200 (0xc8) not in the vendor's tables"
    assert "56860" in found["_step"]


def test_error_numbers_have_names_and_unknown_ones_only_their_number() -> None:
    assert errno_text(-25).startswith("-25 ENOTTY: ")
    assert errno_text(25).startswith("25 ENOTTY: ")
    assert errno_text(-999) == "-999"
    assert all(number > 0 for number in ERRNO)


KERNEL_CONSTANTS = """
0x4000000100000000 0x4000000200000000 0x6000000500000000 0x6000000700000000 0x8000000300000000 0x8000020200000000
0xC000010000000000 0x8000020000000000 0x8000020100000000 0xC000030000000000 0x8000070200000000 0x8000080000000000
0xC000081100000000 0x0000081500000000 0x0000082100000000 0x8000082400000000 0xC0000B0000000000 0xC0000B0D00000000
0xC0000C0200000000 0x8000020300000000
"""


def test_every_status_that_the_kernel_knows_by_name_is_in_the_table() -> None:
    # Linux 7.2 arch/x86/include/asm/shared/tdx_errno.h, and TDX_RND_NO_ENTROPY of arch/x86/include/asm/tdx.h.
    assert {int(word, 16) >> 32 for word in KERNEL_CONSTANTS.split()} - set(SEAMCALL) == set()
    assert {0x01, 0x80, 0x92, 0xA9} <= set(OPERANDS)
    assert {9, 21, 33, 34, 45} <= set(LEAVES)


def test_a_seamcall_status_is_split_into_name_and_operand() -> None:
    found = seamcall_status({"hw_error": "0xc000010000000045", "leaf": "0x0000000000000015"})
    assert found["hw_error"] == "0xc000010000000045 TDX_OPERAND_INVALID"
    assert found["operand"] == "CPUID_CONFIG"
    assert found["leaf"] == "TDH.MNG.INIT (21)"


def test_an_informational_status_has_no_operand() -> None:
    assert "operand" not in seamcall_status({"hw_error": "0x0000081500000001"})


def test_a_status_that_nobody_listed_is_shown_by_number() -> None:
    found = seamcall_status({"hw_error": "0xc000fff000000000"})
    assert found["hw_error"] == "0xc000fff000000000 not in the vendor's tables"


def test_a_call_that_the_module_never_saw_says_so() -> None:
    assert "was not asked" in seamcall_status({"hw_error": "0x0", "why": "Invalid argument"})["_module"]
    assert seamcall_status({"why": ""})["_module"] == ""


def test_the_untrusted_certificate_of_the_cache_is_named_and_mended() -> None:
    found = dcap_status({"dcap": "0xb033"})
    assert found["dcap"] == "0xb033 QCNL_ROOT_CA_UNTRUSTED"
    assert "use_secure_cert" in found["_step"]
    assert {code >> 8 for code in DCAP} == {0xB0, 0xE0}


def test_the_ultravisors_refusal_of_a_foreign_image_is_named_with_its_reason() -> None:
    found = ultravisor_status({"command": "KVM_PV_SET_SEC_PARMS", "rc": "108", "rrc": "5", "ioctl": "-22"})
    assert found["rc"] == "0x0108 host key"
    assert "not that of the installed key bundle" in found["_cause"]
    assert found["ioctl"].startswith("-22 EINVAL")


def test_the_same_code_of_another_command_is_not_mistaken_for_it() -> None:
    found = ultravisor_status({"command": "KVM_PV_ENABLE", "rc": "108", "rrc": "5"})
    assert found["rc"] == "0x0108"
    assert "no public table" in found["_cause"]


def test_the_bit_for_destroy_afterwards_does_not_hide_a_code() -> None:
    assert (
        ultravisor_status({"command": "KVM_PV_SET_SEC_PARMS", "rc": "8108", "rrc": "5"})["rc"]
        == "0x8108 host key"
    )


def test_a_refusal_before_the_ultravisor_is_the_kernels() -> None:
    assert (
        "the kernel refused"
        in ultravisor_status({"command": "KVM_PV_ENABLE", "rc": "0", "rrc": "0"})["_cause"]
    )
