"""A hart's calls by frame pointers, which Linux and most -fno-omit-frame-pointer
code keep: s0 is the frame, the caller's pc and s0 lie below it.

RISC-V ELF psABI, "Frame Pointer Convention".
"""

from __future__ import annotations

from hartwell.debugger.views import View
from hartwell.errors import BadAddress
from hartwell.harts import Hart

DEEPEST = 64
LARGEST_FRAME = 1 << 20


def backtrace(view: View, hart: Hart) -> list[int]:
    """pc, then the return addresses, innermost first.

    Ends where a frame pointer leads nowhere.  A function that keeps none hides
    its caller; a leaf that has not set up its frame yet, too.
    """
    frames, fp = [hart.pc], hart.x[8]
    while len(frames) < DEEPEST and fp and fp % 8 == 0:
        try:
            saved = view.read(fp - 16, 16, hart.index)
        except BadAddress:
            break
        above, back = int.from_bytes(saved[:8], "little"), int.from_bytes(saved[8:], "little")
        if len(saved) < 16 or not back:
            break
        frames.append(back)
        if not fp < above <= fp + LARGEST_FRAME:
            break
        fp = above
    return frames
