"""The guard before real QEMUs: clients of every kind work through it; what is refused leaves the guest as it was."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from array import array
from pathlib import Path

import pytest

from sequester.guard.discovery import discovered
from sequester.guard.guard import Guard
from sequester.guard.monitor import connect
from sequester.simulator.platform import QmpError

pytestmark = pytest.mark.real_qemu
x86 = pytest.mark.real_qemu(arch="x86_64")
Q35 = (
    "-machine",
    "q35",
    "-device",
    "pcie-root-port,id=rp0,chassis=1",
    "-device",
    "pcie-root-port,id=rp1,chassis=2",
)
PROTECTED = (
    *("-preconfig", "-machine", "q35,confidential-guest-support=s0"),
    *("-object", "sev-guest,id=s0,cbitpos=51,reduced-phys-bits=1,policy=5"),
)


@contextlib.contextmanager
def started(qemu, folder: Path, *words: str):
    """A QEMU that is stopped before its first instruction; its private socket."""
    path = str(folder / "private")
    monitor = ("-qmp", f"unix:{path},server=on,wait=off")
    with subprocess.Popen(
        [qemu.path, "-nodefaults", "-display", "none", "-S", *words, *monitor],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as running:
        try:
            until(lambda: listens(path) or running.poll() is not None)
            assert running.poll() is None, running.stderr.read()
            yield running, path
        finally:
            running.kill()


@contextlib.asynccontextmanager
async def guarded(qemu, folder: Path, *words: str, limit: str | None = "sev-snp"):
    """A guard in this process; its path."""
    with started(qemu, folder, *words) as (_, private):
        monitor = await connect(private)
        guard = Guard(await discovered(monitor.execute, monitor.version, limit), monitor)
        guard.serve(str(folder / "q"))
        try:
            yield guard, str(folder / "q")
        finally:
            guard.close()


def listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as knock:
        return knock.connect_ex(path) == 0


def until(seen) -> None:
    deadline = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Plain:
    """A client of plain sockets, for a thread of its own."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")
        self.greeting = json.loads(self.file.readline())
        assert self.ask("qmp_capabilities", enable=["oob"]) == {"return": {}}

    def say(self, text: bytes, *fds: int):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        self.sock.sendmsg([text], rights)
        return self.reply()

    def reply(self):
        while "event" in (told := json.loads(self.file.readline())):
            pass
        return told

    def ask(self, command: str, **arguments):
        return self.say(json.dumps({"execute": command, "arguments": arguments}).encode())

    def close(self) -> None:
        self.file.close()
        self.sock.close()


def through(qemu, folder: Path, talk, *words: str, limit: str | None = "sev-snp"):
    """Have `talk` talk to a guard before this QEMU; return what it returns."""

    async def story():
        async with guarded(qemu, folder, *(words or Q35), limit=limit) as (_, path):
            client = await asyncio.to_thread(Plain, path)
            try:
                return await asyncio.to_thread(talk, client)
            finally:
                client.close()

    return asyncio.run(story())


@x86
def test_plugged_in_virtio_devices_have_what_they_need(qemu, tmp_path) -> None:
    def talk(client):
        for driver, bus in (("virtio-rng-pci", "rp0"), ("virtio-scsi-pci", "rp1")):
            assert client.ask("device_add", driver=driver, id=bus + "d", bus=bus) == {"return": {}}
        told = {}
        for name in ("iommu_platform", "disable-legacy"):
            for device in ("rp0d", "rp1d"):
                told[device, name] = client.ask(
                    "qom-get", path=f"/machine/peripheral/{device}", property=name
                )
        return {value["return"] for value in told.values()}

    assert through(qemu, tmp_path, talk) == {True, "on"}


@x86
def test_what_is_refused_leaves_the_guest_as_it_was(qemu, tmp_path) -> None:
    def state(client):
        asked = ("query-status", "query-memdev", "query-migrate", "query-chardev", "query-pci")
        listed = [client.ask("qom-list", path=path) for path in ("/machine/peripheral", "/objects")]
        return [client.ask(command) for command in asked] + listed

    def talk(client):
        before = state(client)
        file = str(tmp_path / "dump")
        chardev = {"id": "c", "backend": {"type": "null", "data": {}}}
        refused = [
            client.ask("device_add", driver="virtio-rng-pci", id="d", bus="rp0", iommu_platform=False),
            client.ask("device_add", driver="virtio-net-pci-transitional", id="d", bus="rp0"),
            client.ask("memsave", val=0, size=16, filename=file),
            client.ask("pmemsave", val=0, size=16, filename=file),
            client.ask("dump-guest-memory", paging=False, protocol=f"file:{file}"),
            client.ask("screendump", filename=file),
            client.ask("migrate", uri=f"exec:cat >{file}"),
            client.ask("human-monitor-command", **{"command-line": f"pmemsave 0 16 {file}"}),
            client.ask("human-monitor-command", **{"command-line": "gdbserver tcp::0"}),
            client.ask("object-add", **{"qom-type": "qtest", "id": "t", "chardev": "c"}),
            client.ask("qom-set", path="/machine", property="mem-merge", value=True),
        ]
        assert all(reply["error"]["desc"].startswith("SQ") for reply in refused)
        assert state(client) == before
        assert not os.path.exists(file)
        assert client.ask("chardev-add", **chardev)["return"] == {}

    through(qemu, tmp_path, talk)


