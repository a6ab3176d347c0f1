"""q and Q packets: what gdb asks of the target, and what it agrees on with it.

Remote Protocol, "General Query Packets".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hartwell.gdb import description, monitor
from hartwell.gdb.packets import PACKET_BYTES
from hartwell.gdb.words import BadPacket, pair, raw, thread_number

if TYPE_CHECKING:
    from hartwell.gdb.session import Session

_FEATURES = (
    "QStartNoAckMode+;qXfer:features:read+;qXfer:threads:read+;qXfer:memory-map:read+;qXfer:exec-file:read+;"
    "vContSupported+;QNonStop+;swbreak+;hwbreak+"
)


def answer(session: Session, text: str) -> bytes | None:
    """b"" for what we do not know, None for what is answered later."""
    name, _, rest = text.partition(":")
    match name:
        case "qSupported":
            back = ";ReverseStep+;ReverseContinue+" if session.machine.history else ""
            return f"PacketSize={PACKET_BYTES:x};{_FEATURES}{back}".encode()
        case "QStartNoAckMode":
            session.no_ack_from_next()
            return b"OK"
        case "QNonStop":
            session.set_non_stop(_switch(rest))
            return b"OK"
        case "qXfer":
            return _transfer(session, rest)
        case "qfThreadInfo":
            return b"m" + ",".join(f"{hart + 1:x}" for hart in range(len(session.debugger.harts))).encode()
        case "qsThreadInfo":
            return b"l"
        case "qC":
            return f"QC{session.hart + 1:x}".encode()
        case "qAttached":
            return b"1"  # a gdb that quits detaches, and the machine goes on
        case "qSymbol":
            return b"OK"
        case "qqemu.PhyMemMode":
            return b"1" if session.physical else b"0"
        case "Qqemu.PhyMemMode":
            session.physical = _switch(rest)
            return b"OK"
    if text.startswith("qRcmd,"):
        return _command(session, text[6:])
    if text.startswith("qThreadExtraInfo,"):
        hart = session.hart_of(thread_number(text[17:]))
        return description.describe(session.debugger.harts[hart]).encode().hex().encode()
    return b""


def _switch(text: str) -> bool:
    if text not in ("0", "1"):
        raise BadPacket(f"{text[:40]!r} is neither 0 nor 1")
    return text == "1"


def _command(session: Session, text: str) -> bytes | None:
    """`monitor`: its output, a packet for each line, then the answer."""
    output = monitor.run(raw(text).decode("utf-8", "replace"), session)
    for line in output.splitlines(keepends=True):
        session.reply(b"O" + line.encode().hex().encode()[: PACKET_BYTES - 2])
    return None if session.beginning else b"OK"


def _transfer(session: Session, text: str) -> bytes:
    """qXfer: a window of one of the documents."""
    what, _, rest = text.partition(":read:")
    annex, _, window = rest.rpartition(":")
    offset, count = pair(window)
    match what, annex:
        case "features", "target.xml":
            document = description.target().encode()
        case "threads", "":
            document = description.threads(session.debugger.harts).encode()
        case "memory-map", "":
            document = description.memory_map().encode()
        case "exec-file", _:
            if not (name := session.files.program()):
                return b"E00"
            document = name.encode()
        case _:
            return b"E00"
    part = document[offset : offset + min(count, PACKET_BYTES // 2)]
    return (b"l" if offset + len(part) >= len(document) else b"m") + part
