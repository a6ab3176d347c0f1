"""vCont: which harts step, which go on, and what ends that.

Remote Protocol, "Packets", vCont.  Actions apply to the first hart they name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hartwell.gdb.words import BadPacket, number, thread_number

Verb = Literal["c", "s", "r", "t"]


@dataclass(frozen=True)
class Action:
    """What one hart is to do.  For "r", [low, high) is the range of the steps."""

    verb: Verb
    low: int = 0
    high: int = 0


def parse(text: str, harts: int) -> dict[int, Action]:
    """The action of each hart that has one, from what follows `vCont`.

    BadPacket for a verb or a thread that there is not.
    """
    chosen: dict[int, Action] = {}
    for part in text.split(";")[1:]:
        verb, _, thread = part.partition(":")
        action = _action(verb)
        which = thread_number(thread) if thread else -1
        if which > harts:
            raise BadPacket(f"thread {which}: there are {harts}")
        for hart in range(harts) if which == -1 else [max(which, 1) - 1]:
            chosen.setdefault(hart, action)
    if not chosen:
        raise BadPacket("vCont names no thread")
    return chosen


def _action(text: str) -> Action:
    if text[:1] in ("c", "C"):
        return Action("c")  # signals mean nothing to a machine
    if text[:1] in ("s", "S"):
        return Action("s")
    if text == "t":
        return Action("t")
    if text[:1] == "r":
        low, comma, high = text[1:].partition(",")
        if comma:
            return Action("r", number(low), number(high))
    raise BadPacket(f"vCont has no action {text!r}")
