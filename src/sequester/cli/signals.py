"""What a command that starts processes does with signals."""

from __future__ import annotations

import signal


def terminate_as_interrupt() -> None:
    """Let SIGTERM clean up as Ctrl-C does, also where a shell started us in the background with SIGINT ignored."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(*_: object) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)
