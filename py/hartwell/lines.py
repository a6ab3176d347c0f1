"""Lines of what a guest's agent sends, as it comes in pieces."""

from __future__ import annotations

from collections.abc import Iterator

LONGEST = 64 << 20  # bytes of a line; the guest may not fill Python's memory


class Lines:
    """`rest` is what came after the last line's end."""

    def __init__(self) -> None:
        self.rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that end in this piece, without their ends; a longer one than LONGEST is cut."""
        first, *more = data.split(b"\n")
        self.rest += first  # a long line comes in many pieces: none but the last is looked at again
        del self.rest[LONGEST:]
        for rest in more:
            line, self.rest = bytes(self.rest), bytearray(rest)
            yield line
