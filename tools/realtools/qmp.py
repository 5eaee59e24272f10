"""The least that can be asked of a QEMU over QMP: start, answer, leave."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

TIMEOUT = 60.0  # seconds; a first start from a cold disk on a busy machine takes up to 5
BARE = ("-nodefaults", "-no-user-config", "-display", "none")


class QmpError(Exception):
    """The QEMU did not start or did not answer; the message is its own last line."""


def ask(
    argv: Sequence[str], commands: Sequence[Mapping[str, Any]] = (), timeout: float = TIMEOUT
) -> list[Any]:
    """Start the command line `argv` with a QMP monitor on its standard input; return the answers to `commands`.

    QEMU is told to quit afterwards, and nothing of it is left. Raises `QmpError` when it ends early, answers
    with an error, or takes longer than `timeout` seconds.
    """
    requests = [{"execute": "qmp_capabilities"}, *commands, {"execute": "quit"}]
    name = PurePath(argv[0]).name
    try:
        done = subprocess.run(
            [*argv, "-qmp", "stdio"],
            input="".join(json.dumps(request) + "\n" for request in requests),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QmpError(f"{name}: {error}") from error
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    failed = [answer["error"]["desc"] for answer in answers if "error" in answer]
    returns = [answer["return"] for answer in answers if "return" in answer]
    if failed or done.returncode != 0 or len(returns) != len(requests):
        said = failed or done.stderr.splitlines() or [f"exit status {done.returncode}, no output"]
        raise QmpError(f"{name}: {said[-1]}")
    return returns[1:-1]
