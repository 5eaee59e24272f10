"""A domain's monitor through virsh, when libvirt-python is not there, with a virsh that is played."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sequester.audit.asking import Command, command
from sequester.domains import monitor as module
from sequester.domains.connection import bindings
from sequester.domains.monitor import VirshMonitor, monitor_of
from sequester.errors import GuestError, HostError, SequesterError

VIRSH = """\
#!{python}
import json, re, sys
calls = re.findall(r"--domain (.+?) '([^']*)'", sys.argv[2])
with open({log!r}, "a") as log:
    log.write(str(len(calls)) + "\\n")
for name, request in calls:
    asked = json.loads(request)
    print({reply})
    print()
"""


@pytest.fixture
def virsh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, and no libvirt-python."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "libvirt", None)
    return tmp_path


def played(folder: Path, reply: str) -> None:
    path = folder / "virsh"
    path.write_text(VIRSH.format(python=sys.executable, log=str(folder / "log"), reply=reply))
    path.chmod(0o755)


ECHO = 'json.dumps({"return": [name, asked["execute"], asked.get("arguments")], "id": "libvirt-1"})'


def test_many_questions_go_to_one_virsh(virsh: Path) -> None:
    played(virsh, ECHO)
    monitor = monitor_of("web")
    assert isinstance(monitor, VirshMonitor)
    answers = monitor.ask([command("qom-get", path="/machine", property="it's")] * 50)
    assert [answer.value for answer in answers] == [
        ['"web"', "qom-get", {"path": "/machine", "property": "it's"}]
    ] * 50
    assert (virsh / "log").read_text() == "50\n"


def test_more_than_an_argument_takes_goes_to_several(virsh: Path) -> None:
    played(virsh, ECHO)
    answers = VirshMonitor("web").ask([Command("x", (("a", "b" * 1000),))] * 200)
    assert len(answers) == 200
    assert len((virsh / "log").read_text().split()) == 3


def test_a_domain_may_be_called_anything(virsh: Path) -> None:
    played(virsh, ECHO)
    (answer,) = VirshMonitor('a "b"; destroy c').ask([command("x")])
    assert answer.value[0] == '"a \\"b\\"; destroy c"'


def test_an_error_of_qemu_is_an_answer(virsh: Path) -> None:
    played(virsh, 'json.dumps({"error": {"class": "GenericError", "desc": "no"}})')
    (answer,) = VirshMonitor("web").ask([command("x")])
    assert answer.error == "no"


@pytest.mark.parametrize("reply", ['"hello"', '"[1]"', '"{"', '""', '"7"'])
def test_what_is_no_answer_is_an_error_of_ours(virsh: Path, reply: str) -> None:
    played(virsh, reply)
    with pytest.raises(SequesterError):
        VirshMonitor("web").ask([command("x")])


def test_a_virsh_that_does_not_answer_is_given_up(virsh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    played(virsh, '__import__("time").sleep(60)')
    with pytest.raises(GuestError, match="did not answer"):
        VirshMonitor("web").ask([command("x")])


def test_without_either_it_is_said_what_to_install(virsh: Path) -> None:
    with pytest.raises(HostError, match="neither libvirt-python nor virsh is installed"):
        monitor_of("web").ask([command("x")])
    with pytest.raises(HostError, match="libvirt-python is not installed"):
        bindings()
