"""A program that a `Session` takes for QEMU. $FAKE says what it does at which step, as ``die@cont``.

Steps: ``start``, each QMP command by its name, ``booted``. Deeds: die, crash, hang, garbage, flood. The word
``child`` leaves a process behind that keeps every file open, ``stray`` one in a session of its own; ``stubborn``
ignores SIGTERM. $FAKE_ANSWERS is JSON: command → its answer (``{"error": ...}`` for an error), or a list of answers of
which each is given once and the last again and again.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

HOW = os.environ.get("FAKE", "").split()
ANSWERS = json.loads(os.environ.get("FAKE_ANSWERS", "{}"))
GREETING = {
    "QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}
}


def act(step: str, monitor: socket.socket) -> None:
    """Do what is asked for at this step."""
    for deed in (word.partition("@")[0] for word in HOW if word.endswith(f"@{step}")):
        if deed == "end":
            continue
        if deed == "die":
            sys.exit(f"fake: gone at {step}")
        elif deed == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif deed == "garbage":
            monitor.sendall(b"\x1b[31mgarbage\n")
        while deed == "flood":
            os.write(1, b"x" * 100 + b"\n")
        time.sleep(1000)


def commands(monitor: socket.socket) -> Iterator[dict[str, Any]]:
    """Yield each command; they come without any end of line."""
    text = ""
    while data := monitor.recv(65536):
        text += data.decode()
        while text := text.lstrip():
            try:
                message, end = json.JSONDecoder().raw_decode(text)
            except ValueError:
                break
            text = text[end:]
            yield message


def told(command: str) -> dict[str, Any]:
    """Return the answer to a command: nothing, unless something is asked for."""
    answer = ANSWERS.get(command, {})
    if isinstance(answer, list):
        answer = answer.pop(0) if len(answer) > 1 else answer[0]
    return answer if isinstance(answer, dict) and "error" in answer else {"return": answer}


def main() -> None:
    """Answer every command."""
    if "stubborn" in HOW:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    number = next(
        int(word.split("fd=")[1]) for word in sys.argv if word.startswith("socket,id=sequester-qmp")
    )
    monitor = socket.socket(fileno=number)
    print(f"pid {os.getpid()}", flush=True)
    if "child" in HOW and os.fork() == 0:
        time.sleep(1000)
    if "stray" in HOW and os.fork() == 0:
        os.setsid()
        print(f"pid {os.getpid()}", flush=True)
        time.sleep(1000)
    act("start", monitor)
    monitor.sendall(json.dumps(GREETING).encode() + b"\r\n")
    for message in commands(monitor):
        act(message["execute"], monitor)
        answer = told(message["execute"]) | {key: message[key] for key in ("id",) if key in message}
        monitor.sendall(json.dumps(answer).encode() + b"\r\n")
        if message["execute"] == "cont":
            act("booted", monitor)
        if message["execute"] == "quit" or f"end@{message['execute']}" in HOW:
            return


if __name__ == "__main__":
    main()
