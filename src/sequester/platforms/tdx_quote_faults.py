"""Error texts on the way to a TDX quote: guest driver, QEMU, the quote generation service (QGS), DCAP, PCCS."""

from __future__ import annotations

from collections.abc import Mapping

from sequester.faults.fault import Fault, Origin, Weight
from sequester.platforms.tdx_status_faults import dcap_status

_CHAIN = (
    "guest: dmesg | grep -i tdx; is /dev/tdx_guest there?",
    "QEMU: tdx-guest must have quote-generation-socket; host: systemctl status qgsd; ls -l "
    "/var/run/tdx-qgs/qgs.socket",
    "host: journalctl -u qgsd -u pccs; an error code there says more",
)
_ATTEST = {
    1: ("UNEXPECTED", "an internal error"),
    2: ("INVALID_PARAMETER", "a wrong parameter"),
    3: ("OUT_OF_MEMORY", "out of memory"),
    4: ("VSOCK_FAILURE", "the quote service does not answer on vsock"),
    5: ("REPORT_FAILURE", "the TD report could not be taken"),
    6: ("EXTEND_FAILURE", "the register could not be extended"),
    7: ("NOT_SUPPORTED", "not supported"),
    8: ("QUOTE_FAILURE", "the quote service refused"),
    9: ("BUSY", "the driver is busy"),
    10: ("DEVICE_FAILURE", "the guest's device cannot be used"),
    11: ("INVALID_RTMR_INDEX", "only RTMR 2 and 3 can be extended"),
    12: ("UNSUPPORTED_ATT_KEY_ID", "the service has none of the wanted keys"),
}
_GET_QUOTE = {
    0xFFFFFFFFFFFFFFFF: "the request is still under way",
    0x8000000000000000: "QEMU or the quote service failed",
    0x8000000000000001: "QEMU has no quote service to ask",
}


