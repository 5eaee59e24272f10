"""Reads the ACPI tables that a QEMU makes, from that very QEMU: its firmware has to run until it has read them.

QEMU makes the tables anew when they are first read after a start, from how the firmware set the machine up: PCI
windows, MMCONFIG, power management (hw/i386/acpi-build.c, `acpi_build_update`). So the machine runs, unprotected and
under TCG, until a trace event says that its firmware has asked for them; then it is stopped, and they are read through
the same device (fw_cfg: docs/specs/fw_cfg.rst) by the protocol of qtest (docs/devel/testing/qtest.rst).
"""

from __future__ import annotations

import json
import os
import re
import selectors
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from sequester.errors import GuestError, HostError
from sequester.measure.tdx_events import AcpiTables

Version = tuple[int, int]

PATIENCE = 120.0
"""Seconds that a firmware may take; under TCG it takes one or two."""
_NAMES = ("etc/table-loader", "etc/acpi/rsdp", "etc/acpi/tables")
"""In the order in which firmware reads them."""
_DIRECTORY = 0x19
_ENTRY = struct.Struct(">IHH56s")
_MOST_FILES, _LARGEST = 1024, 4 << 20
_DMA_HIGH, _DMA_LOW = 0x514, 0x518
_SELECT, _READ = 8, 2
_CONTROL_AT, _DATA_AT = 0x1000, 0x100000
_SELECTED = re.compile(rb"fw_cfg_select \S+ key 0x([0-9a-f]+)")
_MOST_LINES = 100_000


def read_tables(argv: Sequence[str], patience: float = PATIENCE) -> tuple[AcpiTables, Version]:
    """Run a machine until its firmware has read its ACPI tables; return them, and QEMU's major and minor version.

    `argv` is the emulator and what builds the machine, without accelerator or monitor. Raises HostError where it
    cannot be run, GuestError where it ends, or its firmware does not ask for the tables in `patience` seconds.
    """
    ours, theirs = socket.socketpair()
    with closing(ours), theirs:
        number = theirs.fileno()
        command = [
            *(*argv, "-accel", "tcg", "-S", "-qtest", "stdio", "-qtest-log", "/dev/null"),
            *("-trace", "enable=fw_cfg_select"),
            *(
                "-chardev",
                f"socket,id=sequester-qmp,fd={number}",
                "-mon",
                "chardev=sequester-qmp,mode=control",
            ),
        ]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(number,),
            )
        except OSError as error:
            raise HostError(
                "this QEMU cannot be run", code="qemu.unusable", where=argv[0], why=error.strerror or ""
            ) from None
        theirs.close()
        try:
            return _Machine(process, ours, time.monotonic() + patience).tables()
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


def _received(descriptor: int) -> bytes:
    """Return what has come, b"" at the end of a stream or of its other side."""
    try:
        return os.read(descriptor, 1 << 16)
    except ConnectionError:
        return b""


