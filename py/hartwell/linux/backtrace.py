"""Who called whom: stacks of tasks, in the kernel and in their programs.

RISC-V kernels keep frame pointers (CONFIG_FRAME_POINTER follows from the
architecture), so their frames are exact: s0 points above the saved ra (s0 - 8)
and the caller's s0 (s0 - 16).  On its way in, the kernel puts struct pt_regs
where the last frame ends, which is how the walk goes on in the program.

Programs mostly come without frame pointers, but with tables of how each
function's caller is found (hartwell.symbols.frames).  Where a table is missing a
frame is `sure` when it follows from a frame pointer that fits; otherwise it is a
word on the stack that points behind a call, which may be left over from an older
one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hartwell.errors import BadAddress
from hartwell.linux.kernel import Kernel
from hartwell.symbols.frames import Rule

KERNEL_HALF = 1 << 63
_DEEPEST = 64
_SCAN_BYTES = 4096  # of a program's stack, where there are no frame pointers


@dataclass(frozen=True)
class Frame:
    """One call.  address: where it goes on; name: symbol + offset; sure: not
    guessed; line: `file.c:12` of the call, where DWARF is there."""

    address: int
    name: str
    user: bool
    sure: bool = True
    line: str | None = None

    def __str__(self) -> str:
        where = f" at {self.line}" if self.line else ""
        return f"{self.address:#018x} {self.name}{where}{'' if self.sure else ' ?'}"


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


Read = Callable[[int, int], bytes]  # bytes at a virtual address; BadAddress


def walk_program(
    read: Read, start: Registers, is_code: Callable[[int], bool], rule: Callable[[int], Rule | None] = lambda address: None,
) -> Iterator[tuple[int, bool]]:
    """(address, sure) upwards through a program's frames.  rule: of an instruction."""
    yield start.pc, True
    known, seen = {1: start.ra, 2: start.sp, 8: start.s0}, {start.pc}
    pc, innermost = start.pc, True
    for _ in range(_DEEPEST):
        # A call that never returns may be its function's last instruction.
        found = rule(pc if innermost else pc - 1)
        if found is None:
            break
        above = None if found.ends else _caller(read, found, known)
        if above is None or not is_code(above[1] & ~1) or above[2] < known[2]:
            return  # the outermost, or what the rule leads to makes no sense
        pc, known, innermost = above[1] & ~1, above, False
        seen.add(pc)
        yield pc, True
    if innermost:
        yield from _by_frame_pointer(read, start, is_code, seen)
    else:  # ra has led here, so it says nothing of the next
        yield from _by_frame_pointer(read, Registers(pc, 0, known[2], known.get(8, 0)), is_code, seen)


def _caller(read: Read, rule: Rule, known: dict[int, int]) -> dict[int, int] | None:
    """The caller's registers as far as they are known; pc is in ra."""
    register, offset = rule.cfa
    if register not in known:
        return None
    cfa = known[register] + offset & (1 << 64) - 1
    above = {number: value for number, value in known.items() if number not in rule.saved}
    try:
        for number, place in rule.saved.items():
            above[number] = int.from_bytes(read(cfa + place & (1 << 64) - 1, 8), "little")
    except BadAddress:
        return None
    above[2] = cfa
    return above


def _by_frame_pointer(read: Read, start: Registers, is_code: Callable[[int], bool], seen: set[int]) -> Iterator[tuple[int, bool]]:
    pointer, found = start.s0, 0
    for _ in range(_DEEPEST):
        if pointer & 7 or not start.sp < pointer < start.sp + (8 << 20):
            break
        try:
            data = read(pointer - 16, 16)
        except BadAddress:
            break
        above, address = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")
        if not is_code(address) or not _after_call(read, address):
            break
        if not found and start.ra != address and is_code(start.ra) and _after_call(read, start.ra):
            yield start.ra, True
        yield address, True
        seen.add(address)
        found += 1
        if above <= pointer:
            break
        pointer = above
    if found:
        return
    if is_code(start.ra) and start.ra not in seen and _after_call(read, start.ra):
        yield start.ra, True
        seen.add(start.ra)
    try:
        words = read(start.sp & ~7, min(_SCAN_BYTES, 4096 - start.sp % 4096))
        words += read((start.sp | 4095) + 1, _SCAN_BYTES - len(words)) if len(words) < _SCAN_BYTES else b""
    except BadAddress:
        words = b""
    for i in range(0, len(words) - 7, 8):
        address = int.from_bytes(words[i : i + 8], "little")
        if address not in seen and is_code(address) and _after_call(read, address):
            seen.add(address)
            yield address, False


def _after_call(read: Read, address: int) -> bool:
    """Is the instruction before this address a call that links to ra?"""
    if address & 1 or address < 4:
        return False
    try:
        code = read(address - 4, 4)
    except BadAddress:
        return False
    word, half = int.from_bytes(code, "little"), int.from_bytes(code[2:], "little")
    return word & 0xFFF in (0x0EF, 0x0E7) or (half & 0xF07F == 0x9002 and half >> 7 & 31 != 0)
