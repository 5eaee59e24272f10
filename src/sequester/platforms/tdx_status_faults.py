"""The statuses of the TDX module (SEAMCALL, in RAX; QEMU's ``hw_errors``) and of Intel's quoting software (DCAP).

A SEAMCALL status is 64 bits: the upper 32 say what happened (bit 63 error, bit 62 not recoverable), the lower 32
which operand, or a detail. Names: TDX module 1.5 ABI, error code table (include/auto_gen/tdx_error_codes_defs.h);
Linux 7.2 arch/x86/include/asm/shared/tdx_errno.h. DCAP: sgx_ql_lib_common.h and sgx_default_qcnl_wrapper.h of
DCAP 1.23.
"""

from __future__ import annotations

from collections.abc import Mapping

from sequester.faults.status import Status, named, number

_MODULE = (
    "update the TDX module, which comes with the BIOS or as /boot/efi/EFI/TDX/TDX-SEAM.so*; and the BIOS"
)
_BIOS = "update the BIOS; BIOS setup: TME, TME-MT, TDX, SEAM loader enabled, key split at least 1"
_AGAIN = "it passes: try again"
_KERNEL = "update the host's kernel; with a released one this is a bug worth reporting"

SEAMCALL: Mapping[int, Status] = {
    0x00000000: Status("SUCCESS", "the module was not asked, or agreed: the kernel refused"),
    0x00000815: Status("KEY_CONFIGURED", "the key is set already; no error"),
    0x00000821: Status("NO_HKID_READY_TO_WBCACHE", "nothing to flush; no error"),
    0x40000001: Status("NON_RECOVERABLE_VCPU", "this vCPU is dead", "start the guest anew"),
    0x40000002: Status("NON_RECOVERABLE_TD", "the guest is dead", "start it anew; see its console"),
    0x60000002: Status("NON_RECOVERABLE_TD", "the guest is dead", "start it anew; see its console"),
    0x60000005: Status(
        "NON_RECOVERABLE_TD_NON_ACCESSIBLE", "the guest's memory is lost", "see dmesg for memory errors"
    ),
    0x60000007: Status(
        "NON_RECOVERABLE_TD_WRONG_APIC_MODE", "the guest left x2APIC mode", "guest: no nox2apic, no noapic"
    ),
    0x6000000A: Status(
        "NON_RECOVERABLE_TD_CORRUPTED_MD", "the guest's metadata are damaged", "see dmesg for memory errors"
    ),
    0x80000003: Status("INTERRUPTED_RESUMABLE", "it was interrupted", _AGAIN),
    0x80000004: Status("INTERRUPTED_RESTARTABLE", "it was interrupted", _AGAIN),
    0x80000200: Status("OPERAND_BUSY", "another CPU holds the operand", _AGAIN),
    0x80000201: Status("PREVIOUS_TLB_EPOCH_BUSY", "a CPU still runs with old translations", _AGAIN),
    0x80000202: Status("SYS_BUSY", "the module is busy", _AGAIN),
    0x80000203: Status(
        "RND_NO_ENTROPY",
        "the CPU had no random number at hand",
        "try again; something drains RDSEED on this host",
    ),
    0x80000204: Status("OPERAND_BUSY_HOST_PRIORITY", "the guest holds the operand", _AGAIN),
    0x80000701: Status("VCPU_ASSOCIATED", "the vCPU belongs to another CPU", _KERNEL),
    0x80000702: Status("VCPU_NOT_ASSOCIATED", "the vCPU belongs to no CPU", _KERNEL),
    0x80000800: Status("KEY_GENERATION_FAILED", "the CPU had no random number for a key", _AGAIN),
    0x80000810: Status(
        "TD_KEYS_NOT_CONFIGURED",
        "the guest's key is not set on every socket",
        "put a CPU of each socket online",
    ),
    0x80000817: Status("WBCACHE_NOT_COMPLETE", "caches are being flushed", _AGAIN),
    0x80000824: Status("FLUSHVP_NOT_DONE", "a vCPU was not flushed", _KERNEL),
    0x90000205: Status("HOST_PRIORITY_BUSY_TIMEOUT", "the guest did not let go in time", _AGAIN),
    0xC0000006: Status("INVALID_RESUMPTION", "a call was resumed that was not interrupted", _KERNEL),
    0xC0000100: Status(
        "OPERAND_INVALID",
        "an operand is not allowed: of TDH.MNG.INIT it is attributes, XFAM or a CPUID value",
        _MODULE,
    ),
    0xC0000101: Status("OPERAND_ADDR_RANGE_ERROR", "an address is outside of usable memory", _KERNEL),
    0xC0000300: Status("PAGE_METADATA_INCORRECT", "a page has another owner or state than assumed", _KERNEL),
    0xC0000302: Status("PAGE_NOT_OWNED_BY_TD", "a page belongs to another guest", _KERNEL),
    0xC0000303: Status("PAGE_NOT_FREE", "a page is in use", _KERNEL),
    0xC0000400: Status("TD_ASSOCIATED_PAGES_EXIST", "the guest still has pages", _KERNEL),
    0xC0000500: Status(
        "SYS_INIT_NOT_PENDING",
        "the module was set up before",
        "reboot: after kexec it cannot be set up again",
    ),
    0xC0000502: Status("SYS_LP_INIT_NOT_DONE", "a CPU was not set up", "put all CPUs online; reboot"),
    0xC0000505: Status(
        "SYS_NOT_READY",
        "the module does not know the question, or is not set up: a module of version 1.0 with a kernel "
        "that wants 1.5",
        _MODULE,
    ),
    0xC0000506: Status("SYS_SHUTDOWN", "the module was shut down", "reboot"),
    0xC0000507: Status("SYS_KEY_CONFIG_NOT_PENDING", "the global key was set before", "reboot"),
    0xC0000508: Status("SYS_STATE_INCORRECT", "the module is in another state", "reboot"),
    0xC0000509: Status(
        "SYS_INVALID_HANDOFF",
        "data of the module before it do not fit",
        "reboot instead of updating it at run time",
    ),
    0xC000050D: Status("INCOMPATIBLE_SEAM_CAPABILITIES", "the CPUs differ in what they can do", _BIOS),
    0xC0000604: Status("TD_FATAL", "the guest is dead", "start it anew"),
    0xE0000604: Status("TD_FATAL", "the guest is dead", "start it anew"),
    0xC0000605: Status(
        "TD_NON_DEBUG", "the guest does not allow to be debugged", "expected; drop what wants to debug it"
    ),
    0xC0000607: Status("LIFECYCLE_STATE_INCORRECT", "the guest is in another state of its life", _KERNEL),
    0xC0000608: Status("OP_STATE_INCORRECT", "the command is out of order for this guest", _KERNEL),
    0xC0000700: Status("VCPU_STATE_INCORRECT", "the vCPU is in another state", _KERNEL),
    0xC0000705: Status(
        "MAX_VCPUS_EXCEEDED", "more vCPUs than the guest was made for", "-smp without maxcpus"
    ),
    0xC0000706: Status("TSC_ROLLBACK", "a CPU's clock is behind another's", _BIOS),
    0xC0000811: Status("KEY_STATE_INCORRECT", "the key is in another state", _KERNEL),
    0xC0000820: Status("HKID_NOT_FREE", "the key is in use", _KERNEL),
    0xC0000825: Status(
        "NUM_ACTIVATED_HKIDS_NOT_SUPPORTED",
        "more keys than the module can handle",
        "BIOS setup: another key split",
    ),
    0xC0000900: Status(
        "INCORRECT_CPUID_VALUE", "CPUID shows a feature on that the module wants off, or the other way", _BIOS
    ),
    0xC0000901: Status("LIMIT_CPUID_MAXVAL_SET", "CPUID is limited", "BIOS setup: Limit CPUID Maximum off"),
    0xC0000902: Status("INCONSISTENT_CPUID_FIELD", "CPUs differ in CPUID", _BIOS),
    0xC0000910: Status("SMRR_NOT_LOCKED", "the BIOS has not locked a register", _BIOS),
    0xC0000911: Status("INVALID_SMRR_CONFIGURATION", "the BIOS has set a register wrong", _BIOS),
    0xC0000920: Status("INCONSISTENT_MSR", "CPUs differ in a register", _BIOS),
    0xC0000921: Status(
        "INCORRECT_MSR_VALUE",
        "a register has a value that the module refuses; the lower half names it",
        _BIOS,
    ),
    0xC0000A00: Status("INVALID_TDMR", "the kernel's memory map is refused", _KERNEL),
    0xC0000A02: Status("TDMR_OUTSIDE_CMRS", "memory that the BIOS has not declared convertible", _BIOS),
    0xC0000A10: Status("INVALID_PAMT", "the table of pages is refused", _KERNEL),
    0xC0000A11: Status("PAMT_OUTSIDE_CMRS", "the table of pages lies in memory that cannot be used", _BIOS),
    0xC0000B00: Status("EPT_WALK_FAILED", "an address of the guest is not mapped", _KERNEL),
    0xC0000B08: Status("TLB_TRACKING_NOT_DONE", "translations were not flushed first", _KERNEL),
    0xC0000B0A: Status(
        "PAGE_ALREADY_ACCEPTED", "the guest had accepted the page", "guest: update its kernel or firmware"
    ),
    0x00000B0A: Status("PAGE_ALREADY_ACCEPTED", "the guest had accepted the page"),
    0xC0000B0B: Status("PAGE_SIZE_MISMATCH", "a page of another size", _AGAIN),
    0xC0000B0C: Status("GPA_RANGE_BLOCKED", "the range is being changed", _AGAIN),
    0xC0000B0D: Status("EPT_ENTRY_STATE_INCORRECT", "a page of the guest is in another state", _KERNEL),
    0xC0000C00: Status("METADATA_FIELD_ID_INCORRECT", "the module does not know a field", _MODULE),
    0xC0000C02: Status(
        "METADATA_FIELD_NOT_READABLE", "the module does not let a field be read: too old for it", _MODULE
    ),
    0xC0000C03: Status("METADATA_FIELD_VALUE_NOT_VALID", "a field cannot have this value", _KERNEL),
}
"""Upper half of a SEAMCALL status → what it says. What is not here is named by number."""

