"""SQ807 and SQ808: secrets that the host gives away or should not have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sequester.findings.case import Case
from sequester.findings.rule import Breach, Rule, Severity
from sequester.guest.firmware import setting
from sequester.guest.part import Part, Value
from sequester.platforms.limitation import Limits

_READ = int(Limits.READ_MEMORY)
_PLAIN_KEYS = frozenset({"password", "passwd", "passphrase", "secret", "token", "apikey", "api-key"})
"""Last words of the names of kernel arguments, fw_cfg files and other settings that hold a secret itself."""
_CREDENTIAL = ("systemd.set_credential", "systemd.set_credential_binary")
_SMBIOS_CREDENTIAL = "io.systemd.credential"
_DEPTH = 4


def _on_command_line(case: Case) -> Iterator[Breach]:
    for found, part, holds_it in _plain_secrets(case):
        # A report shows a part's type and how it was spelled, and is no place for the secret either.
        shown = replace(part, spelled="", type="" if holds_it else part.type)
        yield Breach(f"{found} on the command line", shown)


def _plain_secrets(case: Case) -> Iterator[tuple[str, Part, bool]]:
    """Yield what is given away, the part that does so, and whether that part's type holds the secret."""
    guest = case.guest
    for part in guest.objects:
        if part.type == "secret" and "data" in part.properties and "keyid" not in part.properties:
            yield f"{part.label()} has its data", part, False
    for group in ("spice", "iscsi"):
        for part in guest.of(group):
            if part.text("password"):
                yield f"-{group} has its password", part, False
    for part in guest.of("vnc"):
        if part.text("password") and part.flag("password") is None:
            yield "-vnc has its password, where QEMU takes on or off alone,", part, False
    for part in (*guest.of("drive"), *guest.of("blockdev")):
        if name := _in_drive(part):
            named = f"{part.group} '{part.id}'" if part.id else f"a {part.group}"
            yield f"{named} has a password ({name})", part, True
    given = setting(guest, "append")
    if given is not None:
        for word in given[0].split():
            name, _, value = word.partition("=")
            if value and (name in _CREDENTIAL or _secret_name(name)):
                yield f"the kernel has a secret ({name})", given[1], given[1].group == "append"
    for part in guest.of("fw_cfg"):
        name = part.type or part.text("name") or ""
        if part.text("string") and (_secret_name(name) or name.startswith("opt/io.systemd.credentials/")):
            yield f"fw_cfg {name} has its contents", part, False
    for part in guest.of("smbios"):
        if (part.text("value") or "").startswith(_SMBIOS_CREDENTIAL):
            yield "SMBIOS type 11 has a systemd credential", part, False


def _secret_name(name: str) -> bool:
    """Tell whether a setting's name ends in a word for a secret: ``luks.password``, ``api_token``."""
    tail = name.lower().replace("_", ".").replace("/", ".").rpartition(".")[2]
    return tail in _PLAIN_KEYS or tail.rpartition("-")[2] in _PLAIN_KEYS


def _in_drive(part: Part) -> str:
    """Return where a disk has a password in plain text: user:password@ in an address, or Ceph's ``key=``."""
    if part.type and (found := _in_address(part.type)):
        return found
    for name, value in part.properties.items():
        if name.endswith("password"):
            return name
        if isinstance(value, str):
            found = _in_address(value)
        elif isinstance(value, dict):
            found = next((found for text in _texts(value, _DEPTH) if (found := _in_address(text))), "")
        else:
            continue
        if found:
            return found
    return ""


def _in_address(text: str) -> str:
    if "@" in text and "://" in text:
        scheme, _, rest = text.partition("://")
        user, at, _ = rest.partition("@")
        if at and "/" not in user and (":" in user or "%" in user):
            return f"in the address, {scheme.rpartition(':')[2]}"
    elif ":key=" in text and text.startswith("rbd:"):
        return "rbd's key="
    return ""


def _texts(value: Value, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict) and depth:
        for below in value.values():
            yield from _texts(below, depth - 1)


def _decrypted_by_host(case: Case) -> Iterator[Breach]:
    for part in case.guest.of("blockdev"):
        if (
            part.type == "luks"
            or isinstance(part.get("encrypt"), dict)
            or "encrypt.format" in part.properties
        ):
            yield Breach(f"{part.label()} is decrypted by QEMU, with a key that the host has", part)
    for part in case.guest.of("drive"):
        if part.text("format") == "luks" or any(name.startswith("encrypt.") for name in part.properties):
            yield Breach(f"{part.label()} is decrypted by QEMU, with a key that the host has", part)


SECRET_RULES: tuple[Rule, ...] = (
    Rule(
        "SQ807",
        "A secret on the command line",
        Severity.WARNING,
        _on_command_line,
        why="Every user of the host reads the arguments of every process, and logs and crash reports keep them. What "
        "the host hands to a guest at start it also knows itself.",
        broken="QEMU 7.2 and 11.1 with -object secret,data=...: `cat /proc/PID/cmdline` shows it to user nobody. With "
        "-spice password= 7.2 warns (\"'password' option is deprecated and insecure, use 'password-secret' instead\"); "
        "-vnc password=... is refused by 7.2, 10.0 and 11.1 (\"Parameter 'password' expects 'on' or 'off'\").",
        remedy="use -object secret,file=PATH, named by password-secret=, key-secret= or the like; hand secrets to the "
        "guest after attestation",
        references=("https://www.qemu.org/docs/master/system/secrets.html",),
        limits=_READ,
    ),
    Rule(
        "SQ808",
        "A disk that the host decrypts",
        Severity.NOTE,
        _decrypted_by_host,
        why="Encryption in QEMU's block layer keeps the disk from whoever stores it. The host has the key, and the "
        "guest's data pass through it in the clear.",
        broken="It works as ever: the guest sees an ordinary disk.",
        remedy="encrypt in the guest (dm-crypt, with a key that it gets after attestation)",
        references=("https://www.qemu.org/docs/master/system/secrets.html",),
        limits=_READ,
    ),
)
