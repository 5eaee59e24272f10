"""Checks on the kernel: version, build, modules, arguments, log, and what its files say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sequester.host.printable import shown
from sequester.host.requirement import Check, Verdict, failed, passed, unknown

if TYPE_CHECKING:
    from sequester.host.facts import HostFacts

BUILTIN = "on the kernel's command line where it is built in"
LOG_REMEDY = "probe as root, or sysctl kernel.dmesg_restrict=0, or join the group systemd-journal or adm"


def dotted(version: tuple[int, ...]) -> str:
    """Write a version with dots."""
    return ".".join(str(number) for number in version)


def kernel_at_least(*version: int, unless: str = "") -> Check:
    """The kernel has at least a version, or a file that only the feature brings: distributions port back."""

    def check(facts: HostFacts) -> Verdict:
        if not facts.kernel_version:
            return unknown("the record has no kernel version")
        read = f"Linux {shown(facts.kernel)}"
        if facts.kernel_version >= version:
            return passed(read)
        if unless and facts.file(unless).text is not None:
            return passed(f"{read} with {unless}: ported back")
        return failed(
            f"{read}, older than {dotted(version)}", "", f"install Linux {dotted(version)} or later"
        )

    return check


def kernel_built_with(option: str) -> Check:
    """The kernel was configured with an option, built in or as a module."""

    def check(facts: HostFacts) -> Verdict:
        if facts.config is None:
            return unknown(f"the kernel's configuration is not readable ({option})")
        if facts.config.get(option) in ("y", "m"):
            return passed(f"{option}={facts.config[option]}")
        return failed(f"{option} is not set in the kernel's configuration", "", f"use a kernel with {option}")

    return check


def module_loaded(module: str, builtin_hint: str = "") -> Check:
    """A module is loaded or built in."""

    def check(facts: HostFacts) -> Verdict:
        node = facts.node(f"/sys/module/{module}")
        if node.exists:
            return passed(f"/sys/module/{module} is there")
        if not node.absent:
            return unknown(f"/sys/module/{module}: {shown(node.error)}")
        return failed(
            f"no /sys/module/{module}", builtin_hint or f"{module} is not loaded", f"modprobe {module}"
        )

    return check


def module_parameter_on(module: str, name: str, brought: str = "", remedy: str = "") -> Check:
    """A module's switch is on, in any spelling.

    `brought`: the kernel that brought the parameter. `remedy`: advice before that of turning it on.
    """

    def check(facts: HostFacts) -> Verdict:
        reading = facts.module_parameter(module, name)
        path = f"/sys/module/{module}/parameters/{name}"
        if reading.on:
            return passed(f"{path} = {shown(reading.text or '')}")
        if reading.on is False:
            turn_on = (
                f"echo 'options {module} {name}=1' > /etc/modprobe.d/{module}.conf, then with no guest running "
                f"'modprobe -r {module} && modprobe {module}' ({module}.{name}=1 {BUILTIN})"
            )
            mend = f"{remedy}; {turn_on}" if remedy else turn_on
            return failed(f"{path} = {shown(reading.text or '')}", f"{module}.{name} is off", mend)
        if reading.text is not None:
            return unknown(f"{path} = '{shown(reading.text, 40)}', neither on nor off")
        if not reading.absent:
            return unknown(f"{path}: {shown(reading.error)}", "", "probe as root")
        module_node = facts.node(f"/sys/module/{module}")
        if module_node.exists:
            newer = (
                f"install Linux {brought} or later, built with it" if brought else "install a newer kernel"
            )
            return failed(f"no {path}", f"this {module} does not know {name}", newer)
        if module_node.absent:
            return failed(f"no /sys/module/{module}", f"{module} is not loaded", f"modprobe {module}")
        return unknown(f"{path}: {shown(reading.error)}")

    return check


def cmdline_lacks(name: str, *values: str, remedy: str = "") -> Check:
    """The kernel was not started with an argument (with one of these values, where any are given)."""

    def check(facts: HostFacts) -> Verdict:
        if facts.arguments is None:
            return unknown("/proc/cmdline is not readable")
        # All occurrences: iommu=pt stays in force when iommu=1 follows.
        for argument in facts.arguments:
            key, _, value = argument.partition("=")
            if key == name and (not values or set(value.split(",")) & set(values)):
                mend = remedy or f"take {shown(argument)} off the kernel's command line and reboot"
                return failed(f"/proc/cmdline has {shown(argument)}", "", mend)
        return passed(f"/proc/cmdline has no {name}" + (f"={'|'.join(values)}" if values else ""))

    return check


def cmdline_on(name: str, remedy: str = "") -> Check:
    """The kernel was started with a switch on. Like the kernel, only the first letters of the value count."""

    def check(facts: HostFacts) -> Verdict:
        if facts.arguments is None:
            return unknown("/proc/cmdline is not readable")
        value = facts.cmdline.get(name)
        if value is not None and re.match(r"$|1|[yYtT]|[oO][nN]", value):
            return passed(
                f"/proc/cmdline has {name}={shown(value)}" if value else f"/proc/cmdline has {name}"
            )
        read = f"/proc/cmdline has no {name}" if value is None else f"/proc/cmdline has {name}={shown(value)}"
        return failed(read, "", remedy or f"add {name}=1 to the kernel's command line and reboot")

    return check


def file_says(path: str, pattern: str, missing: str = "") -> Check:
    """A file's text matches a regular expression from its start. `missing`: what it means that there is none."""

    def check(facts: HostFacts) -> Verdict:
        reading = facts.file(path)
        if reading.text is None:
            if reading.absent:
                return failed(f"no {path}", missing)
            return unknown(f"{path}: {shown(reading.error)}")
        if re.match(pattern, reading.text):
            return passed(f"{path} = {shown(reading.text)}")
        return failed(f"{path} = '{shown(reading.text)}'")

    return check


