"""Types of events: their number → the TCG's name, and what it means.

Source: TCG PC Client Platform Firmware Profile 1.06, 10.4.1.
"""

from __future__ import annotations

from collections.abc import Mapping

NO_ACTION, SEPARATOR, ACTION, TAG, CONFIGURATION, IPL = 0x3, 0x4, 0x5, 0x6, 0xA, 0xD
POST_CODE, CRTM_VERSION = 0x1, 0x8
VARIABLE_CONFIGURATION, VARIABLE_BOOT, VARIABLE_BOOT_2, VARIABLE_AUTHORITY = (
    0x80000001,
    0x80000002,
    0x8000000C,
    0x800000E0,
)
APPLICATION, BOOT_DRIVER, RUNTIME_DRIVER = 0x80000003, 0x80000004, 0x80000005
GPT, EFI_ACTION = 0x80000006, 0x80000007
FIRMWARE, TABLES, FIRMWARE_2, TABLES_2 = 0x80000008, 0x80000009, 0x8000000A, 0x8000000B

TYPES: Mapping[int, tuple[str, str]] = {
    0x0: ("EV_PREBOOT_CERT", ""),
    POST_CODE: ("EV_POST_CODE", "code of the firmware, or tables that it made"),
    0x2: ("EV_UNUSED", ""),
    NO_ACTION: ("EV_NO_ACTION", "no measurement: it says something of the log"),
    SEPARATOR: ("EV_SEPARATOR", "the firmware's own part ends here"),
    ACTION: ("EV_ACTION", "something that was done"),
    TAG: ("EV_EVENT_TAG", "what software names with a number of its own"),
    0x7: ("EV_S_CRTM_CONTENTS", "the first code"),
    CRTM_VERSION: ("EV_S_CRTM_VERSION", "the first code's version"),
    0x9: ("EV_CPU_MICROCODE", "microcode"),
    CONFIGURATION: ("EV_PLATFORM_CONFIG_FLAGS", "what the host configured"),
    0xB: ("EV_TABLE_OF_DEVICES", "devices"),
    0xC: ("EV_COMPACT_HASH", "what the measuring software alone knows"),
    IPL: ("EV_IPL", "what a boot loader loaded or did"),
    0xE: ("EV_IPL_PARTITION_DATA", "partitions"),
    0xF: ("EV_NONHOST_CODE", "code that other processors run"),
    0x10: ("EV_NONHOST_CONFIG", "what other processors are configured with"),
    0x11: ("EV_NONHOST_INFO", "other processors"),
    0x12: ("EV_OMIT_BOOT_DEVICE_EVENTS", "the firmware measures no boot devices"),
    VARIABLE_CONFIGURATION: ("EV_EFI_VARIABLE_DRIVER_CONFIG", "a UEFI variable that configures the firmware"),
    VARIABLE_BOOT: ("EV_EFI_VARIABLE_BOOT", "a UEFI variable that says what to boot"),
    APPLICATION: ("EV_EFI_BOOT_SERVICES_APPLICATION", "a program that the firmware started"),
    BOOT_DRIVER: ("EV_EFI_BOOT_SERVICES_DRIVER", "a driver that the firmware started"),
    RUNTIME_DRIVER: ("EV_EFI_RUNTIME_SERVICES_DRIVER", "a driver that stays"),
    GPT: ("EV_EFI_GPT_EVENT", "the partition table of the boot disk"),
    EFI_ACTION: ("EV_EFI_ACTION", "something that the firmware did"),
    FIRMWARE: ("EV_EFI_PLATFORM_FIRMWARE_BLOB", "a part of the firmware"),
    TABLES: ("EV_EFI_HANDOFF_TABLES", "tables that the host hands over"),
    FIRMWARE_2: ("EV_EFI_PLATFORM_FIRMWARE_BLOB2", "a part of the firmware"),
    TABLES_2: ("EV_EFI_HANDOFF_TABLES2", "tables that the host hands over"),
    VARIABLE_BOOT_2: ("EV_EFI_VARIABLE_BOOT2", "a UEFI variable that says what to boot"),
    0x8000000D: ("EV_EFI_GPT_EVENT2", "the partition table of the boot disk"),
    0x80000010: ("EV_EFI_HCRTM_EVENT", "the first code, measured by hardware"),
    VARIABLE_AUTHORITY: ("EV_EFI_VARIABLE_AUTHORITY", "what vouched for a program that was started"),
    0x800000E1: ("EV_EFI_SPDM_FIRMWARE_BLOB", "a device's firmware"),
    0x800000E2: ("EV_EFI_SPDM_FIRMWARE_CONFIG", "a device's configuration"),
    0x800000E3: ("EV_EFI_SPDM_DEVICE_POLICY", "which devices are trusted"),
    0x800000E4: ("EV_EFI_SPDM_DEVICE_AUTHORITY", "what vouched for a device"),
}

TAGS: Mapping[int, str] = {
    0x8F3B22EC: "the initial RAM disk (Linux's EFI stub)",
    0x8F3B22ED: "the kernel's command line (Linux's EFI stub)",
    0xF5BC582A: "loader.conf (systemd-boot)",
    0x6C46F751: "a device tree (systemd-stub)",
    0x49DFFE0F: "an addition to the initial RAM disk (systemd-stub)",
    0xDAC08E1A: "microcode (systemd-stub)",
    0x13AED6DB: "the profile of the kernel image (systemd-stub)",
    0x4141454C: "an event of the attestation agent (confidential-containers)",
}
"""Numbers of tagged events (Linux drivers/firmware/efi/libstub/efistub.h; systemd src/fundamental/tpm2-pcr.h; AAEL)."""

NAMES_OF_REGISTERS: Mapping[int, str] = {0: "MRTD", 1: "RTMR0", 2: "RTMR1", 3: "RTMR2", 4: "RTMR3"}
"""Numbers of registers in the log of a TDX guest (UEFI 2.10, 38.4.1)."""


def name_of(number: int) -> str:
    """Return a type's name; its number where the TCG has none."""
    return TYPES[number][0] if number in TYPES else f"event type {number:#x}"
