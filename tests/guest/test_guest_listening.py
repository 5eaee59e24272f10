"""Where monitors, consoles and displays can be reached; tests/real holds this against what QEMU listens on."""

import pytest

from sequester.formats.argv_read import read_argv
from sequester.guest.listening import consoles, displays, monitors


def guest(text):
    return read_argv(["qemu-system-x86_64", *text.split()]).guest


EVERYWHERE = (
    "-qmp tcp::4444,server=on,wait=off",
    "-qmp tcp:0.0.0.0:4444,server,nowait",
    "-qmp-pretty tcp:[::]:4444,server=on",
    "-monitor telnet::4444,server=on",
    "-monitor mon:tcp::4444,server=on",
    "-gdb tcp::1234",
    "-s",
    "-chardev socket,id=c,host=,port=4444,server=on -mon chardev=c,mode=control",
    "-chardev socket,id=c,host=10.0.0.1,port=4444,server=on -mon c",
    "-chardev socket,id=c,host=::,port=4444,server=on -qmp chardev:c",
    "-chardev socket,id=c,host=0.0.0.0,port=4444,server=on -object monitor-qmp,id=q,chardev=c",
)
LOCAL = (
    "-qmp tcp:localhost:4444,server=on",
    "-monitor telnet:127.0.0.1:4444,server=on",
    "-gdb tcp:127.0.0.1:1234",
    "-qmp tcp:[::1]:4444,server=on",
    "-chardev socket,id=c,host=127.0.0.1,port=4444,server=on -mon chardev=c",
)
NOWHERE = (
    "",
    "-qmp unix:/s,server=on",
    "-qmp unix:fd=3,server=on,wait=off",
    "-monitor stdio",
    "-monitor pty",
    "-monitor none",
    "-gdb none",
    "-gdb unix:/g",
    "-chardev socket,id=c,path=/s,server=on -mon chardev=c,mode=control",
    "-chardev socket,id=c,fd=3,server=on -mon chardev=c",
    "-chardev socket,id=c,host=,port=4444,server=on",
    "-mon chardev=nowhere",
)


@pytest.mark.parametrize("text", EVERYWHERE)
def test_a_monitor_without_a_host_or_with_another_than_this_one_is_open_to_the_network(text):
    (found,) = monitors(guest(text))
    assert found.everywhere
    assert not found.secured


@pytest.mark.parametrize("text", LOCAL)
def test_a_monitor_on_the_loopback_is_not(text):
    (found,) = monitors(guest(text))
    assert not found.everywhere


@pytest.mark.parametrize("text", NOWHERE)
def test_a_monitor_without_an_address_has_no_endpoint(text):
    assert list(monitors(guest(text))) == []


def test_tls_is_seen():
    (found,) = monitors(guest("-chardev socket,id=c,host=,port=1,server=on,tls-creds=t -mon chardev=c"))
    assert found.secured


@pytest.mark.parametrize(
    ("text", "host", "secured", "password"),
    [
        ("-vnc :0", "", False, False),
        ("-vnc 0.0.0.0:0,password=on", "0.0.0.0", False, True),
        ("-vnc [::]:0,password-secret=s", "::", False, True),
        ("-vnc :0,tls-creds=t", "", True, False),
        ("-vnc :0,sasl=on", "", True, False),
        ("-display vnc=:0", "", False, False),
        ("-spice port=5900,disable-ticketing=on", "", False, False),
        ("-spice port=5900,addr=10.0.0.1", "10.0.0.1", False, True),
        ("-spice tls-port=5900,addr=10.0.0.1", "10.0.0.1", True, True),
    ],
)
def test_a_display_tells_address_and_guard(text, host, secured, password):
    (found,) = displays(guest(text))
    assert (found.host, found.secured, found.password) == (host, secured, password)


@pytest.mark.parametrize(
    "text",
    [
        "-vnc unix:/v",
        "-vnc none",
        "-display none",
        "-display gtk",
        "-spice unix=on,addr=/s",
        "-spice disable-ticketing=on",
    ],
)
def test_a_display_without_an_address_has_no_endpoint(text):
    assert list(displays(guest(text))) == []


def test_consoles_are_serial_ports_and_the_devices_behind_character_devices():
    text = (
        "-serial tcp::4555,server=on -chardev socket,id=c,host=,port=1,server=on -device isa-serial,chardev=c"
    )
    assert [found.part.group for found in consoles(guest(text))] == ["serial", "chardev"]
    text = "-chardev socket,id=c,host=,port=1,server=on -device virtserialport,chardev=c,name=x"
    assert list(consoles(guest(text))) == []
