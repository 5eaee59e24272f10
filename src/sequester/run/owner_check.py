"""The owner is asked about a launch: by a command, an address on the web, or a file that somebody carries over.

What goes to it and what it answers is JSON (`sequester.owner.launch`). Anything but a clear yes is a no.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
from collections.abc import Awaitable, Callable

from sequester.errors import GuestError, InputError
from sequester.owner.launch import LARGEST, Answer, Launch

OwnerCheck = Callable[[Launch], Awaitable[Answer]]
"""Asks the owner. Raises GuestError where it does not answer, InputError for an answer that is none."""

SECONDS = 120.0
"""Until the owner has answered."""
_GRACE = 2.0
_LOOK = 0.1
_WEB = ("http://", "https://")
_LOCAL = ("localhost", "127.0.0.1", "::1")


def owner_check(said: str) -> OwnerCheck:
    """Return what asks the owner that was named: ``exec:COMMAND``, an address, or a file's path.

    The launch is written to the file, and the answer awaited in the one with ``.answer`` behind its name.
    Raises InputError for an address without TLS that is not this machine's.
    """
    if said.startswith("exec:"):
        words = shlex.split(said.removeprefix("exec:"))
        if not words:
            raise InputError("there is no command behind exec:", code="usage.owner-check")
        return lambda launch: _by_command(words, launch)
    if said.startswith(_WEB):
        from urllib.parse import urlsplit

        if said.startswith("http:") and urlsplit(said).hostname not in _LOCAL:
            raise InputError(
                "the owner's address is not protected",
                code="usage.owner-check",
                where=said,
                remedy="use https: whoever answers decides whether the guest gets its secret",
            )
        return lambda launch: _by_web(said, launch)
    return lambda launch: _by_file(said, launch)


async def _by_file(path: str, launch: Launch) -> Answer:
    """Write the launch to a file, and wait for the answer in the file beside it, as long as it takes."""
    from pathlib import Path

    from sequester.owner.files import read, write_new

    question, answer = Path(path), Path(f"{path}.answer")
    if answer.exists():
        raise InputError(
            "there is an answer already, before the question",
            code="owner.stale",
            where=str(answer),
            remedy="remove it: it answers another launch",
        )
    write_new(question.parent, {question.name: json.dumps(launch.told(), indent=2).encode() + b"\n"})
    try:
        while not answer.exists():
            await asyncio.sleep(_LOOK)
        return Answer.parse(await _whole(lambda: read(str(answer), LARGEST)), str(answer))
    finally:
        question.unlink(missing_ok=True)


async def _whole(read: Callable[[], bytes]) -> bytes:
    """Return a file's bytes once it does not grow any more: it may be written in place."""
    data = read()
    while True:
        await asyncio.sleep(_LOOK)
        before, data = data, read()
        if data == before:
            return data


async def _by_command(words: list[str], launch: Launch) -> Answer:
    where = words[0]
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LARGEST,
            start_new_session=True,
        )
    except OSError as error:
        raise InputError(
            "the owner's command cannot be run", code="owner.command", where=where, why=error.strerror or ""
        ) from None
    try:
        async with asyncio.timeout(SECONDS):
            output, _ = await process.communicate(json.dumps(launch.told()).encode() + b"\n")
    except TimeoutError:
        raise _silent(where) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE)
    if not output.strip():
        raise GuestError(
            f"the owner's command ended with status {process.returncode} and no answer",
            code="owner.command",
            where=where,
        )
    answer = Answer.parse(output, where)
    if answer.accepted and process.returncode:
        raise GuestError(
            f"the owner's command accepted the launch, and then ended with status {process.returncode}",
            code="owner.command",
            where=where,
        )
    return answer


async def _by_web(address: str, launch: Launch) -> Answer:
    try:
        async with asyncio.timeout(SECONDS):
            data = await asyncio.to_thread(_posted, address, json.dumps(launch.told()).encode())
    except TimeoutError:
        raise _silent(address) from None
    return Answer.parse(data, address)


def _posted(address: str, body: bytes) -> bytes:
    """Post a launch; return the answer. Redirections are not followed: the owner is who was named."""
    from urllib.error import HTTPError, URLError
    from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, Request

    opener = OpenerDirector()
    for handler in (HTTPHandler(), HTTPSHandler()):
        opener.add_handler(handler)
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    try:
        with opener.open(Request(address, body, headers), timeout=SECONDS) as reply:
            if reply.status != 200:
                raise GuestError(
                    f"the owner's service answered with status {reply.status}",
                    code="owner.web",
                    where=address,
                )
            data: bytes = reply.read(LARGEST + 1)
    except (HTTPError, URLError, OSError, ValueError) as error:
        why = str(getattr(error, "reason", "") or error)
        raise GuestError(
            "the owner's service cannot be asked", code="owner.web", where=address, why=why
        ) from None
    return data


def _silent(where: str) -> GuestError:
    return GuestError(f"the owner did not answer in {SECONDS:.0f} s", code="owner.silent", where=where)
