"""Who called whom: stacks of tasks, in the kernel and in their programs.

RISC-V kernels keep frame pointers (CONFIG_FRAME_POINTER follows from the
architecture), so their frames are exact: s0 points above the saved ra (s0 - 8)
and the caller's s0 (s0 - 16).  On its way in, the kernel puts struct pt_regs
where the last frame ends, which is how the walk goes on in the program.

Programs mostly come without frame pointers.  There a frame is `sure` when it
follows from a frame pointer that fits; otherwise it is a word on the stack
that points behind a call, which may be left over from an older one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hartwell.errors import BadAddress
from hartwell.linux.kernel import Kernel
from hartwell.linux.space import AddressSpace

KERNEL_HALF = 1 << 63
_DEEPEST = 64
_SCAN_BYTES = 4096  # of a program's stack, where there are no frame pointers


@dataclass(frozen=True)
class Frame:
    """One call.  address: where it goes on; name: symbol + offset; sure: not guessed."""

    address: int
    name: str
    user: bool
    sure: bool = True

    def __str__(self) -> str:
        return f"{self.address:#018x} {self.name}{'' if self.sure else ' ?'}"


@dataclass(frozen=True)
class Registers:
    """What a walk begins with."""

    pc: int
    ra: int
    sp: int
    s0: int


def walk_kernel(kernel: Kernel, start: Registers) -> Iterator[tuple[int, Registers | None]]:
    """(address, registers of whoever was interrupted) upwards through kernel frames.

    The registers come with the last frame of each entry into the kernel: they
    are a program's, or the kernel's own when it was interrupted.
    """
    entry = _entries(kernel)
    regs = kernel.struct("pt_regs")
    yield start.pc, None
    pointer, leaf = start.s0, start.ra
    for _ in range(_DEEPEST):
        try:
            data = kernel.space.read(pointer - 16, 16)
        except BadAddress:
            return
        above, address = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")
        if leaf and address != leaf and _in_text(kernel, leaf) and _is_leaf(kernel, start):
            yield leaf, None
        leaf = 0
        if any(low <= address < high for low, high in entry):
            try:
                saved = kernel.space.read(pointer, regs.size)
            except BadAddress:
                return
            pc, ra, sp, s0 = (
                int.from_bytes(saved[regs.offset(name) : regs.offset(name) + 8], "little") for name in ("epc", "ra", "sp", "s0")
            )
            yield address, Registers(pc, ra, sp, s0)
            if pc < KERNEL_HALF:
                return
            yield pc, None
            pointer = s0
            continue
        if not _in_text(kernel, address):
            return
        yield address, None
        # Not always upwards: a call that moved to the interrupt stack comes back to the task's.
        if above < KERNEL_HALF:
            return
        pointer = above


def _is_leaf(kernel: Kernel, start: Registers) -> bool:
    """Is pc in a function that has not saved ra?  Then ra is its caller and not in a frame."""
    symbol = kernel.kallsyms.containing(start.pc)
    inside = kernel.kallsyms.containing(start.ra)
    if symbol is None or inside is None or symbol.address == inside.address:
        return False
    try:
        code = kernel.space.read(symbol.address, min(start.pc - symbol.address, 64) & ~1)
    except BadAddress:
        return False
    # sd ra, n(sp): c.sdsp ra is 0xe006 | uimm; sd is ...0113023 with rs2 = 1.
    halves = [int.from_bytes(code[i : i + 2], "little") for i in range(0, len(code), 2)]
    return not any(half & 0xE07F == 0xE006 for half in halves)


def _entries(kernel: Kernel) -> list[tuple[int, int]]:
    found = [kernel.kallsyms.named(name) for name in ("handle_exception", "ret_from_exception")]
    return [(symbol.address, symbol.address + max(symbol.size, 4)) for symbols in found for symbol in symbols[:1]]


def _in_text(kernel: Kernel, address: int) -> bool:
    """Could this be a return into kernel code?  (Modules lie below the kernel's image.)"""
    return address >= KERNEL_HALF and address & 1 == 0 and address >> 32 == 0xFFFFFFFF


def walk_program(space: AddressSpace, start: Registers, is_code: Callable[[int], bool]) -> Iterator[tuple[int, bool]]:
    """(address, sure) upwards through a program's frames."""
    yield start.pc, True
    pointer, found = start.s0, 0
    seen = {start.pc}
    for _ in range(_DEEPEST):
        if pointer & 7 or not start.sp < pointer < start.sp + (8 << 20):
            break
        try:
            data = space.read(pointer - 16, 16)
        except BadAddress:
            break
        above, address = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")
        if not is_code(address) or not _after_call(space, address):
            break
        if not found and start.ra != address and is_code(start.ra) and _after_call(space, start.ra):
            yield start.ra, True
        yield address, True
        seen.add(address)
        found += 1
        if above <= pointer:
            break
        pointer = above
    if found:
        return
    if is_code(start.ra) and start.ra not in seen and _after_call(space, start.ra):
        yield start.ra, True
        seen.add(start.ra)
    try:
        words = space.read(start.sp & ~7, min(_SCAN_BYTES, 4096 - start.sp % 4096))
        words += space.read((start.sp | 4095) + 1, _SCAN_BYTES - len(words)) if len(words) < _SCAN_BYTES else b""
    except BadAddress:
        words = b""
    for i in range(0, len(words) - 7, 8):
        address = int.from_bytes(words[i : i + 8], "little")
        if address not in seen and is_code(address) and _after_call(space, address):
            seen.add(address)
            yield address, False


def _after_call(space: AddressSpace, address: int) -> bool:
    """Is the instruction before this address a call that links to ra?"""
    if address & 1 or address < 4:
        return False
    try:
        code = space.read(address - 4, 4)
    except BadAddress:
        return False
    word, half = int.from_bytes(code, "little"), int.from_bytes(code[2:], "little")
    return word & 0xFFF in (0x0EF, 0x0E7) or (half & 0xF07F == 0x9002 and half >> 7 & 31 != 0)
