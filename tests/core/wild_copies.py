"""Random loops that copy and fill, for M mode on the bench: close by, across pages, over code, out of memory.

What they read and write lies in the three pages around DATA; some end behind the
last page of RAM, where a handler skips what faults.
"""

from __future__ import annotations

import random
import re

from tests.core.wild import BASE, DATA, HANDLER

END = 0x8080_0000  # of the bench's RAM
VALUES = ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7"]
NAMES = {1: ["lb", "lbu"], 2: ["lh", "lhu"], 4: ["lw", "lwu"], 8: ["ld"]}
STORES = {1: "sb", 2: "sh", 4: "sw", 8: "sd"}


class WildCopies:
    """Text of one program, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.labels = 0
        copies = "\n".join(self.copy() for _ in range(6))
        self.text = f"""
    la t6, handler
    csrw mtvec, t6
    li s0, {DATA - 0x1000}; li t0, {DATA + 0x2000}; li t1, {self.random.getrandbits(63) | 1}
fill: addi t0, t0, -8; slli t2, t1, 13; xor t1, t1, t2; srli t2, t1, 7; xor t1, t1, t2; sd t1, 0(t0); bne t0, s0, fill
main: addi s5, s5, 1
{copies}
    j main
{HANDLER}
"""

    def copy(self) -> str:
        """One loop: s8 walks where it reads, s9 (and t5, which follows it) where it writes."""
        draw = self.random
        self.labels += 1
        label = f"l{self.labels}"
        width = draw.choice([1, 2, 4, 8, 8, 8])
        count = draw.choice([1, 2, 3, 4, 4, 8, 8])
        kind = draw.choice(["together", "in turn", "behind", "merged", "merged", "filled"])
        if kind == "merged":
            width = 8
        up = draw.random() < 0.7
        stride = width * count * (1 if up else -1)
        turns = draw.randrange(2, max(4, min(150, 0x1800 // abs(stride))))
        source, target = self.places(width, abs(stride) * turns, kind)
        if not up:
            source, target = source + abs(stride) * (turns - 1), target + abs(stride) * (turns - 1)
        places = [width * (k if up else count - 1 - k) for k in range(count)]
        lines = self.body(kind, width, places)
        apart = draw.random() < 0.15  # one is faster than the other
        ends = [f"addi s8, s8, {stride + draw.choice([width, -width]) if apart else stride}", f"addi s9, s9, {stride}"]
        begin = [f"li s8, {source}", f"li s9, {target}"]
        if draw.random() < 0.15 and not apart:  # both by one register
            away = width * draw.choice([-8, -2, -1, 0, 1, 1, 2, 3, 4, 8])
            lines = [re.sub(r"(-?\d+)\(s9\)", lambda found: f"{int(found[1]) + away}(s8)", line) for line in lines]
        elif draw.random() < 0.3:
            begin.append(f"addi t5, s9, {draw.choice([0, 0, 0, 8, -8, 64])}")
            store = next(k for k, line in enumerate(lines) if line.startswith("s") and "s9" in line)
            lines[store] = lines[store].replace("s9", "t5")
            ends.append("addi t5, s9, 0")
        back = f"bne s8, t3, {label}" if stride != 0 and draw.random() < 0.3 and ends[0].endswith(f" {stride}") else None
        begin.append(f"li t3, {source + stride * turns}" if back else f"li s2, {turns}")
        if not back:
            lines.insert(draw.randrange(len(lines) + 1), "addi s2, s2, -1")
            back = f"bnez s2, {label}"
        if draw.random() < 0.1:
            lines.insert(draw.randrange(len(lines) + 1), f"add s6, s6, {draw.choice(VALUES)}")
        if draw.random() < 0.1:
            lines.insert(draw.randrange(len(lines) + 1), f"sd {draw.choice(VALUES)}, {draw.choice([0, 8, 24])}(s9)")
        if draw.random() < 0.1:
            lines.insert(draw.randrange(len(lines) + 1), f"ld a7, {draw.choice([0, 8, 24, -16])}(s8)")
        if kind == "merged" and draw.random() < 0.1:
            lines.insert(draw.randrange(len(lines) + 1), "addi s4, s4, 8; addi s11, s11, -8")
        digest = "".join(f"slli t2, s6, 1; xor s6, s6, t2; add s6, s6, {name}; " for name in draw.sample(VALUES, 3))
        return "\n".join([*begin, *self.shifts(), f"{label}: {lines[0]}", *lines[1:], *ends, back, digest])

    def places(self, width: int, length: int, kind: str) -> tuple[int, int]:
        draw = self.random
        room = 0x3000 - length - 0x80
        source = DATA - 0x1000 + 0x40 + draw.randrange(max(1, room) // 8) * 8
        chance = draw.random()
        if chance < 0.55:
            away = draw.choice([*range(-32, 33), *range(-64, 65, 8), *range(-64, 65, 8)])
        else:
            away = draw.choice([-0x1000, 0x1000, 0x800, -0x7F8, 0x400, 0x1008, 0x208, -0x210, 0])
        target = source + away // width * width
        if target < DATA - 0x1000 + 0x40 or target + length > DATA + 0x1FC0:
            target = source - away // width * width
        if target < DATA - 0x1000 + 0x40 or target + length > DATA + 0x1FC0:
            target = source
        if chance > 0.95:  # out of memory, to or from
            beyond = END - draw.randrange(1, 1 + length // width) * width
            return (source, beyond) if draw.random() < 0.5 else (beyond, target)
        if chance > 0.9 and kind in ("together", "in turn"):  # its own code, as it is
            return BASE, BASE
        return source, target

    def shifts(self) -> list[str]:
        draw = self.random
        by = draw.choice([8, 16, 24, 32, 40, 48, 56, 8, 24, 40, 4, 12, 0])
        other = 64 - by if draw.random() < 0.85 else draw.choice([56 - by, 8, 63])
        more = draw.choice([0, 0, 0, 64, -64])
        return [f"li s4, {by + more}", f"li s11, {other}"]

    def body(self, kind: str, width: int, places: list[int]) -> list[str]:
        draw, load, store = self.random, draw_name(self.random, width), STORES[width]
        names = draw.sample(VALUES, len(places)) if draw.random() < 0.7 else [draw.choice(VALUES[:2]) for _ in places]
        loads = [f"{load} {name}, {at}(s8)" for name, at in zip(names, places, strict=True)]
        stores = [f"{store} {name}, {at}(s9)" for name, at in zip(names, places, strict=True)]
        if kind == "together":
            return loads + stores
        if kind == "in turn":
            return [line for pair in zip(loads, stores, strict=True) for line in pair]
        if kind == "behind":
            held = [f"{load} a{k % 2}, {at}(s8)" for k, at in enumerate(places)]
            kept = [f"{store} a{(k + 1) % 2}, {at}(s9)" for k, at in enumerate(places)]
            return [line for pair in zip(held, kept, strict=True) for line in pair]
        if kind == "filled":
            value = draw.choice(["a0", "zero", "s5"])
            return [f"{store} {value if draw.random() < 0.97 else 'a1'}, {at}(s9)" for at in places]
        lines = []
        up = places == sorted(places)
        for k, at in enumerate(places):
            word, then = f"a{k % 2}", f"a{(k + 1) % 2}"
            low, high = (then, word) if up else (word, then)
            lines += [f"ld {word}, {at}(s8)", f"srl a2, {low}, s4", f"sll a3, {high}, s11",
                      "or a2, a2, a3" if draw.random() < 0.9 else "or a2, a3, a2", f"sd a2, {at}(s9)"]
        return lines


def draw_name(draw: random.Random, width: int) -> str:
    """A load of so many bytes."""
    return draw.choice(NAMES[width])