def present(path: str, missing: str = "") -> Check:
    """Something is at a path."""

    def check(facts: HostFacts) -> Verdict:
        node = facts.node(path)
        if node.exists:
            return passed(f"{path} is there ({node.kind})")
        return failed(f"no {path}", missing) if node.absent else unknown(f"{path}: {shown(node.error)}")

    return check


def directory_filled(path: str, empty: str = "") -> Check:
    """A directory has entries. `empty`: what it means when it has none."""

    def check(facts: HostFacts) -> Verdict:
        count = facts.directories.get(path, "not in the record")
        if isinstance(count, str):
            return failed(f"no {path}", empty) if count == "ENOENT" else unknown(f"{path}: {shown(count)}")
        return passed(f"{path} has {count} entries") if count else failed(f"{path} is empty", empty)

    return check


def log_says(
    good: Sequence[str] = (),
    bad: Sequence[tuple[str, str, str]] = (),
    silence: str = "",
) -> Check:
    """The kernel's log has a line of success, and none of failure after it.

    `good`: regular expressions. `bad`: (regular expression, why, remedy), the most telling first. `silence`:
    what it means that a complete log has none of them (then FAILED); without it silence says nothing.
    """

    def check(facts: HostFacts) -> Verdict:
        log = facts.log
        matches = [
            number for number, line in enumerate(log.lines) if any(re.search(one, line) for one in good)
        ]
        since = matches[-1] + 1 if matches else 0
        for pattern, why, remedy in bad:
            for line in reversed(log.lines[since:]):
                if re.search(pattern, line):
                    return failed(f"kernel log: '{shown(line)}'", why, remedy)
        if matches:
            return passed(f"kernel log: '{shown(log.lines[since - 1])}'")
        if log.error:
            return unknown(f"kernel log: {shown(log.error)}", "", LOG_REMEDY)
        if not log.complete:
            return unknown("the kernel log has nothing on it, and no longer begins at boot")
        return failed("the kernel log has nothing on it", silence) if silence else unknown("")

    return check
