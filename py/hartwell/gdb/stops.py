"""Stop replies: how gdb is told that harts stand still, and why.

Remote Protocol, "Stop Reply Packets".
"""

from __future__ import annotations

from collections.abc import Sequence

from hartwell.debugger import Stop, Watchpoint
from hartwell.gdb import registers
from hartwell.harts import Hart

TRAP, INTERRUPTED, STOPPED = 5, 2, 0  # signals, as gdb numbers them
EXITED = b"W00"
_WATCHES = {"write": "watch", "read": "rwatch", "access": "awatch"}
_SHOWN = (registers.PC, 2, 8)  # what gdb asks for anyway: pc, sp, s0


def reply(harts: Sequence[Hart], stop: Stop, signal: int | None = None) -> bytes:
    """The T packet of a stop.  signal: by default what its reason says."""
    hart = harts[stop.hart]
    if signal is None:
        signal = INTERRUPTED if stop.reason == "pause" else TRAP
    facts = [f"thread:{stop.hart + 1:x}", f"core:{stop.hart:x}"]
    if isinstance(stop.point, Watchpoint):
        address = stop.point.address if stop.reason == "device" else stop.address or 0
        facts.append(f"{_WATCHES[stop.point.kind]}:{max(address, stop.point.address):x}")
    elif stop.reason == "begin":
        facts.append("replaylog:begin")
    elif stop.reason == "breakpoint":
        facts.append("swbreak:")
    facts += [f"{number:02x}:{registers.read(hart, number).hex()}" for number in _SHOWN]
    return f"T{signal:02x}{';'.join(facts)};".encode()


def device_output(stop: Stop) -> bytes:
    """An O packet that tells of a device's access, for which gdb has no word."""
    text = f"hartwell: a device's {stop.access} of {stop.size} bytes at physical {stop.address or 0:#x}\n"
    return b"O" + text.encode().hex().encode()