OPERANDS: Mapping[int, str] = {
    **dict(enumerate(("RAX", "RCX", "RDX", "RBX"))),
    5: "RBP",
    6: "RSI",
    7: "RDI",
    **{number_: f"R{number_}" for number_ in range(8, 16)},
    64: "ATTRIBUTES",
    65: "XFAM",
    66: "EXEC_CONTROLS",
    67: "EPTP_CONTROLS",
    68: "MAX_VCPUS",
    69: "CPUID_CONFIG",
    70: "TSC_FREQUENCY",
    71: "NUM_L2_VMS",
    72: "IA32_ARCH_CAPABILITIES_CONFIG",
    95: "PAGE",
    96: "TDMR_INFO",
    128: "TDR (the guest's root page)",
    129: "TDCX",
    130: "TDVPR (the vCPU's root page)",
    144: "TDCS",
    145: "TDVPS",
    146: "SEPT (the secure page table)",
    147: "SEPT entry",
    168: "RTMR",
    169: "TD_EPOCH",
    172: "OP_STATE",
    176: "METADATA_FIELD",
    184: "SYS (the module)",
    185: "TDMR",
    186: "KOT (table of keys)",
    188: "WBCACHE",
}
"""Operand in the lower half of a status (TDX module 1.5, operand ids)."""