@x86
def test_descriptors_reach_qemu(qemu, tmp_path) -> None:
    def talk(client):
        read, write = os.pipe()
        assert client.say(b'{"execute": "getfd", "arguments": {"fdname": "f"}}', read) == {"return": {}}
        added = client.say(b'{"execute": "add-fd", "arguments": {"fdset-id": 3}}', write)
        assert added["return"]["fdset-id"] == 3
        assert client.ask("query-fdsets")["return"][0]["fdset-id"] == 3
        assert client.ask("closefd", fdname="f") == {"return": {}}
        assert "No file descriptor" in client.ask("getfd", fdname="g")["error"]["desc"]
        os.close(read)
        os.close(write)

    through(qemu, tmp_path, talk)


@x86
def test_qemus_own_words_come_through(qemu, tmp_path) -> None:
    def talk(client):
        assert client.greeting["QMP"]["version"]["qemu"]["major"] == qemu.release[0]
        assert "Debian" in client.greeting["QMP"]["version"]["package"]
        assert client.say(b"{'execute': 'query-name', 'id': {'e': ['\xc3\xa9', null]}}") == {
            "return": {},
            "id": {"e": ["é", None]},
        }
        assert client.say(b'{"exec-oob": "yank", "arguments": {"instances": []}, "id": 1}') == {
            "return": {},
            "id": 1,
        }
        not_oob = client.say(b'{"exec-oob": "query-status", "id": 2}')
        assert not_oob["error"]["desc"] == "The command query-status does not support OOB"
        assert len(json.dumps(client.ask("query-qmp-schema"))) > 100_000
        words = {
            b'{"execute": 5}': "'execute' must be a string",
            b'{"execute": "query-status", "x": 1}': "'x' is unexpected",
            b'{"execute": "query-status", "arguments": 5}': "'arguments' must be an object",
            b'{"execute": "device_add", "arguments": {"driver": "no-such"}}': "no-such",
        }
        for text, said in words.items():
            assert said in client.say(text)["error"]["desc"]

    through(qemu, tmp_path, talk)


@x86
def test_qemus_python_client_works_through_it(qemu, tmp_path) -> None:
    from qemu.qmp import ExecuteError, QMPClient

    async def story() -> None:
        async with guarded(qemu, tmp_path, *Q35) as (guard, path):
            client = QMPClient("test")
            await client.connect(path)
            assert (await client.execute("query-status"))["status"] == "prelaunch"
            with client.listener("RESUME") as events:
                await client.execute("cont")
                assert (await asyncio.wait_for(events.get(), 20))["event"] == "RESUME"
            with pytest.raises(ExecuteError, match="SQ901"):
                await client.execute("migrate", {"uri": "exec:cat"})
            assert await guard.execute("query-uuid")
            await client.disconnect()

    asyncio.run(story())


@x86
def test_socat_and_qmp_shell_work_through_it(qemu, tmp_path) -> None:
    def of(argv: list[str], text: str) -> str:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout

    async def story() -> None:
        async with guarded(qemu, tmp_path, *Q35) as (_, path):
            text = '{"execute": "qmp_capabilities"}\n{"execute": "query-status", "id": 1}\n'
            with contextlib.suppress(FileNotFoundError):
                said = await asyncio.to_thread(of, ["socat", "-", f"UNIX-CONNECT:{path}"], text)
                assert json.loads(said.splitlines()[-1])["id"] == 1
            shell = [sys.executable, "-c", "from qemu.qmp.qmp_shell import main; main()", path]
            said = await asyncio.to_thread(of, shell, "query-status\nmemsave val=0 size=1 filename=x\n")
            assert "prelaunch" in said
            assert "SQ903" in said

    asyncio.run(story())


@x86
def test_a_protection_object_is_found_and_kept(qemu, tmp_path) -> None:
    async def story() -> None:
        async with guarded(qemu, tmp_path, *PROTECTED, limit=None) as (guard, path):
            assert guard.rulebook.limitation.name == "sev-es"
            assert guard.rulebook.guest.arch == "x86_64"
            client = await asyncio.to_thread(Plain, path)

            def talk() -> list[str]:
                return [
                    client.ask(*told[:1], **told[1])["error"]["desc"][:5]
                    for told in (
                        ("object-del", {"id": "s0"}),
                        ("qom-set", {"path": "s0", "property": "policy", "value": 0}),
                        (
                            "qom-set",
                            {"path": "/machine", "property": "confidential-guest-support", "value": ""},
                        ),
                    )
                ]

            assert await asyncio.to_thread(talk) == ["SQ910", "SQ911", "SQ911"]
            assert await guard.execute("qom-get", {"path": "/objects/s0", "property": "policy"}) == 5
            await guard.execute("object-del", {"id": "s0"})  # QEMU itself would not have minded
            with pytest.raises(QmpError):
                await guard.execute("qom-get", {"path": "/objects/s0", "property": "policy"})
            client.close()

    asyncio.run(story())


