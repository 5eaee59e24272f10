"""Clients that do not read, send garbage, send too much or come in masses: no other client is harmed, nothing grows."""

import asyncio
import contextlib
import json
import os
import socket
from array import array
from pathlib import Path

import pytest
from fake_monitor import Client, setting
from hypothesis import given, settings
from hypothesis import strategies as st

from sequester.guard import client as client_module
from sequester.guard import guard as guard_module

MIB = 1 << 20


async def held(at, number: int) -> int:
    """Return what the guard holds for a client, by its number; 0 for one that is gone."""
    client = at.guard._clients.get(number)
    return client.held if client else 0


@contextlib.contextmanager
def raw(path: str, *, negotiated: bool = True):
    """A client that sends without blocking and never reads."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.setblocking(False)
        if negotiated:
            sock.send(b'{"execute": "qmp_capabilities"}\n')
        yield sock


async def pour(sock: socket.socket, data: bytes, seconds: float = 0.5) -> int:
    """Send as much of `data`, over and over, as goes in a time; return the bytes."""
    sent, end = 0, asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        try:
            sent += sock.send(data)
        except BlockingIOError:
            await asyncio.sleep(0.005)
        except (BrokenPipeError, ConnectionResetError):
            break
        await asyncio.sleep(0)
    return sent


def test_one_that_never_reads_its_replies_is_no_longer_read_either(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as other:
            at.qemu.answers["query-name"] = lambda _: {"name": "x" * 20_000}
            with raw(at.path) as sock:
                await pour(sock, b'{"execute": "query-name"}' * 100)
                assert await held(at, 2) < MIB
                assert at.qemu.names().count("query-name") < 100
                assert await other.ask("query-status") == {"return": {}}

    asyncio.run(story())


def test_one_that_never_reads_events_loses_them_and_is_dropped_in_the_end(
    tmp_path: Path, monkeypatch
) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as other:
            with raw(at.path):
                await asyncio.sleep(0.05)
                for number in range(400):
                    at.qemu.event("BLOCK_JOB_READY", device="x" * 2000, number=number)
                    assert (await other.line())["data"]["number"] == number
                slow = at.guard._clients[2]
                assert slow.dropped_events > 0
                assert slow.held < MIB
                monkeypatch.setattr(client_module, "_PATIENCE", -1.0)
                at.guard._sweep()
                assert slow.closed
                assert await other.ask("query-status") == {"return": {}}

    asyncio.run(story())


def test_one_that_reads_slowly_gets_everything_in_order(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as slow:
            at.qemu.answers["query-name"] = lambda _: "x" * 50_000
            slow.send("".join(json.dumps({"execute": "query-name", "id": n}) for n in range(60)))
            for number in range(60):
                assert (await slow.line())["id"] == number
                if number % 10 == 0:
                    await asyncio.sleep(0.02)

    asyncio.run(story())


def test_a_line_without_end_is_refused_once_and_not_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as other:
            client = at.client()
            await client.connect()
            client.send(b'{"execute": "')
            for _ in range(64):
                client.send(b"x" * (MIB // 4))
                await client.writer.drain()
                assert await held(at, 2) <= MIB + (1 << 16)
                assert await other.ask("query-status") == {"return": {}}
            assert "longer than" in (await client.line())["error"]["desc"]
            reply = await client.say('\n{"execute": "qmp_capabilities", "id": 1}\n')
            assert reply == {"return": {}, "id": 1}

    asyncio.run(story())


@pytest.mark.parametrize("text", ["[" * 5000, '{"a":' * 5000, "[" * 200 + "]" * 200])
def test_deep_nesting_costs_an_error(tmp_path: Path, text) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as client:
            assert "error" in await client.say(text + "\n")
            assert await client.say('{"execute": "query-status", "id": 5}\n') == {"return": {}, "id": 5}

    asyncio.run(story())


def test_deep_nesting_inside_a_command_reaches_qemu_or_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as client:
            for depth, reaches in ((100, True), (2000, False)):
                deep = "[" * depth + "]" * depth
                reply = await client.say(f'{{"execute": "query-status", "arguments": {{"a": {deep}}}}}\n')
                assert ("return" in reply) is reaches

    asyncio.run(story())


@settings(max_examples=30)
@given(garbage=st.lists(st.binary(max_size=300), max_size=5))
def test_garbage_harms_nobody(tmp_path_factory, garbage) -> None:
    async def story() -> None:
        async with setting(tmp_path_factory.mktemp("g")) as at, at.client() as other:
            with raw(at.path) as sock:
                for piece in garbage:
                    with contextlib.suppress(OSError):
                        sock.send(piece)
                    await asyncio.sleep(0)
                assert await other.ask("query-status") == {"return": {}}
            assert all(name == "query-status" for name in at.qemu.names() if name)

    asyncio.run(story())


def test_a_flood_of_refusals_leaves_others_their_turn(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as other, at.client() as flood:
            flood.send('{"execute": "migrate"}' * 20_000)
            drained = asyncio.ensure_future(flood.reader.read(1))
            loop = asyncio.get_running_loop()
            start = loop.time()
            for _ in range(20):
                assert await other.ask("query-status") == {"return": {}}
            # A guard that worked the flood off first would have noted all of it by now.
            assert len(at.noted) < 20_000, loop.time() - start
            await drained

    asyncio.run(story())


def test_a_client_that_leaves_takes_its_waiting_commands_with_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as other:
            at.qemu.held["stop"] = []
            async with at.client() as leaver, at.client() as second:
                for client in (leaver, second):
                    client.send('{"execute": "stop"}' * 8)
                await asyncio.sleep(0.05)
            other.send('{"execute": "query-status"}')
            await asyncio.sleep(0.05)
            assert at.qemu.names() == ["stop"] * 7
            at.qemu.release("stop")
            assert await other.line() == {"return": {}}
            assert at.qemu.names() == ["stop"] * 7 + ["query-status"]
            assert len(at.guard._clients) == 1

    asyncio.run(story())


def test_a_client_that_leaves_while_it_is_looked_into_is_forgotten(tmp_path: Path) -> None:
    async def slow(arguments, forward):
        await forward()
        return {}

    async def story() -> None:
        async with setting(tmp_path, handlers={"cont": slow}) as at:
            at.qemu.held["cont"] = []
            async with at.client() as client:
                client.send('{"execute": "cont"}{"execute": "query-status"}')
                await asyncio.sleep(0.05)
            at.qemu.release("cont")
            await asyncio.sleep(0.05)
            assert at.qemu.names() == ["cont"]
            assert not at.guard._clients
            assert not at.guard._tasks

    asyncio.run(story())


def test_one_process_gets_so_many_connections_and_no_more(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(guard_module, "_MOST_OF_ONE", 5)

    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as other:
            clients = [at.client() for _ in range(50)]
            greeted = [await client.connect() for client in clients]
            assert sum(each is not None for each in greeted) == 4
            assert await other.ask("query-status") == {"return": {}}
            for client in clients:
                client.writer.close()
            await asyncio.sleep(0.1)
            async with at.client() as late:
                assert await late.ask("query-status") == {"return": {}}

    asyncio.run(story())


def test_when_all_places_are_taken_one_that_never_negotiated_gives_way(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(guard_module, "_MOST_CLIENTS", 4)

    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as other:
            idle = [at.client() for _ in range(3)]
            for client in idle:
                await client.connect()
            async with at.client() as late:
                assert await late.ask("query-status") == {"return": {}}
            assert await idle[0].line() is None
            assert await other.ask("query-status") == {"return": {}}

    asyncio.run(story())


def test_without_a_descriptor_left_the_guard_waits_and_goes_on(tmp_path: Path, monkeypatch) -> None:
    class Full:
        def __init__(self, listener: socket.socket) -> None:
            self.listener = listener
            self.times = 0

        def accept(self) -> None:
            self.times += 1
            raise OSError(24, "Too many open files")

        def fileno(self) -> int:
            return self.listener.fileno()

    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as other:
            listener = at.guard._listeners[0][0]
            full = Full(listener)
            at.guard._accept(full)  # type: ignore[arg-type]
            assert full.times == 1
            assert await other.ask("query-status") == {"return": {}}

    asyncio.run(story())


def test_the_one_that_makes_the_guard_hold_most_is_dropped_when_it_is_too_much(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(guard_module, "_MOST_HELD", MIB // 4)

    async def story() -> None:
        async with setting(tmp_path) as at, at.client() as other:
            with raw(at.path) as small, raw(at.path) as big:
                small.send(b'{"a": "' + b"x" * 10_000)
                await pour(big, b'"' + b"x" * 1000, 0.3)
                await asyncio.sleep(0.05)
                assert set(at.guard._clients) == {1, 2}
                assert await other.ask("query-status") == {"return": {}}

    asyncio.run(story())


def test_descriptors_that_nobody_takes_are_closed(tmp_path: Path, monkeypatch) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at:
            before = len(os.listdir("/proc/self/fd"))
            with raw(at.path) as sock:
                for _ in range(200):
                    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [sock.fileno()] * 10))
                    with contextlib.suppress(BlockingIOError):
                        sock.sendmsg([b'{"execute": "query-status"}'], [rights])
                    await asyncio.sleep(0)
                await asyncio.sleep(0.05)
                assert len(os.listdir("/proc/self/fd")) == before + 2 + 1
            monkeypatch.setattr(client_module, "_FOR_COMMAND", -1.0)
            at.guard._sweep()
            await asyncio.sleep(0.05)
            assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(story())


def test_a_connection_that_was_sent_its_own_other_end_still_ends(tmp_path: Path, monkeypatch) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at:
            with raw(at.path) as sock:
                sock.sendmsg(
                    [b" "], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [sock.fileno()] * 16))]
                )
                await asyncio.sleep(0.05)
            assert len(at.guard._clients) == 1
            monkeypatch.setattr(client_module, "_FOR_COMMAND", -1.0)
            at.guard._sweep()
            await asyncio.sleep(0.05)
            assert not at.guard._clients

    asyncio.run(story())


def test_two_hundred_clients_are_served_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with setting(tmp_path) as at, contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(Client(at.path)) for _ in range(200)]
            for _ in range(5):
                replies = await asyncio.gather(*(client.ask("query-status") for client in clients))
                assert replies == [{"return": {}}] * 200

    asyncio.run(story())
