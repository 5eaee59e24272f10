"""The least that can be asked of a QEMU over QMP: start, answer, leave."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TIMEOUT = 60.0  # seconds; a first start from a cold disk on a busy machine takes up to 5


class QmpError(Exception):
    """The QEMU did not start or did not answer; the message is its last line."""


def ask(binary: Path, arguments: Sequence[str], commands: Sequence[dict[str, Any]]) -> list[Any]:
    """Start `binary` with a QMP monitor on its standard input, and return the answers to `commands`.

    Raises `QmpError` when QEMU ends early, answers with an error, or takes longer than `TIMEOUT`.
    """
    requests = [{"execute": "qmp_capabilities"}, *commands, {"execute": "quit"}]
    try:
        done = subprocess.run(
            [binary, "-nodefaults", "-no-user-config", "-display", "none", "-qmp", "stdio", *arguments],
            input="".join(json.dumps(request) + "\n" for request in requests),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QmpError(f"{binary.name}: {error}") from error
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    failed = [answer["error"]["desc"] for answer in answers if "error" in answer]
    returns = [answer["return"] for answer in answers if "return" in answer]
    if failed or done.returncode != 0 or len(returns) != len(requests):
        last = (failed or done.stderr.splitlines() or [f"exit status {done.returncode}, no output"])[-1]
        raise QmpError(f"{binary.name}: {last}")
    return returns[1:-1]