class _Machine:
    """A QEMU with its three lines: qtest on its standard streams, trace events on its errors, QMP on a socket."""

    def __init__(self, process: subprocess.Popen[bytes], monitor: socket.socket, end: float) -> None:
        self._process = process
        self._monitor = monitor
        self._end = end
        self._lines = {"qtest": b"", "trace": b"", "qmp": b""}
        self._last = b""
        self._selector = selectors.DefaultSelector()
        assert process.stdout is not None
        assert process.stderr is not None
        self._selector.register(process.stdout, selectors.EVENT_READ, "qtest")
        self._selector.register(process.stderr, selectors.EVENT_READ, "trace")
        self._selector.register(monitor, selectors.EVENT_READ, "qmp")

    def tables(self) -> tuple[AcpiTables, Version]:
        """Let the firmware read the tables, then read them."""
        with self._selector:
            version = self._version()
            self._execute("qmp_capabilities")
            files = self._directory()
            missing = [name for name in _NAMES if name not in files]
            if missing:
                raise self._fault(f"this machine has no {missing[0]}: it makes no ACPI tables")
            self._qtest(f"memset {_CONTROL_AT:#x} 16 0")
            self._qtest(f"memset {_DATA_AT:#x} {_ENTRY.size * _MOST_FILES:#x} 0")
            self._lines["trace"] = b""
            self._execute("cont")
            wanted = files[_NAMES[-1]][0]
            for _ in range(_MOST_LINES):
                found = _SELECTED.search(self._line("trace"))
                if found is not None and int(found[1], 16) == wanted:
                    break
            else:
                raise self._fault("its firmware reads on and on")
            self._execute("stop")
            loader, rsdp, tables = (self._read(*files[name]) for name in _NAMES)
            return AcpiTables(loader, rsdp, tables), version

    def _version(self) -> Version:
        greeting = self._message()
        try:
            number = greeting["QMP"]["version"]["qemu"]
            return int(number["major"]), int(number["minor"])
        except (KeyError, TypeError, ValueError):
            raise self._fault("its monitor does not greet as QEMU's does") from None

    def _directory(self) -> dict[str, tuple[int, int]]:
        """Return each file's key and size."""
        count = int.from_bytes(self._read(_DIRECTORY, 4), "big")
        if count > _MOST_FILES:
            raise self._fault(f"it claims {count} files")
        raw = self._read(_DIRECTORY, 4 + count * _ENTRY.size)[4:]
        entries = _ENTRY.iter_unpack(raw)
        return {name.split(b"\0")[0].decode("latin-1"): (key, size) for size, key, _reserved, name in entries}

    def _read(self, key: int, size: int) -> bytes:
        """Read a file of fw_cfg by DMA into guest memory."""
        if size > _LARGEST:
            raise self._fault(f"a file of {size} bytes is larger than any real one")
        control = struct.pack(">IIQ", key << 16 | _SELECT | _READ, size, _DATA_AT)
        self._qtest(f"write {_CONTROL_AT:#x} 16 0x{control.hex()}")
        self._qtest(f"outl {_DMA_HIGH:#x} 0")
        self._qtest(f"outl {_DMA_LOW:#x} {int.from_bytes(_CONTROL_AT.to_bytes(4, 'big'), 'little'):#x}")
        if any(self._memory(_CONTROL_AT, 4)):
            raise self._fault("its fw_cfg gives nothing by DMA")
        return self._memory(_DATA_AT, size)

    def _memory(self, at: int, size: int) -> bytes:
        try:
            data = bytes.fromhex(self._qtest(f"read {at:#x} {size:#x}").removeprefix("0x"))
        except ValueError:
            raise self._fault("it does not answer in numbers") from None
        if len(data) != size:
            raise self._fault("its memory cannot be read")
        return data

    def _qtest(self, command: str) -> str:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(command.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        while True:
            words = self._line("qtest").decode("ascii", "replace").split()
            if words[:1] == ["OK"]:
                return words[1] if len(words) > 1 else ""
            if words[:1] != ["IRQ"]:
                raise self._fault("qtest answers " + " ".join(words)[:100])

    def _execute(self, command: str) -> None:
        try:
            self._monitor.sendall(json.dumps({"execute": command}).encode() + b"\n")
        except OSError:
            raise self._ended() from None
        while True:
            answer = self._message()
            if "error" in answer:
                raise self._fault(f"it refuses '{command}'")
            if "return" in answer:
                return

    def _message(self) -> dict[str, Any]:
        try:
            message = json.loads(self._line("qmp"))
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise self._fault("its monitor does not speak JSON")
        return message

    def _line(self, which: str) -> bytes:
        """Return the next line of one of the three, keeping what comes on the others."""
        while b"\n" not in self._lines[which]:
            left = self._end - time.monotonic()
            ready = self._selector.select(max(left, 0))
            if left <= 0:
                raise GuestError(
                    "this firmware has not read its ACPI tables in time",
                    code="measure.acpi",
                    where=self._process.args[0] if isinstance(self._process.args, list) else "",
                    remedy="read them from a guest of the same shape (--acpi)",
                )
            for key, _events in ready:
                data = _received(key.fd)
                if not data:
                    raise self._ended()
                self._keep(key.data, data)
        line, _, self._lines[which] = self._lines[which].partition(b"\n")
        return line

    def _keep(self, which: str, data: bytes) -> None:
        if which == "trace":
            other = [line for line in data.split(b"\n") if line.strip() and b"fw_cfg_select" not in line]
            self._last = other[-1][:200] if other else self._last
        self._lines[which] += data
        if len(self._lines[which]) > 8 * _LARGEST:
            raise self._fault("it talks without end")

    def _ended(self) -> GuestError:
        """Return the error for a QEMU that went away, with its last words."""
        assert self._process.stderr is not None
        self._process.kill()
        self._keep("trace", b"\n" + _received(self._process.stderr.fileno()))
        return GuestError("QEMU ended", code="qemu.ended", why=self._last.decode("utf-8", "replace"))

    def _fault(self, what: str) -> GuestError:
        return GuestError(f"ACPI tables cannot be read from this QEMU: {what}", code="measure.acpi")
