"""Records behave as frozen dataclasses with slots do."""

from __future__ import annotations

import pickle

import pytest

from sequester.record import record, replaced


@record
class Point:
    """A point."""

    x: int
    y: int = 0

    @property
    def sum(self) -> int:
        return self.x + self.y


@record
class Checked:
    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError(self.number)


@record
class Alone:
    data: bytes

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def test_fields_are_given_by_place_or_name_and_have_defaults() -> None:
    assert Point(1, 2) == Point(x=1, y=2)
    assert Point(1) == Point(1, 0)
    assert Point(1, 2).sum == 3


def test_records_of_equal_fields_are_equal_and_found_in_sets() -> None:
    assert len({Point(1), Point(1, 0), Point(2)}) == 2
    assert Point(1) != (1, 0)


def test_a_record_that_is_compared_by_identity_says_so() -> None:
    one = Alone(b"")
    assert one == one
    assert one != Alone(b"")
    assert len({one, Alone(b"")}) == 2


def test_a_record_is_shown_by_its_fields() -> None:
    assert repr(Point(1, 2)) == "Point(x=1, y=2)"


def test_a_record_never_changes_and_has_no_room_for_more() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="never changes"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del point.x
    assert not hasattr(point, "__dict__")


def test_replaced_changes_some_fields_of_a_new_one() -> None:
    assert replaced(Point(1, 2), y=5) == Point(1, 5)
    with pytest.raises(TypeError, match="no field 'z'"):
        replaced(Point(1), z=1)


def test_a_record_travels_between_processes() -> None:
    assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)


def test_post_init_is_called_for_every_new_one() -> None:
    with pytest.raises(ValueError, match="-1"):
        Checked(-1)
    with pytest.raises(ValueError, match="-2"):
        replaced(Checked(1), number=-2)


def test_wrong_arguments_are_type_errors_that_name_the_field() -> None:
    with pytest.raises(TypeError, match="needs a value for 'x'"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="two values for 'x'"):
        Point(1, x=2)  # type: ignore[misc]
    with pytest.raises(TypeError, match="takes 2 values"):
        Point(1, 2, 3)  # type: ignore[call-arg]
