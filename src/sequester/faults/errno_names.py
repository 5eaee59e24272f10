"""Linux error numbers as they come out of KVM and the SEV and TDX drivers, with what each says there."""

from __future__ import annotations

from collections.abc import Mapping

ERRNO: Mapping[int, tuple[str, str]] = {
    1: ("EPERM", "not permitted, or merely: it failed"),
    2: ("ENOENT", "no such file or device"),
    4: ("EINTR", "interrupted by a signal"),
    5: ("EIO", "the firmware or module ran the command and refused it"),
    6: ("ENXIO", "no such device or address"),
    7: ("E2BIG", "the buffer is too small"),
    9: ("EBADF", "the file given is not the firmware's device"),
    11: ("EAGAIN", "try again"),
    12: ("ENOMEM", "no memory, or more pinned memory than the process may have"),
    13: ("EACCES", "permission denied"),
    14: ("EFAULT", "an address that cannot be read"),
    16: ("EBUSY", "in use: no free ASID or key, or the cgroup's share is spent"),
    17: ("EEXIST", "is there already"),
    19: ("ENODEV", "no such device: the driver did not come up"),
    22: ("EINVAL", "the kernel does not take one of the values"),
    25: ("ENOTTY", "the kernel does not know this command for this virtual machine"),
    28: ("ENOSPC", "no space, or no slot, left"),
    38: ("ENOSYS", "not in this kernel"),
    61: ("ENODATA", "no data"),
    95: ("EOPNOTSUPP", "not supported by this kernel or firmware"),
    110: ("ETIMEDOUT", "the firmware did not answer"),
    524: ("ENOTSUPP", "not supported by this kernel"),
}
"""Linux include/uapi/asm-generic/errno*.h; meanings from arch/x86/kvm and drivers/crypto/ccp of 7.2."""


def errno_text(number: int) -> str:
    """Return ``-22 EINVAL: the kernel does not take one of the values``; the number alone where it is unknown."""
    known = ERRNO.get(abs(number))
    return f"{number} {known[0]}: {known[1]}" if known else str(number)