LEAVES: Mapping[int, str] = {
    0: "TDH.VP.ENTER",
    1: "TDH.MNG.ADDCX",
    2: "TDH.MEM.PAGE.ADD",
    3: "TDH.MEM.SEPT.ADD",
    4: "TDH.VP.ADDCX",
    6: "TDH.MEM.PAGE.AUG",
    7: "TDH.MEM.RANGE.BLOCK",
    8: "TDH.MNG.KEY.CONFIG",
    9: "TDH.MNG.CREATE",
    10: "TDH.VP.CREATE",
    11: "TDH.MNG.RD",
    15: "TDH.MEM.PAGE.DEMOTE",
    16: "TDH.MR.EXTEND",
    17: "TDH.MR.FINALIZE",
    18: "TDH.VP.FLUSH",
    19: "TDH.MNG.VPFLUSHDONE",
    20: "TDH.MNG.KEY.FREEID",
    21: "TDH.MNG.INIT",
    22: "TDH.VP.INIT",
    24: "TDH.PHYMEM.PAGE.RDMD",
    26: "TDH.VP.RD",
    28: "TDH.PHYMEM.PAGE.RECLAIM",
    29: "TDH.MEM.PAGE.REMOVE",
    31: "TDH.SYS.KEY.CONFIG",
    33: "TDH.SYS.INIT",
    34: "TDH.SYS.RD",
    35: "TDH.SYS.LP.INIT",
    36: "TDH.SYS.TDMR.INIT",
    38: "TDH.MEM.TRACK",
    40: "TDH.PHYMEM.CACHE.WB",
    41: "TDH.PHYMEM.PAGE.WBINVD",
    43: "TDH.VP.WR",
    45: "TDH.SYS.CONFIG",
    52: "TDH.SYS.SHUTDOWN",
    53: "TDH.SYS.UPDATE",
    69: "TDH.SYS.DISABLE",
}
"""SEAMCALL leaf → its name (Linux 7.2 arch/x86/virt/vmx/tdx/tdx.h; TDX module ABI for 15)."""

