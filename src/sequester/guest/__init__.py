"""The model of a guest: plain frozen data that knows nothing of files, formats or hosts.

The nouns are QEMU's, because every format ends in a QEMU: a guest is an ordered set of *parts*
(machine, CPU, memory, objects, devices, backends, single settings), each with a type and properties.
"""

from sequester.guest.change import Add, Change, Remove, Retype, Set, Unset
from sequester.guest.guest import Guest, NotCarried
from sequester.guest.part import Part, Value

__all__ = ["Add", "Change", "Guest", "NotCarried", "Part", "Remove", "Retype", "Set", "Unset", "Value"]
