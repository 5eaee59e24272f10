"""Immutable classes with named fields for what a command loads before it does its work.

They are used as frozen `dataclasses` with slots are. `dataclasses` itself takes 8 ms to load and half a millisecond
for each class, which is more than `sequester measure` has for its whole work; these cost nothing of note.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` too takes its milliseconds
if TYPE_CHECKING:
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")

    @dataclass_transform(frozen_default=True)
    def record(cls: type[T]) -> type[T]:
        """Make a class of annotated fields a record: compared, hashed and shown by its fields, never changed.

        `__post_init__` is called where there is one. A class that is hashed by identity sets ``__eq__`` itself.
        """
        ...

    def replaced(of: T, **changes: Any) -> T:
        """Return a record with some fields changed. TypeError for a field that it has not."""
        ...

else:

    def record(cls):
        names = tuple(cls.__annotations__)
        defaults = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
        body = {
            name: value
            for name, value in cls.__dict__.items()
            if name not in defaults and name not in ("__dict__", "__weakref__")
        }
        body |= {"__slots__": names, "_fields": names, "_defaults": defaults, "__init__": _init}
        body |= {"__setattr__": _refuse, "__delattr__": _refuse, "__reduce__": _reduce}
        for name, method in (("__repr__", _show), ("__eq__", _equal), ("__hash__", _hash)):
            body.setdefault(name, method)
        return type(cls)(cls.__name__, cls.__bases__, body)

    def _init(self, *given, **named):
        names = self._fields
        if len(given) > len(names):
            raise TypeError(f"{type(self).__name__} takes {len(names)} values, not {len(given)}")
        values = dict(zip(names, given, strict=False))
        for name in named:
            if name in values or name not in names:
                fault = "two values for" if name in values else "no field"
                raise TypeError(f"{type(self).__name__} has {fault} '{name}'")
        values |= named
        put = object.__setattr__
        for name in names:
            try:
                put(self, name, values[name] if name in values else self._defaults[name])
            except KeyError:
                raise TypeError(f"{type(self).__name__} needs a value for '{name}'") from None
        if hasattr(self, "__post_init__"):
            self.__post_init__()

    def _refuse(self, name, *_value):
        raise AttributeError(f"a {type(self).__name__} never changes: '{name}'")

    def _reduce(self):
        return type(self), _values(self)

    def _values(self):
        return tuple(getattr(self, name) for name in self._fields)

    def _show(self):
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({fields})"

    def _equal(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return _values(self) == _values(other)

    def _hash(self):
        return hash((type(self), _values(self)))

    def replaced(of, **changes):
        return type(of)(**(dict(zip(of._fields, _values(of), strict=True)) | changes))
