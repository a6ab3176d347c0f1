"""What a profiler saw: stacks with weights, and the shapes that people and tools want."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

Stack = tuple[str, ...]
KERNEL = "_[k]"  # how collapsed stacks mark kernel frames


@dataclass(frozen=True)
class Line:
    """A function's share: `own` in itself, `total` with what it called; parts of 1."""

    name: str
    own: float
    total: float

    def __str__(self) -> str:
        return f"{self.own:7.2%} {self.total:7.2%}  {self.name}"


class Profile:
    """Samples of some seconds.

    A stack begins with its task's name, then its program's frames, then the
    kernel's (marked _[k]), outermost first.  Harts that wait are not sampled:
    shares are of the time in which harts worked; `busy` says how much that was.
    """

    def __init__(self, stacks: Counter[Stack], seconds: float, hz: float, harts: int, lost: int = 0) -> None:
        self.stacks, self.seconds, self.hz, self.harts, self.lost = stacks, seconds, hz, harts, lost

    @property
    def samples(self) -> int:
        """How many there are."""
        return sum(self.stacks.values())

    @property
    def busy(self) -> float:
        """The part of the harts' time in which they worked, 0 to 1, as far as samples
        tell: a host with too few cores for its harts makes it less."""
        return min(1.0, self.samples / (self.seconds * self.hz * self.harts)) if self.seconds else 0.0

    def top(self, count: int = 20) -> list[Line]:
        """The functions with most time of their own."""
        own: Counter[str] = Counter()
        total: Counter[str] = Counter()
        for stack, weight in self.stacks.items():
            own[stack[-1]] += weight
            for name in set(stack[1:]) or {stack[-1]}:
                total[name] += weight
        every = self.samples or 1
        return [Line(name, weight / every, total[name] / every) for name, weight in own.most_common(count)]

    def collapsed(self) -> str:
        """`task;main;hot 123` lines, as flamegraph.pl and speedscope read them."""
        return "\n".join(f"{';'.join(stack)} {weight}" for stack, weight in sorted(self.stacks.items()))

    def speedscope(self, name: str = "Hartwell") -> str:
        """JSON for speedscope.app, its "sampled" kind."""
        index: dict[str, int] = {}
        samples, weights = [], []
        for stack, weight in sorted(self.stacks.items()):
            samples.append([index.setdefault(frame, len(index)) for frame in stack])
            weights.append(weight / self.hz)
        return json.dumps({
            "$schema": "https://www.speedscope.app/file-format-schema.json",
            "shared": {"frames": [{"name": frame} for frame in index]},
            "profiles": [{
                "type": "sampled", "name": name, "unit": "seconds", "startValue": 0, "endValue": sum(weights),
                "samples": samples, "weights": weights,
            }],
            "exporter": "Hartwell", "name": name,
        })

    def tree(self, least: float = 0.001) -> dict[str, Any]:
        """Nested {"name", "value", "children"} for a flame graph; branches under
        `least` of all samples are left out."""
        root: dict[str, Any] = {"name": "all", "value": self.samples, "children": {}}
        for stack, weight in self.stacks.items():
            node = root
            for frame in stack:
                node = node["children"].setdefault(frame, {"name": frame, "value": 0, "children": {}})
                node["value"] += weight
        return _plain(root, max(1.0, least * self.samples))

    def __str__(self) -> str:
        head = f"{self.samples} samples in {self.seconds:.1f} s at {self.hz:g} Hz, {self.harts} harts {self.busy:.0%} busy"
        return "\n".join([head, "    own   total  function", *map(str, self.top())])

    def __repr__(self) -> str:
        return f"<profile: {self.samples} samples in {self.seconds:.1f} s>"


def _plain(node: dict[str, Any], least: float) -> dict[str, Any]:
    children = sorted(node["children"].values(), key=lambda child: str(child["name"]))
    return {"name": node["name"], "value": node["value"],
            "children": [_plain(child, least) for child in children if child["value"] >= least]}
