"""What the terminal shows, so that it can show it again.

A page's terminal can say what it holds as text with escape sequences; what
the guest printed after that is kept as it came.  Without a page the guest's
last output is all there is, and does well enough.
"""

from __future__ import annotations

import base64
from typing import Any

LONGEST = 256 << 10  # bytes of output that are kept as they came


class Transcript:
    """Of one machine's console."""

    def __init__(self) -> None:
        self.base = ""  # the terminal's contents at `position`
        self.position = 0  # bytes of output before `_since`
        self._since = bytearray()

    @property
    def end(self) -> int:
        """Bytes of output so far."""
        return self.position + len(self._since)

    def add(self, data: bytes) -> None:
        """The guest printed something."""
        self._since += data
        if (over := len(self._since) - LONGEST) > LONGEST:
            # The terminal was not asked for long: what it held has scrolled far away.
            self.base = ""
            self.position += over
            del self._since[:over]

    def rebase(self, position: int, text: str) -> None:
        """The terminal held `text` when `position` bytes had reached it."""
        if self.position <= position <= self.end:
            del self._since[: position - self.position]
            self.base, self.position = text, position

    def replay(self) -> bytes:
        """What makes a cleared terminal show the same."""
        return self.base.encode(errors="replace") + bytes(self._since)

    def state(self) -> dict[str, Any]:
        """For a manifest."""
        return {"base": self.base, "since": base64.b64encode(self._since).decode()}

    def restore(self, state: dict[str, Any]) -> None:
        """From a manifest; what is not as it must be is left out."""
        self.base = str(state.get("base", ""))
        self._since = bytearray(base64.b64decode(str(state.get("since", ""))))
        self.position = 0
