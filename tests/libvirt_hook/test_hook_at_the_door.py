"""The installed hook: whom it lets start, and whom not, whatever happens to the rest of us."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hook_in_place import LOOSE, NEEDY, PLAIN, PREPARE, HookInPlace, in_place

from sequester.errors import HostError, InputError, RefusedError
from sequester.hook.gate import MARKS
from sequester.hook.installing import NAME, install, writable_by_others
from sequester.platforms.registry import object_types, platforms

DOMAINS = Path(__file__).parents[1] / "formats" / "domains"
S390 = (DOMAINS / "launch-s390-pv.xml").read_text().replace("<domain type='qemu'", "<domain type='kvm'")


@pytest.fixture
def hook(tmp_path: Path) -> HookInPlace:
    return in_place(tmp_path)


def test_a_domain_that_asks_for_nothing_starts(hook: HookInPlace) -> None:
    done = hook.run(PLAIN)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_domain_that_would_run_unprotected_is_refused_and_told_why(hook: HookInPlace) -> None:
    done = hook.run(LOOSE)
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.startswith(b"sequester: domain web is not started: SQ101: ")
    assert b"Traceback" not in done.stderr


def test_a_domain_whose_protection_is_right_starts(hook: HookInPlace) -> None:
    done = hook.run(S390)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_domain_that_could_not_run_is_refused(hook: HookInPlace) -> None:
    done = hook.run((DOMAINS / "launch-tdx.xml").read_text())
    assert done.returncode == 1
    assert b"SQ501" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("start", "begin", "-"),
        ("started", "begin", "-"),
        ("stopped", "end", "-"),
        ("release", "end", "-"),
        ("migrate", "begin", "-"),
        ("restore", "begin", "-"),
        ("reconnect", "begin", "-"),
        ("prepare", "end", "-"),
        (),
    ],
)
def test_it_has_no_say_in_anything_but_a_start(hook: HookInPlace, arguments: tuple[str, ...]) -> None:
    done = hook.run(LOOSE, arguments=arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_fault_of_ours_does_not_touch_unprotected_domains(hook: HookInPlace) -> None:
    hook.broken()
    assert hook.run(PLAIN).returncode == 0


@pytest.mark.parametrize("xml", [LOOSE, S390])
def test_with_a_fault_of_ours_no_protected_domain_starts(hook: HookInPlace, xml: str) -> None:
    hook.broken()
    assert hook.run(xml).returncode == 1


def test_a_python_that_is_gone_keeps_protected_domains_from_starting(hook: HookInPlace) -> None:
    text = hook.path.read_text()
    hook.path.write_text(re.sub(r"main\(sys.argv\[1:\], \['[^']*'", "main(sys.argv[1:], ['/no/python'", text))
    assert hook.run(PLAIN).returncode == 0
    done = hook.run(LOOSE)
    assert done.returncode == 1
    assert b"cannot be run" in done.stderr


def test_a_judge_that_does_not_answer_is_a_no(hook: HookInPlace) -> None:
    text = hook.path.read_text().replace("JUDGE_SECONDS = 20", "JUDGE_SECONDS = 0.1")
    hook.path.write_text(text.replace("from sequester.cli.main import entry", "import time; time.sleep(60)"))
    done = hook.run(LOOSE)
    assert done.returncode == 1
    assert b"did not answer" in done.stderr


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"<",
        b"launchSecurity",
        b"<domain><launchSecurity",
        b"\xff\xfe launchSecurity",
        b"<a>launchSecurity</a>",
    ],
)
def test_xml_that_is_none_is_refused_only_where_it_asks_for_protection(hook: HookInPlace, xml: bytes) -> None:
    done = hook.run(xml)
    assert done.returncode == (1 if b"launchSecurity" in xml else 0)
    assert b"Traceback" not in done.stderr


def test_every_spelling_of_a_wish_for_protection_is_known_at_the_door() -> None:
    spellings = {f"-object {kind},id=x" for kind in object_types()}
    spellings |= {f"<launchSecurity type='{one.libvirt.type}'>" for one in platforms() if one.libvirt}
    spellings |= {"memory-encryption=x", "confidential-guest-support=x", "host-trust-limitation=x"}
    assert [text for text in sorted(spellings) if not MARKS.search(text.encode())] == []


def test_a_domain_says_in_its_metadata_that_it_must_be_protected(hook: HookInPlace) -> None:
    done = hook.run(NEEDY)
    assert done.returncode == 1
    assert b"this domain must be protected, and asks for no protection" in done.stderr


def test_a_policy_says_which_domains_must_be_protected(hook: HookInPlace) -> None:
    hook.policy.write_text('required = ["web-*", "db"]\n')
    assert hook.run(PLAIN, "web-1").returncode == 1
    assert hook.run(PLAIN, "db").returncode == 1
    assert hook.run(PLAIN, "db2").returncode == 0


def test_words_in_a_description_are_no_protection(hook: HookInPlace) -> None:
    hook.policy.write_text('required = ["web"]\n')
    done = hook.run(PLAIN.replace("<memory ", "<description>no launchSecurity</description><memory "))
    assert done.returncode == 1
    assert b"asks for no protection that is known" in done.stderr


def test_a_policy_may_take_warnings_for_errors_and_leave_rules_out(hook: HookInPlace) -> None:
    xml = (DOMAINS / "launch-sev.xml").read_text()
    hook.policy.write_text('refuse = "error"\n')
    assert hook.run(xml).returncode == 0
    hook.policy.write_text('refuse = "warning"\n')
    assert b"SQ201" in hook.run(xml).stderr
    hook.policy.write_text('refuse = "warning"\nignore = ["SQ2", "SQ4", "SQ8"]\n')
    assert hook.run(xml).returncode == 0


@pytest.mark.parametrize("text", ["required = 7", "required = [7]", "required = [", "\xff"])
def test_a_policy_that_cannot_be_read_lets_nobody_start(hook: HookInPlace, text: str) -> None:
    hook.policy.write_bytes(text.encode("latin-1"))
    done = hook.run(PLAIN)
    assert done.returncode == 1
    assert b"nobody knows which domains must be protected" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("text", ['refuse = "note"', "ignore = 7", 'requierd = ["web"]', 'ignore = ["XX"]'])
def test_a_policy_with_a_mistake_keeps_protected_domains_from_starting(hook: HookInPlace, text: str) -> None:
    hook.policy.write_text(text)
    assert hook.run((DOMAINS / "launch-sev.xml").read_text()).returncode == 1
    assert hook.run(PLAIN).returncode == 0


@pytest.mark.parametrize("name", ["-x", "--help", "a b", "ü", "\x1b[31m", "$(id)"])
def test_a_domain_may_be_called_anything(hook: HookInPlace, name: str) -> None:
    assert hook.run(PLAIN, name).returncode == 0
    done = hook.run(LOOSE, name)
    assert done.returncode == 1
    assert b"SQ101" in done.stderr
    assert b"\x1b" not in done.stderr


def test_other_hooks_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "hooks" / "qemu.d").mkdir(parents=True)
    others = [tmp_path / "hooks" / "qemu", tmp_path / "hooks" / "qemu.d" / "10-other"]
    for other in others:
        other.write_text("#!/bin/sh\n")
    installed = in_place(tmp_path)
    assert [other.read_text() for other in others] == ["#!/bin/sh\n"] * 2
    assert installed.path == tmp_path / "hooks" / "qemu.d" / NAME
    assert os.access(installed.path, os.X_OK)
    assert sorted(path.name for path in installed.path.parent.iterdir()) == ["10-other", NAME]


def test_ours_is_written_anew_and_anothers_is_not(tmp_path: Path) -> None:
    path = in_place(tmp_path).path
    in_place(tmp_path)
    path.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(RefusedError, match="another hook has this name"):
        in_place(tmp_path)
    assert path.read_text() == "#!/bin/sh\nexit 0\n"


def test_a_folder_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the hook cannot be written"):
        install(str(tmp_path / "file"))


def test_a_python_that_no_first_line_can_name_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be named"):
        install(str(tmp_path), python="/opt/my python/bin/python3")


def test_a_python_that_others_may_write_is_told_of(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text("")
    assert str(python.parent) not in writable_by_others(str(python))
    python.parent.chmod(0o777)
    assert str(python.parent) in writable_by_others(str(python))


def test_what_libvirt_hands_on_is_the_last_argument_and_ignored(hook: HookInPlace) -> None:
    assert hook.run(LOOSE, arguments=(*PREPARE, "more")).returncode == 1
