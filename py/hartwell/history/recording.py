"""What has to be known to repeat a run: where it began, and what came from outside.

As bytes it is JSON, one object:

    format      "hartwell recording", version 1
    layout      LAYOUT_VERSION of the machine that was recorded
    seed        of the guest's random numbers, hexadecimal
    epoch       what the RTC showed at the start, microseconds since 1970
    events      [instructions retired, port, hexadecimal bytes] of each input
    digests     [instructions retired, SHA-256] of the state at each checkpoint
    end         instructions retired when it was taken
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from hartwell.errors import BadConfiguration
from hartwell.layout import LAYOUT_VERSION

_FORMAT = "hartwell recording"


@dataclass(frozen=True)
class Event:
    """Input that the guest got after `instret` instructions."""

    instret: int
    port: int
    data: bytes


@dataclass
class Recording:
    """A run so far.  Kernel, images and memory size are not in it: a replay is
    given the same ones."""

    seed: bytes
    epoch: int
    events: list[Event] = field(default_factory=list)
    digests: list[tuple[int, str]] = field(default_factory=list)
    end: int = 0

    def to_bytes(self) -> bytes:
        """As a file."""
        return json.dumps({
            "format": _FORMAT, "version": 1, "layout": LAYOUT_VERSION, "seed": self.seed.hex(), "epoch": self.epoch,
            "events": [[event.instret, event.port, event.data.hex()] for event in self.events],
            "digests": self.digests, "end": self.end,
        }).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Recording:
        """BadConfiguration for what is no recording, or one of another layout."""
        try:
            found: Any = json.loads(data)
            if found["format"] != _FORMAT or found["version"] != 1:
                raise ValueError(f"format {found['format']!r}, version {found['version']!r}")
            if found["layout"] != LAYOUT_VERSION:
                raise ValueError(f"it is of layout {found['layout']}, this machine has {LAYOUT_VERSION}")
            events = [Event(int(instret), int(port), bytes.fromhex(text)) for instret, port, text in found["events"]]
            if [event.instret for event in events] != sorted(event.instret for event in events):
                raise ValueError("its events are not in order")
            digests = [(int(instret), str(digest)) for instret, digest in found["digests"]]
            return cls(bytes.fromhex(found["seed"]), int(found["epoch"]), events, digests, int(found["end"]))
        except (ValueError, KeyError, TypeError) as error:
            raise BadConfiguration(f"that is no recording: {error}; Recording.to_bytes() makes one") from None


class Entropy:
    """Random numbers that a seed determines; they can be taken up again at any place."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self.taken = 0

    def __call__(self, count: int) -> bytes:
        self.taken += 1
        return hashlib.shake_256(self._seed + self.taken.to_bytes(8, "little")).digest(count)
