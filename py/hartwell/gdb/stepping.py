"""Steps of one hart on the supervisor's own thread, for both modes."""

from __future__ import annotations

from typing import Literal

from hartwell.debugger import Debugger, Stop
from hartwell.gdb.resume import Action

STEPS = 2000  # of a range, between two looks at what else has come


def some_steps(debugger: Debugger, hart: int, action: Action) -> bool:
    """Steps of one action ("s" or "r"); True when it is complete."""
    control, where = debugger.control, debugger.harts[hart]
    if action.verb == "s":
        control.advance(hart)
        return True
    return any(not control.advance(hart) or not action.low <= where.pc < action.high for _ in range(STEPS))


def where_it_stands(debugger: Debugger, hart: int, reason: Literal["step", "pause"] = "step") -> Stop:
    """What a hart stands at; if at nothing, that it was made to step or to pause."""
    return debugger.at(hart) or Stop(reason, hart, debugger.harts[hart].pc)