_PCCS = "journalctl -u pccs; the address and api key in /etc/sgx_default_qcnl.conf and in the PCCS's own configuration"
_REGISTER = (
    "register the platform: BIOS setup, SGX factory reset and auto MP registration; "
    "then mpa_manage -get_registration_status"
)

DCAP: Mapping[int, Status] = {
    0xB001: Status("QCNL_UNEXPECTED_ERROR", "the client of the certificate cache failed", _PCCS),
    0xB002: Status("QCNL_INVALID_PARAMETER", "the client was called wrongly", "update the DCAP packages"),
    0xB003: Status("QCNL_NETWORK_ERROR", "the certificate cache cannot be reached", _PCCS),
    0xB004: Status(
        "QCNL_NETWORK_PROXY_FAIL", "the proxy's name cannot be resolved", "check http_proxy of the service"
    ),
    0xB005: Status("QCNL_NETWORK_HOST_FAIL", "the cache's name cannot be resolved", "check pccs_url and DNS"),
    0xB006: Status(
        "QCNL_NETWORK_COULDNT_CONNECT",
        "nothing answers at the cache's address",
        "systemctl status pccs; port 8081",
    ),
    0xB007: Status("QCNL_NETWORK_HTTP2_ERROR", "the connection broke", _PCCS),
    0xB008: Status(
        "QCNL_NETWORK_WRITE_ERROR", "the answer could not be stored", "df -h; see the service's rights"
    ),
    0xB009: Status("QCNL_NETWORK_OPERATION_TIMEDOUT", "the cache did not answer in time", _PCCS),
    0xB00A: Status(
        "QCNL_NETWORK_HTTPS_ERROR",
        "TLS to the cache failed",
        "use_secure_cert false for a self-signed certificate",
    ),
    0xB00B: Status("QCNL_NETWORK_UNKNOWN_OPTION", "libcurl is too old", "update libcurl"),
    0xB00C: Status("QCNL_NETWORK_INIT_ERROR", "libcurl could not be loaded", "install libcurl4"),
    0xB00D: Status("QCNL_MSG_ERROR", "the cache's answer makes no sense", _PCCS),
    0xB00E: Status("QCNL_OUT_OF_MEMORY", "out of memory"),
    0xB00F: Status("QCNL_ERROR_STATUS_NO_CACHE_DATA", "the cache has nothing for this platform", _REGISTER),
    0xB010: Status(
        "QCNL_ERROR_STATUS_PLATFORM_UNKNOWN", "Intel or the cache does not know this platform", _REGISTER
    ),
    0xB011: Status("QCNL_ERROR_STATUS_UNEXPECTED", "the cache failed", _PCCS),
    0xB012: Status(
        "QCNL_ERROR_STATUS_CERTS_UNAVAILABLE", "there are no certificates for this platform", _REGISTER
    ),
    0xB013: Status(
        "QCNL_ERROR_STATUS_SERVICE_UNAVAILABLE", "Intel's service is not available", "try again later"
    ),
    0xB030: Status("QCNL_INVALID_CONFIG", "/etc/sgx_default_qcnl.conf is wrong", "correct it"),
    0xB031: Status("QCNL_CACHE_MISSING", "the local cache is empty", _PCCS),
    0xB032: Status("QCNL_CACHE_EXPIRED", "the local cache has expired", _PCCS),
    0xB033: Status(
        "QCNL_ROOT_CA_UNTRUSTED",
        "the certificate of the PCCS is not trusted: it is self-signed, and use_secure_cert is true",
        'in /etc/sgx_default_qcnl.conf set "use_secure_cert": false (PCCS on this host only); '
        "systemctl restart qgsd",
    ),
    0xB035: Status(
        "QCNL_CONFIG_INVALID_JSON",
        "/etc/sgx_default_qcnl.conf is not valid JSON",
        "a comma or quote is missing",
    ),
    0xB036: Status(
        "QCNL_CONFIG_NOT_JSON", "/etc/sgx_default_qcnl.conf is in the old format", "write it in JSON"
    ),
    0xE001: Status("QL_ERROR_UNEXPECTED", "the quoting library failed", "journalctl -u qgsd"),
    0xE002: Status("QL_ERROR_INVALID_PARAMETER", "a parameter is wrong"),
    0xE003: Status("QL_ERROR_OUT_OF_MEMORY", "out of memory"),
    0xE006: Status(
        "QL_FILE_ACCESS_ERROR", "the stored key cannot be read or written", "the home directory of user qgsd"
    ),
    0xE00D: Status(
        "QL_INTERFACE_UNAVAILABLE",
        "the PCE enclave cannot be loaded",
        "install the libsgx packages; /dev/sgx_enclave",
    ),
    0xE00E: Status(
        "QL_PLATFORM_LIB_UNAVAILABLE", "the provider library is missing", "install libsgx-dcap-default-qpl"
    ),
    0xE00F: Status("QL_ATT_KEY_NOT_INITIALIZED", "there is no attestation key yet", "restart qgsd"),
    0xE010: Status(
        "QL_ATT_KEY_CERT_DATA_INVALID", "the certificate does not fit the key", "restart pccs and qgsd"
    ),
    0xE011: Status("QL_NO_PLATFORM_CERT_DATA", "the cache has no certificate for this platform", _REGISTER),
    0xE012: Status("QL_OUT_OF_EPC", "no SGX memory for the enclave", "BIOS setup: a larger PRMRR"),
    0xE016: Status(
        "QL_ENCLAVE_LOAD_ERROR",
        "an enclave could not be loaded",
        "BIOS setup: SGX enabled; user qgsd in group sgx_prv",
    ),
    0xE018: Status(
        "QL_KEY_CERTIFCATION_ERROR",
        "the platform's TCB is newer than its certificate",
        "refresh the PCCS's cache",
    ),
    0xE019: Status("QL_NETWORK_ERROR", "the certificate cache cannot be reached", _PCCS),
    0xE01A: Status("QL_MESSAGE_ERROR", "the cache's answer makes no sense", _PCCS),
    0xE01B: Status("QL_NO_QUOTE_COLLATERAL_DATA", "there is no collateral to verify with", _PCCS),
    0xE022: Status("QL_PCK_CERT_CHAIN_ERROR", "the platform's certificate chain does not hold"),
    0xE024: Status("QL_TCBINFO_MISMATCH", "TCB info of another platform"),
    0xE027: Status(
        "QL_TCB_OUT_OF_DATE",
        "microcode, BIOS or TDX module are behind",
        "update BIOS, microcode and TDX module",
    ),
    0xE02C: Status("QL_SGX_TCB_INFO_EXPIRED", "the TCB info has expired", "refresh the collateral"),
    0xE02D: Status(
        "QL_SGX_PCK_CERT_CHAIN_EXPIRED",
        "a certificate has expired",
        "refresh the collateral; check the clock",
    ),
    0xE02E: Status("QL_SGX_CRL_EXPIRED", "a revocation list has expired", "refresh the collateral"),
    0xE031: Status("QL_PCK_REVOKED", "the platform's certificate is revoked", "do not trust this platform"),
    0xE032: Status(
        "QL_TCB_REVOKED", "the platform's TCB is revoked", "update BIOS, microcode and TDX module"
    ),
    0xE033: Status(
        "QL_TCB_CONFIGURATION_NEEDED",
        "a BIOS setting weakens the platform",
        "see the advisories of the TCB level",
    ),
    0xE034: Status("QL_UNABLE_TO_GET_COLLATERAL", "collateral could not be fetched", _PCCS),
    0xE035: Status(
        "QL_ERROR_INVALID_PRIVILEGE", "no right to use the provisioning device", "user qgsd in group sgx_prv"
    ),
    0xE03C: Status("QL_TCB_SW_HARDENING_NEEDED", "software must be hardened", "see the advisories"),
    0xE03F: Status(
        "QL_NO_DEVICE", "there is no SGX device", "BIOS setup: SGX enabled; kernel with CONFIG_X86_SGX"
    ),
    0xE040: Status(
        "QL_SERVICE_UNAVAILABLE", "the quoting service does not run", "systemctl status aesmd qgsd"
    ),
    0xE042: Status("QL_SERVICE_TIMEOUT", "the quoting service did not answer"),
    0xE043: Status("QL_ERROR_BUSY", "the service is busy", "try again"),
    0xE044: Status("QL_UNKNOWN_MESSAGE_RESPONSE", "the cache failed", _PCCS),
    0xE045: Status("QL_PERSISTENT_STORAGE_ERROR", "the cached data could not be stored", "df -h"),
    0xE047: Status("QL_PLATFORM_UNKNOWN", "the cache does not know this platform", _REGISTER),
    0xE049: Status("QL_CERTS_UNAVAILABLE", "there are no certificates for this platform", _REGISTER),
    0xE060: Status(
        "QL_TDX_MODULE_MISMATCH", "the TDX module is not one of Intel's", "install the released module"
    ),
    0xE062: Status("QL_TCBINFO_NOT_FOUND", "there is no TCB info for this platform", _PCCS),
    0xE065: Status(
        "QL_ROOT_CA_UNTRUSTED",
        "the PCCS's certificate is not trusted",
        "use_secure_cert false, for a PCCS on this host",
    ),
    0xE066: Status(
        "QL_TCB_NOT_SUPPORTED",
        "this TCB level is in no TCB info: too new or too old",
        "refresh the collateral",
    ),
    0xE067: Status("QL_CONFIG_INVALID_JSON", "/etc/sgx_default_qcnl.conf is not valid JSON", "correct it"),
}
"""Error codes of the quoting stack commonly met: 0xB0xx certificate client (QCNL), 0xE0xx quoting and "
"verification."""


