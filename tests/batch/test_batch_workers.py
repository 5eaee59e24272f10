"""Work on several processes comes back in order, reads no further ahead than it must, and fails in one piece."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sequester.batch.workers import cores, in_order
from sequester.errors import HostError


def squares(numbers: list[int]) -> list[int]:
    return [number * number for number in numbers]


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(jobs: int) -> None:
    assert list(in_order(range(1000), squares, jobs)) == [n * n for n in range(1000)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_only_so_much_is_read_ahead(jobs: int) -> None:
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for number in range(100_000):
            read += 1
            yield number

    results = in_order(items(), squares, jobs)
    assert next(results) == 0
    assert read < 1000
    results.close()  # type: ignore[attr-defined]


def test_nothing_gives_nothing() -> None:
    assert list(in_order((), squares, 2)) == []


def test_a_worker_that_dies_is_one_error() -> None:
    def die(numbers: list[int]) -> list[int]:
        os._exit(1)

    with pytest.raises(HostError, match="a worker process died"):
        list(in_order(range(100), die, 2))


def test_what_the_work_raises_comes_out() -> None:
    def fail(numbers: list[int]) -> list[int]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(in_order(range(100), fail, 2))


def test_there_is_at_least_one_core() -> None:
    assert cores() >= 1