@pytest.mark.real_qemu(arch="s390x")
def test_a_guest_that_has_not_switched_over_is_free_but_for_its_devices(qemu, tmp_path) -> None:
    def talk(client):
        file = tmp_path / "memory"
        assert client.ask("memsave", val=0, size=16, filename=str(file)) == {"return": {}}
        assert file.stat().st_size == 16
        assert client.ask("device_add", driver="virtio-rng-ccw", id="r") == {"return": {}}
        return client.ask("qom-get", path="/machine/peripheral/r", property="iommu_platform")["return"]

    assert through(qemu, tmp_path, talk, "-machine", "s390-ccw-virtio", limit="s390-pv") is True


@pytest.mark.real_qemu(arch="ppc64")
def test_where_qemu_cannot_tell_of_the_switchover_every_rule_binds(qemu, tmp_path) -> None:
    def talk(client):
        return client.ask("memsave", val=0, size=16, filename=str(tmp_path / "memory"))

    reply = through(qemu, tmp_path, talk, "-machine", "pseries", limit="pef")
    assert reply["error"]["desc"].startswith("SQ903")


@contextlib.contextmanager
def command(folder: Path, private: str, *words: str):
    argv = [
        sys.executable,
        "-m",
        "sequester",
        "guard",
        "--qmp",
        private,
        "--listen",
        str(folder / "q"),
        *words,
    ]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running, running.stderr.readline()
        finally:
            running.kill()


@pytest.mark.real_qemu(arch="x86_64", version="11")
def test_the_command_guards_until_qemu_ends(qemu, tmp_path) -> None:
    with started(qemu, tmp_path, *PROTECTED) as (running, private):
        with command(tmp_path, private, "--json") as (guard, first):
            told = json.loads(first)
            assert (told["event"], told["platform"], told["protected"]) == ("listening", "sev-es", True)
            client = Plain(str(tmp_path / "q"))
            assert client.ask("migrate", uri="exec:cat")["error"]["desc"].startswith("SQ901")
            assert json.loads(guard.stderr.readline())["code"] == "SQ901"
            assert client.ask("quit") == {"return": {}}
            assert guard.wait(30) == 0
            client.close()
        running.wait(30)
    assert not (tmp_path / "q").exists()


@pytest.mark.real_qemu(arch="x86_64", version="11")
def test_a_signal_ends_the_command_and_not_qemu(qemu, tmp_path) -> None:
    with started(qemu, tmp_path, *Q35) as (running, private):
        for number in (signal.SIGTERM, signal.SIGINT):
            with command(tmp_path, private, "--limit", "tdx") as (guard, first):
                assert "NOT protected" in first
                guard.send_signal(number)
                assert guard.wait(30) == 0
                assert "nobody guards" in guard.stderr.read()
            assert not (tmp_path / "q").exists()
        assert running.poll() is None


@pytest.mark.real_qemu(arch="x86_64", version="11")
def test_a_qemu_that_is_killed_ends_the_command_with_an_error(qemu, tmp_path) -> None:
    with (
        started(qemu, tmp_path, *Q35) as (running, private),
        command(tmp_path, private, "--limit", "tdx") as (guard, _),
    ):
        running.kill()
        assert guard.wait(30) == 4
        assert guard.stderr.read().startswith("sequester: ")
    assert not (tmp_path / "q").exists()


@x86
def test_without_the_guard_another_monitor_and_memory_are_there_for_the_asking(qemu, tmp_path) -> None:
    words = (
        "-chardev",
        f"socket,id=o,path={tmp_path}/o,server=on,wait=off",
        "-mon",
        "chardev=o,mode=control",
    )
    with started(qemu, tmp_path, *Q35, *words) as (_, private):
        client = Plain(private)
        ours, theirs = socket.socketpair()
        ours.settimeout(30)
        client.say(b'{"execute": "getfd", "arguments": {"fdname": "x"}}', theirs.fileno())
        assert client.ask("add_client", protocol="o", fdname="x") == {"return": {}}
        assert ours.recv(8).startswith(b'{"QMP"')
        null = {"id": "n", "backend": {"type": "null", "data": {}}}
        assert client.ask("chardev-add", **null)["return"] == {}
        assert client.ask("object-add", **{"qom-type": "qtest", "id": "q", "chardev": "n"}) == {"return": {}}
        for sock in (ours, theirs, client):
            sock.close()
