"""Work on every core, in order: no more is read ahead than the workers can hold."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from sequester.errors import HostError

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 32
"""Items that go to a worker together: one costs less than to send it alone."""
_AHEAD = 3
"""Parcels in flight for each worker."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


_hired: Callable[[list[Any]], list[Any]] | None = None
"""In a worker process: what it does. It comes by the fork, so that what it holds is neither copied nor pickled."""


def in_order(
    items: Iterable[Item], work: Callable[[list[Item]], list[Result]], jobs: int
) -> Generator[Result, None, None]:
    """Yield the results of all items, in the order of the items.

    `work` takes some items and returns their results; with one job it is called here, else in `jobs` processes.
    Raises HostError when a worker dies, and whatever `work` raises.
    """
    source = iter(items)
    if jobs == 1:
        while parcel := list(islice(source, 1)):
            yield from work(parcel)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    waiting: deque[Future[list[Result]]] = deque()
    with ProcessPoolExecutor(jobs, get_context("fork"), _hire, (work,)) as pool:
        try:
            while True:
                while len(waiting) < jobs * _AHEAD and (parcel := list(islice(source, AT_ONCE))):
                    waiting.append(pool.submit(_do, parcel))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        except BrokenProcessPool:
            raise HostError(
                "a worker process died",
                code="batch.worker",
                why="it was killed, perhaps for want of memory",
                remedy="use fewer jobs (--jobs 1)",
            ) from None
        finally:
            for each in waiting:
                each.cancel()


def _hire(work: Callable[[list[Any]], list[Any]]) -> None:
    import signal

    global _hired
    _hired = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself, once


def _do(parcel: list[Any]) -> list[Any]:
    assert _hired is not None
    return _hired(parcel)