def _attest(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Name an error of libtdx_attest, given as a number or by name (tdx_attest.h of DCAP 1.23)."""
    by_name = {name: code for code, (name, _) in _ATTEST.items()}
    code = int(fields["error"], 16) if fields.get("error") else by_name.get(fields.get("name", ""), 0)
    name, meaning = _ATTEST.get(code, (fields.get("name", ""), "an error that this table lacks"))
    return {"error": f"{code:#x} TDX_ATTEST_ERROR_{name}", "_cause": meaning}


def _get_quote(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Name a status of TDG.VP.VMCALL<GetQuote> (Guest-Host communication interface 1.5)."""
    status = int(fields["status"], 16)
    return {"status": f"{status:#x}", "_cause": _GET_QUOTE.get(status, "a status that this table lacks")}


FAULTS: tuple[Fault, ...] = (
    Fault(
        "tdx.quote-untrusted-pccs",
        "The certificate of the PCCS is not trusted",
        r"quote[ _]config[^\n]{0,20}?(?P<dcap>0xb033|0xe065)\b",
        Origin.QUOTING,
        "The caching service (PCCS) on this host has a self-signed certificate, and the client insists on "
        "a good one.",
        (
            '/etc/sgx_default_qcnl.conf: "use_secure_cert": false, for a PCCS on this host only',
            "systemctl restart qgsd",
            "for a PCCS elsewhere give it a certificate that is signed, and leave it true",
        ),
        ("canonical/tdx#409", "DCAP 1.23 sgx_default_qcnl_wrapper.h"),
        decode=dcap_status,
    ),
    Fault(
        "tdx.quote-config",
        "The quoting stack has no certificate for this platform",
        r"(?:Failed to get quote config\. Error code is|get_quote_config API\.|Error in sgx_qe_\w{1,40}[.,]?) ?"
        r"(?P<dcap>0x[be]0[0-9a-f]{2})\b",
        Origin.QUOTING,
        "{dcap}: {_cause}.",
        ("{_step}", "journalctl -u qgsd -u pccs"),
        ("DCAP 1.23", "intel/confidential-computing.tee.dcap#150, #219, #318, #345"),
        weight=Weight.GENERAL,
        decode=dcap_status,
    ),
    Fault(
        "tdx.quote-dcap",
        "An error of the quoting stack",
        r"(?:\[QPL\]|\[QCNL\]|\bqgsd?\b|dcap|quote)[^\n]{0,60}?(?P<dcap>0x(?:0000)?[be]0[0-9a-f]{2})\b",
        Origin.QUOTING,
        "{dcap}: {_cause}.",
        ("{_step}",),
        ("DCAP 1.23",),
        weight=Weight.GENERAL,
        decode=dcap_status,
    ),
    Fault(
        "tdx.quote-curl",
        "The certificate cache cannot be reached",
        r"\[QCNL\] ?(?:Error: )?\s{0,4}Encountered CURL error: \((?P<number>\d{1,3})\) (?P<why>[^\n]{1,80})",
        Origin.QUOTING,
        "curl error {number}: {why}.",
        (
            "systemctl status pccs; ss -ltn | grep 8081",
            "pccs_url in /etc/sgx_default_qcnl.conf",
            "journalctl -u pccs",
        ),
        (
            "DCAP 1.23 QuoteGeneration/qcnl/linux/network_wrapper.cpp",
            "intel/confidential-computing.tee.dcap#345",
        ),
    ),
    Fault(
        "tdx.quote-qgs-timeout",
        "Guest and quote service do not speak the same framing",
        r"qgsd\[\d{1,10}\]: body should be \[(?P<size>-\d{1,12})\] bytes",
        Origin.QUOTING,
        "The service read a length of {size}: the guest's library or QEMU sends the request without, or "
        "with another, "
        "header than the service expects.",
        (
            "use libtdx-attest and qgsd of the same DCAP release",
            "no port= in /etc/tdx-attest.conf where QEMU has the socket",
        ),
        ("canonical/tdx#220",),
    ),
    Fault(
        "tdx.attest-error",
        "The TD's attestation library failed",
        r"tdx_att_get_quote[^\n]{0,40}?(?:failed|error|returned)[^\n]{0,20}?(?P<error>0x[0-9a-f]{1,4})\b|"
        r"TDX_ATTEST_ERROR_(?P<name>[A-Z_]{1,40})",
        Origin.GUEST,
        "{error}: {_cause}.",
        _CHAIN,
        ("DCAP 1.23 tdx_attest.h",),
        decode=_attest,
    ),
    Fault(
        "tdx.no-quote",
        "No quote was made, and the guest does not learn why",
        r"Failed to get the quote\b",
        Origin.GUEST,
        "The chain is guest driver, QEMU or vsock, quote service (qgsd), certificate cache (PCCS), Intel. The guest "
        "sees only that it broke.",
        (
            *_CHAIN,
            "platform registered? host: mpa_manage -get_registration_status",
            "a quote once worked and no more: restart qgsd and pccs; certificates may have to be fetched anew",
        ),
        ("canonical/tdx#142, #155, #187, #220, #256, #313, #377, #409",),
        weight=Weight.GENERAL,
    ),
    Fault(
        "tdx.quote-request",
        "The guest's request for a quote was answered with an error",
        r"GetQuote (?:request|hypercall) failed, status: ?(?P<status>(?:0x)?[0-9a-f]{1,16})\b",
        Origin.GUEST,
        "{status}: {_cause}.",
        _CHAIN,
        (
            "Linux 7.2 drivers/virt/coco/tdx-guest/tdx-guest.c",
            "QEMU target/i386/kvm/tdx.c tdx_handle_get_quote",
        ),
        decode=_get_quote,
    ),
    Fault(
        "tdx.quote-timeout",
        "The quote did not come in time",
        r"GetQuote request timed ?out",
        Origin.GUEST,
        "The service took the request and did not answer within 30 seconds.",
        (
            "host: systemctl status qgsd pccs; journalctl -u qgsd",
            "the first quote after a start is slow: try again",
        ),
        ("Linux 7.2 tdx-guest.ko",),
    ),
    Fault(
        "tdx.quote-host",
        "QEMU could not pass the quote to the guest",
        r"TDX: (?:get-quote: )?failed to (?:write quote data|(?:read|update) GetQuote header)",
        Origin.QEMU,
        "The guest's buffer is not shared memory, or is gone.",
        ("update the guest's kernel",),
        ("QEMU 11.1 binary; target/i386/kvm/tdx.c",),
    ),
    Fault(
        "tdx.rtmr",
        "The guest could not extend or read a measurement register",
        r"tdx_mcall_(?P<call>extend_rtmr|get_report0)(?:\(\w{0,6}\))? failed: (?P<number>-?\d{1,6})",
        Origin.GUEST,
        "The module refused {call} ({number}). Only RTMR 2 and 3 belong to the guest's software.",
        ("extend RTMR 2 or 3",),
        ("Linux 7.2 tdx-guest.ko",),
    ),
)
