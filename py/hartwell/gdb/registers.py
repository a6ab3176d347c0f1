"""The registers that gdb sees: numbers, sizes, and how they are read and written.

    0..31   x0 to x31        32  pc        33..64  f0 to f31
    65..    CSRs, in the order of `CSR_NAMES`       last: priv (0 U, 1 S, 3 M)

The `g` packet has the first 65; the rest is asked for one by one.
"""

from __future__ import annotations

from hartwell.harts import Hart
from hartwell.isa.csrs import CSRS

PC, FIRST_F, FIRST_CSR = 32, 33, 65
GENERAL = FIRST_CSR  # registers in a `g` packet
CSR_NAMES = tuple(sorted(CSRS, key=CSRS.__getitem__))
PRIVILEGE = FIRST_CSR + len(CSR_NAMES)
COUNT = PRIVILEGE + 1
BYTES = 8
_PRIVILEGES = {"U": 0, "S": 1, "M": 3}
_MASK64 = (1 << 64) - 1


def read(hart: Hart, number: int) -> bytes:
    """8 bytes, little-endian.  IndexError for a number that there is not."""
    return _value(hart, number).to_bytes(BYTES, "little")


def write(hart: Hart, number: int, data: bytes) -> None:
    """Sets a register.  IndexError for a number, ValueError for a value that cannot be."""
    if len(data) != BYTES:
        raise ValueError(f"{len(data)} bytes are no register's, which has {BYTES}")
    value = int.from_bytes(data, "little") & _MASK64
    if 0 <= number < PC:
        hart.x[number] = value
    elif number == PC:
        hart.pc = value & ~1
    elif FIRST_F <= number < FIRST_CSR:
        hart.f[number - FIRST_F] = value
    elif FIRST_CSR <= number < PRIVILEGE:
        hart.csr[CSR_NAMES[number - FIRST_CSR]] = value
    elif number == PRIVILEGE:
        hart.set_privilege({0: "U", 1: "S", 3: "M"}.get(value, ""))
    else:
        raise IndexError(f"register {number} is outside 0..{COUNT - 1}")


def read_general(hart: Hart) -> bytes:
    """What a `g` packet carries."""
    return b"".join(read(hart, number) for number in range(GENERAL))


def write_general(hart: Hart, data: bytes) -> None:
    """What a `G` packet brings; fewer registers than there are set those only."""
    if len(data) % BYTES or len(data) > GENERAL * BYTES:
        raise ValueError(f"{len(data)} bytes are no whole number of registers, or more than {GENERAL}")
    for number in range(len(data) // BYTES):
        write(hart, number, data[number * BYTES : (number + 1) * BYTES])


def _value(hart: Hart, number: int) -> int:
    if 0 <= number < PC:
        return hart.x[number]
    if number == PC:
        return hart.pc
    if FIRST_F <= number < FIRST_CSR:
        return hart.f[number - FIRST_F]
    if FIRST_CSR <= number < PRIVILEGE:
        return hart.csr[CSR_NAMES[number - FIRST_CSR]]
    if number == PRIVILEGE:
        return _PRIVILEGES[hart.privilege]
    raise IndexError(f"register {number} is outside 0..{COUNT - 1}")
