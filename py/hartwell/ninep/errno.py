"""Linux's error numbers on RISC-V (include/uapi/asm-generic/errno*.h).

A host's own differ: Emscripten's are WASI's, macOS's are BSD's.
"""

from __future__ import annotations

import errno as host

NUMBERS = {
    "EPERM": 1, "ENOENT": 2, "EIO": 5, "ENXIO": 6, "EBADF": 9, "EAGAIN": 11, "ENOMEM": 12, "EACCES": 13, "EBUSY": 16,
    "EEXIST": 17, "EXDEV": 18, "ENOTDIR": 20, "EISDIR": 21, "EINVAL": 22, "ENFILE": 23, "EMFILE": 24, "EFBIG": 27,
    "ENOSPC": 28, "ESPIPE": 29, "EROFS": 30, "EMLINK": 31, "ERANGE": 34, "ENAMETOOLONG": 36, "ENOSYS": 38,
    "ENOTEMPTY": 39, "ELOOP": 40, "EPROTO": 71, "EOVERFLOW": 75, "EMSGSIZE": 90, "EOPNOTSUPP": 95, "ESTALE": 116,
    "EDQUOT": 122,
}


class Refused(Exception):
    """A request that is answered with an error, by Linux's name for it."""

    def __init__(self, name: str, why: str = "") -> None:
        super().__init__(f"{name}: {why}" if why else name)
        self.name = name
        self.number = NUMBERS[name]


def of(error: OSError) -> int:
    """Linux's number for an error of the host's; EIO for one that has no name here."""
    name = host.errorcode.get(error.errno or 0, "")
    return NUMBERS.get({"ENOTSUP": "EOPNOTSUPP", "EDEADLOCK": "EBUSY"}.get(name, name), NUMBERS["EIO"])
