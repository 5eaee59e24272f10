"""QMP through the guard: what clients see is what they would see of QEMU."""

import asyncio
import json
import os
import socket
from array import array
from pathlib import Path

import pytest
from fake_monitor import Client, FakeQemu, rules_of, setting

from sequester.errors import GuestError, HostError, InputError
from sequester.guard.monitor import connect
from sequester.simulator.platform import QmpError


def test_a_client_is_greeted_with_qemus_own_words_and_negotiates_for_itself(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at:
            client, other = at.client(), at.client()
            greeting = await client.connect()
            assert greeting["QMP"]["version"]["qemu"] == {"major": 11, "minor": 1, "micro": 2}
            assert greeting["QMP"]["capabilities"] == ["oob"]
            early = await client.say('{"execute": "query-status", "id": 1}')
            assert early["id"] == 1
            assert early["error"]["class"] == "CommandNotFound"
            assert "Expecting capabilities negotiation" in early["error"]["desc"]
            assert await client.ask("qmp_capabilities") == {"return": {}}
            again = await client.ask("qmp_capabilities")
            assert again["error"]["class"] == "CommandNotFound"
            await other.connect()
            assert "error" in await other.ask("query-status")
            assert at.qemu.asked == []

    asyncio.run(story())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"enable": ["nope"]}', "does not accept value 'nope'"),
        ('{"enable": 5}', "expected: array"),
        ('{"other": 1}', "'other' is unexpected"),
        ("[]", "must be an object"),
    ],
)
def test_a_wrong_negotiation_is_refused_and_may_be_tried_again(tmp_path: Path, arguments, words) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at:
            client = at.client()
            await client.connect()
            reply = await client.say(f'{{"execute": "qmp_capabilities", "arguments": {arguments}}}')
            assert words in reply["error"]["desc"]
            assert await client.ask("qmp_capabilities", enable=["oob"]) == {"return": {}}

    asyncio.run(story())


def test_capabilities_that_qemu_has_not_are_not_offered(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path, qemu=FakeQemu(capabilities=())) as at:
            client = at.client()
            assert (await client.connect())["QMP"]["capabilities"] == []
            assert "error" in await client.ask("qmp_capabilities", enable=["oob"])

    asyncio.run(story())


@pytest.mark.parametrize(
    "identity", ["1", '"é"', "null", "[1, {}]", '{"a": 1.5}', "12345678901234567890", '""']
)
def test_ids_of_any_type_come_back(tmp_path: Path, identity) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as client:
            for command in ("query-status", "migrate"):
                reply = await client.say(f'{{"execute": "{command}", "id": {identity}}}')
                assert reply["id"] == json.loads(identity)
            assert "id" not in await client.ask("query-status")

    asyncio.run(story())


