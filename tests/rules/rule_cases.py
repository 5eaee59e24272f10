"""Cases for the tests of rules: a command line, what the rules find in it, and what their fixes make of it."""

from sequester.findings import Case
from sequester.formats.argv_read import read_argv_text
from sequester.host.emulator import QemuFacts
from sequester.platforms.registry import resolve
from sequester.rules.engine import apply, check

SEV = "qemu-system-x86_64 -nodefaults -M q35,confidential-guest-support=s0 -object sev-guest,id=s0,policy=1"
SEV_ES = SEV.replace("policy=1", "policy=5")
SNP = "qemu-system-x86_64 -nodefaults -M q35,confidential-guest-support=s0 -object sev-snp-guest,id=s0"
TDX = "qemu-system-x86_64 -nodefaults -M q35,confidential-guest-support=s0 -object tdx-guest,id=s0"
PV = "qemu-system-s390x -nodefaults -M s390-ccw-virtio,confidential-guest-support=s0 -object s390-pv-guest,id=s0"
PEF = "qemu-system-ppc64 -nodefaults -M pseries,confidential-guest-support=s0 -object pef-guest,id=s0"
CCA = "qemu-system-aarch64 -nodefaults -M virt,confidential-guest-support=s0 -object rme-guest,id=s0"
PLAIN = "qemu-system-x86_64 -nodefaults -M q35"
ALL = (SEV, SEV_ES, SNP, TDX, PV, PEF, CCA)


def case_of(text, *, version=None, **more):
    """The case of a command line, on a QEMU of this version when one is given."""
    guest = read_argv_text(text.encode(), "g").guest
    qemu = QemuFacts("/usr/bin/qemu", version, arch=guest.arch) if version else None
    return Case(guest, resolve(guest), qemu, **more)


def found(rules, text, code="SQ", **more):
    """The findings whose codes begin so."""
    return [finding for finding in check(case_of(text, **more), rules) if finding.code.startswith(code)]


def codes(rules, text, code="SQ", **more):
    return [finding.code for finding in found(rules, text, code, **more)]


def fixed(rules, text, **more):
    """The command line after all fixes; none of them may be wanted a second time, in its text either."""
    document = read_argv_text(text.encode(), "g")
    case, applied = apply(case_of(text, **more), rules)
    assert not any(finding.fixable for finding in check(case, rules))
    written = document.edited([change for done in applied for change in done.changes])
    assert not written.lost
    assert not any(finding.fixable for finding in check(case_of(written.text, **more), rules))
    return written.text
