"""A domain has one limitation, and each of its properties once."""

import pytest

from sequester.errors import InputError
from sequester.formats.libvirt_read import read_xml

DOMAIN = "<domain type='kvm'><os><type arch='x86_64' machine='q35'>hvm</type></os>{0}</domain>"
WEAK = "<launchSecurity type='sev'><policy>0x1</policy></launchSecurity>"
STRONG = "<launchSecurity type='sev-snp'><policy>0x30000</policy></launchSecurity>"


@pytest.mark.parametrize(
    ("security", "message"),
    [
        (STRONG + WEAK, "there are two <launchSecurity>"),
        (STRONG.replace("</launch", "<policy>0xb0000</policy></launch"), "is given twice"),
    ],
)
def test_what_counts_of_two_is_never_a_guess(security: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_xml(DOMAIN.format(security).encode(), "d.xml")


def test_one_is_read() -> None:
    limitation = read_xml(DOMAIN.format(STRONG).encode(), "d.xml").guest.limitation
    assert limitation is not None
    assert (limitation.type, limitation.get("policy")) == ("sev-snp", "0x30000")