def seamcall_status(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Decode the groups ``hw_error`` (64-bit status) and ``leaf``: name, operand, cause and next step."""
    found = {"_why": fields.get("why") or "it failed", "_module": ""}
    if fields.get("leaf"):
        leaf = number(fields["leaf"]) & 0xFFFF
        found["leaf"] = f"{LEAVES.get(leaf, 'not known')} ({leaf})"
    if not fields.get("hw_error"):
        return found
    value = number(fields["hw_error"])
    upper, lower = value >> 32, value & 0xFFFFFFFF
    known = named(SEAMCALL, upper, "a status that this table lacks; the TDX module's ABI manual has it")
    name = f"TDX_{known['status']}" if upper in SEAMCALL else known["status"]
    found["hw_error"] = f"{value:#x} {name}"
    if lower and value >> 63:
        found["operand"] = OPERANDS.get(lower, f"{lower:#x}")
    answered = f"; the TDX module answered {found['hw_error']}, {known['_cause']}"
    found["_module"] = answered if value else "; the TDX module was not asked, or agreed"
    return {**found, "_cause": known["_cause"], "_step": known["_step"]}


def dcap_status(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Decode the group ``dcap``: name, cause and next step."""
    value = number(fields["dcap"])
    known = named(
        DCAP, value, "an error that this table lacks; sgx_ql_lib_common.h and the QCNL's header have it"
    )
    return {"dcap": f"{value:#x} {known['status']}", "_cause": known["_cause"], "_step": known["_step"]}