def test_ids_of_different_clients_never_meet(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as one, at.client() as two:
            at.qemu.answers["qom-get"] = lambda arguments: arguments["path"]
            for client, path in ((one, "a"), (two, "b")):
                client.send(json.dumps({"execute": "qom-get", "arguments": {"path": path}, "id": 1}))
            assert await two.line() == {"return": "b", "id": 1}
            assert await one.line() == {"return": "a", "id": 1}

    asyncio.run(story())


def test_a_batch_is_answered_in_its_order_refusals_included(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as client:
            names = ["query-status", "migrate", "query-name", "nope", "query-uuid"] * 20
            client.send("".join(json.dumps({"execute": n, "id": i}) for i, n in enumerate(names)))
            replies = [await client.line() for _ in names]
            assert [reply["id"] for reply in replies] == list(range(len(names)))
            assert ["error" in reply for reply in replies] == [False, True, False, True, False] * 20
            assert [n for n in at.qemu.names() if n in ("migrate", "nope")] == []

    asyncio.run(story())


def test_a_refusal_waits_for_the_replies_before_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as client:
            at.qemu.held["stop"] = []
            client.send('{"execute": "stop", "id": 1}{"execute": "migrate", "id": 2}')
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.reader.readline(), 0.1)
            at.qemu.release("stop")
            assert [(await client.line())["id"] for _ in range(2)] == [1, 2]

    asyncio.run(story())


def test_an_out_of_band_command_overtakes_and_only_where_it_was_negotiated(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as client:
            at.qemu.held["stop"] = []
            for number in range(8):
                client.send(f'{{"execute": "stop", "id": {number}}}\n')
            assert (await client.say('{"exec-oob": "yank", "id": "now"}'))["id"] == "now"
            refused = await client.say('{"exec-oob": "migrate-pause", "id": "no"}')
            assert (refused["id"], refused["error"]["desc"][:5]) == ("no", "SQ901")
            both = await client.say('{"exec-oob": "yank", "execute": "yank", "id": 9}')
            assert "can't have both" in both["error"]["desc"]
            plain = at.client()
            await plain.connect()
            await plain.ask("qmp_capabilities")
            reply = await plain.say('{"exec-oob": "yank"}')
            assert reply["error"]["desc"] == "QMP input member 'exec-oob' is unexpected"

    asyncio.run(story())


def test_no_more_commands_are_put_to_qemu_than_it_reads_and_all_have_their_turn(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as one, at.client() as two:
            at.qemu.held["stop"] = []
            for client in (one, two):
                client.send("".join(f'{{"execute": "stop", "id": {n}}}' for n in range(30)))
            answered = 0
            while answered < 60:
                await asyncio.sleep(0.01)
                waiting = at.qemu.held["stop"]
                assert len(waiting) <= 7
                at.qemu.held["stop"] = []
                for identity in waiting:
                    at.qemu.say({"return": {}, "id": identity})
                    answered += 1
            for client in (one, two):
                assert [(await client.line())["id"] for _ in range(30)] == list(range(30))

    asyncio.run(story())


def test_events_reach_every_client_that_has_negotiated(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as one, at.client() as two:
            silent = at.client()
            await silent.connect()
            seen = []
            stop = at.guard.watch(lambda name, data: seen.append((name, dict(data))))
            at.qemu.event("STOP")
            at.qemu.event("DEVICE_DELETED", device="d0", path="/é")
            for client in (one, two):
                assert (await client.line())["event"] == "STOP"
                assert (await client.line())["data"] == {"device": "d0", "path": "/é"}
            assert seen == [("STOP", {}), ("DEVICE_DELETED", {"device": "d0", "path": "/é"})]
            stop()
            at.guard.inject("RESET", {"guest": True}, now=1.5)
            told = await one.line()
            assert told["timestamp"] == {"seconds": 1, "microseconds": 500_000}
            assert len(seen) == 2
            assert "error" in await silent.ask("query-status")

    asyncio.run(story())


def test_what_qemu_has_words_for_is_left_to_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as client:
            await client.say('{"execute": 5, "id": 1}')
            await client.say('{"strange": true, "id": 2}')
            await client.say('{"execute": "query-status", "strange": 1}')
            sent = [json.loads(line) for line in at.qemu.raw.splitlines()[1:]]
            assert all(isinstance(message.pop("id"), int) for message in sent)
            assert sent == [{"execute": 5}, {"strange": True}, {"execute": "query-status", "strange": 1}]
            assert (await client.say("{}"))["error"]["desc"] == "QMP input lacks member 'execute'"
            assert (await client.say("[1]"))["error"]["desc"] == "QMP input must be a JSON object"
            assert "JSON parse error" in (await client.say("garbage\n"))["error"]["desc"]
            assert "duplicate key" in (await client.say('{"execute": "a", "execute": "b"}'))["error"]["desc"]

    asyncio.run(story())


def test_qemus_errors_come_back_as_they_are(tmp_path: Path) -> None:
    def fails(_: object) -> None:
        raise ValueError("Device 'x' not found: é\n")

    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as client:
            at.qemu.answers["device_del"] = fails
            reply = await client.say('{"execute": "device_del", "id": [0]}')
            assert reply == {
                "id": [0],
                "error": {"class": "GenericError", "desc": "Device 'x' not found: é\n"},
            }
            with pytest.raises(QmpError, match="not found"):
                await at.guard.execute("device_del")

    asyncio.run(story())


def test_an_amended_command_reaches_qemu_amended_and_is_told_of(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as client:
            assert await client.ask("device_add", driver="virtio-net-pci", id="n") == {"return": {}}
            assert at.qemu.asked == [
                (
                    "device_add",
                    {"driver": "virtio-net-pci", "id": "n", "iommu_platform": True, "disable-legacy": "on"},
                )
            ]
            assert (await client.ask("memsave"))["error"]["desc"].startswith("SQ903: memsave refused")
            assert [noted.command for noted in at.noted] == ["device_add", "memsave"]

    asyncio.run(story())


def test_file_descriptors_go_with_their_command(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at:
            read, write = os.pipe()
            with socket.socket(socket.AF_UNIX) as sock:
                await asyncio.to_thread(sock.connect, at.path)

                def say(text: bytes, *fds: int) -> None:
                    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
                    sock.sendmsg([text], rights)

                def talk() -> list[bytes]:
                    file = sock.makefile("rb")
                    file.readline()
                    say(b'{"execute": "qmp_capabilities"}')
                    file.readline()
                    said = []
                    for text, fds in (
                        (b'{"execute": "getfd", "arguments": {"fdname": "a"}}', (write, read)),
                        (b'{"execute": "add-fd"}', (write,)),
                        (b'{"execute": "query-status"}', (write,)),
                        (b'{"execute": "getfd", "arguments": {"fdname": "b"}}', ()),
                        (b'{"execute": "getfd", "arguments": {"fdname": "c"}}', ()),
                    ):
                        say(text, *fds)
                        said.append(file.readline())
                    return said

                before = len(os.listdir("/proc/self/fd"))
                said = await asyncio.to_thread(talk)
                assert b"No file descriptor supplied" in said[-1]
                assert [b"return" in line for line in said] == [True, True, True, True, False]
                assert len(at.qemu.got) == 3, "one a command, the others closed"
                assert len(os.listdir("/proc/self/fd")) == before + 3
                os.write(at.qemu.got[0], b"x")
                assert os.read(read, 1) == b"x"
            for fd in (read, write, *at.qemu.got):
                os.close(fd)

    asyncio.run(story())


def test_descriptors_of_two_clients_are_never_in_qemu_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at:
            at.qemu.held["getfd"] = []
            socks = []
            for _ in range(2):
                sock = socket.socket(socket.AF_UNIX)
                sock.connect(at.path)
                await asyncio.sleep(0.02)
                sock.sendall(b'{"execute": "qmp_capabilities"}')
                await asyncio.sleep(0.02)
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [sock.fileno()]))
                sock.sendmsg([b'{"execute": "getfd"}'], [rights])
                socks.append(sock)
            await asyncio.sleep(0.05)
            assert at.qemu.names() == ["getfd"]
            at.qemu.release("getfd")
            await asyncio.sleep(0.05)
            assert at.qemu.names() == ["getfd", "getfd"]
            for sock in socks:
                sock.close()
            for fd in at.qemu.got:
                os.close(fd)

    asyncio.run(story())


def test_handlers_answer_in_qemus_place_and_pass_on(tmp_path: Path) -> None:
    async def measured(arguments, forward):
        return {"data": arguments.get("nonce", "none")}

    async def cont(arguments, forward):
        await forward()
        return {"played": True}

    async def secret(arguments, forward):
        raise QmpError("SEV: Not in correct state. (LSECRET) 0", "GenericError")

    async def story() -> None:
        handlers = {"query-sev-launch-measure": measured, "cont": cont, "sev-inject-launch-secret": secret}
        async with setting(tmp_path, handlers=handlers) as at, at.client() as client:
            assert (await client.ask("query-sev-launch-measure", nonce="n"))["return"] == {"data": "n"}
            client.send('{"execute": "cont", "id": 1}{"execute": "query-status", "id": 2}')
            assert await client.line() == {"return": {"played": True}, "id": 1}
            assert (await client.line())["id"] == 2
            assert at.qemu.names() == ["cont", "query-status"]
            assert "LSECRET" in (await client.ask("sev-inject-launch-secret"))["error"]["desc"]
            assert await at.guard.execute("query-sev-launch-measure") == {"data": "none"}
            assert await at.guard.execute("cont") == {"played": True}
            assert await at.guard.execute("migrate", {"uri": "x"}) == {}, "no rule binds the owner"

    asyncio.run(story())


def test_a_handler_in_which_qemu_would_end_ends_the_guard_with_its_error(tmp_path: Path) -> None:
    async def cont(arguments, forward):
        raise GuestError("the launch failed", code="simulator.launch", why="fw_error=11")

    async def story() -> None:
        async with setting(tmp_path, handlers={"cont": cont}) as at, at.client() as client:
            client.send('{"execute": "cont"}')
            with pytest.raises(GuestError, match="the launch failed"):
                await at.guard.wait()
            assert await client.line() is None

    asyncio.run(story())


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({}, ""),
        ({"blocked-reasons": []}, ""),
        ({"blocked-reasons": ["protected VMs are currently not migratable."]}, "SQ903"),
        ({"blocked-reasons": ["anything else"]}, "SQ903"),
        ([], "SQ903"),
        (None, "SQ903"),
    ],
)
def test_qemu_is_asked_whether_a_guest_has_switched_over(tmp_path: Path, told, code) -> None:
    async def story() -> None:
        async with setting(tmp_path, rules_of("s390-pv-guest", "s390x")) as at, at.client() as client:
            at.qemu.answers["query-migrate"] = lambda _: told
            client.send('{"execute": "memsave", "id": 1}{"execute": "query-status", "id": 2}')
            first, second = await client.line(), await client.line()
            assert (first["id"], second["id"]) == (1, 2)
            assert first.get("error", {}).get("desc", "")[:5] == code
            assert at.qemu.names() == ["query-migrate", *([] if code else ["memsave"]), "query-status"]

    asyncio.run(story())


def test_a_qemu_that_cannot_say_whether_the_guest_switched_binds_every_rule(tmp_path: Path) -> None:
    def fails(_: object) -> None:
        raise ValueError("no")

    async def story() -> None:
        async with setting(tmp_path, rules_of("s390-pv-guest", "s390x")) as at, at.client() as client:
            at.qemu.answers["query-migrate"] = fails
            assert "SQ903" in (await client.ask("memsave"))["error"]["desc"]
        async with setting(tmp_path, rules_of("pef-guest", "ppc64")) as at, at.client() as client:
            assert "SQ903" in (await client.ask("memsave"))["error"]["desc"]
            assert at.qemu.asked == []

    asyncio.run(story())


def test_a_simulated_platform_knows_better_than_qemu(tmp_path: Path) -> None:
    state = {"engaged": False}

    async def story() -> None:
        rules = rules_of("pef-guest", "ppc64")
        async with setting(tmp_path, rules, engaged=lambda: state["engaged"]) as at, at.client() as client:
            assert await client.ask("memsave") == {"return": {}}
            state["engaged"] = True
            assert "SQ903" in (await client.ask("memsave"))["error"]["desc"]

    asyncio.run(story())


def test_a_monitor_that_writes_over_several_lines_is_understood(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path, qemu=FakeQemu(pretty=True)) as at, at.client() as client:
            at.qemu.answers["query-name"] = lambda _: {"name": "a\nb", "list": [1, {"id": 7}]}
            assert (await client.say('{"execute": "query-name", "id": 3}')) == {
                "return": {"name": "a\nb", "list": [1, {"id": 7}]},
                "id": 3,
            }
            at.qemu.event("STOP")
            assert (await client.line())["event"] == "STOP"

    asyncio.run(story())


def test_qemus_end_is_told_to_all(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as client:
            at.qemu.held["stop"] = []
            client.send('{"execute": "stop"}')
            mine = asyncio.ensure_future(at.guard.execute("stop"))
            await asyncio.sleep(0.05)
            at.qemu.close()
            assert "closed the connection" in await at.guard.wait()
            assert await client.line() is None
            with pytest.raises(GuestError, match="QEMU is gone"):
                await mine
            with pytest.raises(GuestError, match="QEMU is gone"):
                await at.guard.execute("stop")
            assert not os.path.exists(at.path)

    asyncio.run(story())


@pytest.mark.parametrize("words", [b"\xff\xfe\n", b"[]\n", b'{"return": \n', b"x" * 100 + b"\n"])
def test_a_qemu_that_talks_nonsense_is_given_up(tmp_path: Path, words) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as client:
            at.qemu.mine.sendall(words)
            assert "something else than QMP" in await at.guard.wait()
            assert await client.line() is None

    asyncio.run(story())


@pytest.mark.parametrize(
    "words", [b"SSH-2.0\r\n", b'{"QMP": {}}\n', b'{"QMP": {"version": {"qemu": 5}}}\n', b""]
)
def test_what_does_not_greet_as_qemu_is_no_monitor(words) -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair()
        theirs.sendall(words)
        if not words:
            theirs.close()
        with pytest.raises((GuestError, HostError)):
            await connect(ours)
        theirs.close()

    asyncio.run(story())


def test_an_event_that_is_none_ends_the_guard_where_somebody_watches(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at:
            seen = []
            at.guard.watch(lambda name, data: seen.append((name, data)))
            at.qemu.mine.sendall(b'{"timestamp": {}, "event": "A", "data": 5}\n{"timestamp": {"a": \n')
            assert "event that is none" in await at.guard.wait()
            assert seen == [("A", {})]

    asyncio.run(story())


def test_a_handler_whose_qemu_has_ended_is_no_failure_of_the_launch(tmp_path: Path) -> None:
    async def cont(arguments, forward):
        return await forward()

    async def story() -> None:
        async with setting(tmp_path, handlers={"cont": cont}) as at, at.client() as client:
            at.qemu.held["cont"] = []
            client.send('{"execute": "cont"}')
            await asyncio.sleep(0.05)
            at.qemu.close()
            assert "closed the connection" in await at.guard.wait()

    asyncio.run(story())


def test_nobody_at_the_monitors_path_is_a_host_error(tmp_path: Path) -> None:
    async def story() -> None:
        with pytest.raises(HostError, match="cannot be reached"):
            await connect(str(tmp_path / "none"))

    asyncio.run(story())


def test_the_socket_is_the_owners_alone_and_goes_with_the_guard(tmp_path: Path) -> None:
    async def story() -> None:
        old = os.umask(0)
        try:
            async with setting(tmp_path) as at:
                assert os.stat(at.path).st_mode & 0o777 == 0o600
                with pytest.raises(InputError, match="nothing can listen here"):
                    at.guard.serve(at.path)
                with pytest.raises(InputError, match="nothing can listen here"):
                    at.guard.serve(str(tmp_path / ("x" * 200)))
                (tmp_path / "file").write_text("kept")
                with pytest.raises(InputError):
                    at.guard.serve(str(tmp_path / "file"))
        finally:
            os.umask(old)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]

    asyncio.run(story())


def test_a_socket_that_nobody_listens_on_any_more_is_taken_over_and_one_of_another_left(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "q"))
            dead.listen()
        async with setting(tmp_path) as at, at.client() as client:
            assert await client.ask("query-status") == {"return": {}}
            os.unlink(at.path)
            with socket.socket(socket.AF_UNIX) as another:
                another.bind(at.path)
        assert os.path.exists(at.path)

    asyncio.run(story())


def test_a_socket_that_listens_already_can_be_given(tmp_path: Path) -> None:
    async def story() -> None:
        with socket.socket(socket.AF_UNIX) as mine:
            mine.bind(str(tmp_path / "mine"))
            mine.listen()
            async with setting(tmp_path) as at:
                at.guard.serve(mine)
                async with Client(str(tmp_path / "mine")) as client:
                    assert await client.ask("query-status") == {"return": {}}

    asyncio.run(story())


def test_a_client_that_has_said_its_last_still_gets_its_replies(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at:
            client = at.client()
            await client.connect()
            at.qemu.held["stop"] = []
            client.send('{"execute": "qmp_capabilities"}\n{"execute": "stop", "id": 1}\n')
            client.writer.write_eof()
            await asyncio.sleep(0.05)
            at.qemu.release("stop")
            assert [await client.line() for _ in range(3)] == [{"return": {}}, {"return": {}, "id": 1}, None]

    asyncio.run(story())
