"""A hart's calls where no kernel's own conventions help: a bare program, firmware.

By the tables of programs that are known, else by frame pointers, which most
-fno-omit-frame-pointer code keeps (RISC-V ELF psABI, "Frame Pointer Convention").
"""

from __future__ import annotations

from collections.abc import Callable

from hartwell.debugger.views import View
from hartwell.harts import Hart
from hartwell.linux.backtrace import Frame, Registers, walk_program
from hartwell.symbols.frames import Rule


def backtrace(
    view: View, hart: Hart, name: Callable[[int], str] = hex, rule: Callable[[int], Rule | None] = lambda address: None
) -> list[Frame]:
    """Innermost first.  name, rule: of an address.

    A function that has neither a table nor a frame pointer hides its caller.
    """
    def read(address: int, count: int) -> bytes:
        return view.read(address, count, hart.index).ljust(count, b"\0")

    def is_code(address: int) -> bool:
        return address & 1 == 0 and address > 0 and view.translate(address, hart.index) is not None

    start = Registers(hart.pc, hart.x[1], hart.x[2], hart.x[8])
    return [
        Frame(address, name(address - bool(number)), hart.privilege == "U", sure)
        for number, (address, sure) in enumerate(walk_program(read, start, is_code, rule)) if sure
    ]
