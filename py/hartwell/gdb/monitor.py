"""gdb's `monitor` commands: what the protocol itself has no packet for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from hartwell.errors import HartwellError
from hartwell.isa.csrs import CSRS

if TYPE_CHECKING:
    from hartwell.gdb.session import Session
    from hartwell.history import History

LINE = 16
DUMP_BYTES = 4096
MOST_STEPS = 1_000_000


class Commands(Protocol):
    """What a session asks of the machine beside its debugger."""

    def reset(self, halt: bool) -> None:
        """As the reset button; with `halt` no hart runs afterwards."""

    def switch_off(self) -> None: ...

    def info(self) -> str:
        """A few lines on the machine."""

    @property
    def history(self) -> History | None:
        """The run that can be gone back in, if there is one."""


def run(line: str, session: Session) -> str:
    """What a command prints; its mistakes are printed too."""
    name, *arguments = line.split() or ["help"]
    if name not in COMMANDS:
        return f"there is no monitor command {name!r}; `monitor help` lists them\n"
    usage, act = COMMANDS[name]
    try:
        return act(session, arguments)
    except HartwellError as error:
        return f"monitor {name}: {error}\n"
    except (ValueError, KeyError, IndexError):
        return f"monitor {name} {' '.join(arguments)}".rstrip() + f": expected monitor {usage}\n"


def _number(text: str) -> int:
    """Decimal, or with 0x, 0o, 0b.  ValueError for what no address or register can be."""
    value = int(text, 0)
    if not 0 <= value < 1 << 64:
        raise ValueError(text)
    return value


def _help(_: Session, __: list[str]) -> str:
    return "".join(f"monitor {usage:34} {what}\n" for usage, what in USAGE)


def _info(session: Session, _: list[str]) -> str:
    harts = [f"  {hart!r} instret={hart.instret}\n" for hart in session.debugger.harts]
    points = [f"  {point}\n" for point in (*session.debugger.breakpoints, *session.debugger.watchpoints)]
    return session.machine.info() + "".join(harts + points)


def _csr(session: Session, words: list[str]) -> str:
    csr = session.debugger.harts[session.hart].csr
    if not words:
        return "".join(f"{name:14} {csr[name]:#018x}\n" for name in CSRS)
    if words[0] not in CSRS:
        raise HartwellError(f"{words[0]!r} is no CSR of this hart")
    if len(words) == 2:
        csr[words[0]] = _number(words[1])
    return f"{words[0]} {csr[words[0]]:#018x}\n"


def _pmem(session: Session, words: list[str]) -> str:
    address, count = _number(words[0]), _number(words[1]) if len(words) > 1 else 64
    data = session.debugger.view.read(address, min(count, DUMP_BYTES), None)
    lines = [data[at : at + LINE] for at in range(0, len(data), LINE)]
    return "".join(f"{address + LINE * i:#x}: {line.hex(' ')}\n" for i, line in enumerate(lines))


def _translate(session: Session, words: list[str]) -> str:
    found = session.debugger.view.translate(_number(words[0]), session.hart)
    return "not mapped\n" if found is None else f"{found:#x}\n"


def _phys(session: Session, words: list[str]) -> str:
    if words:
        session.physical = {"on": True, "off": False}[words[0]]
    return f"memory packets take {'physical' if session.physical else 'virtual'} addresses\n"


def _step(session: Session, words: list[str]) -> str:
    session.debugger.control.step(session.hart, min(_number(words[0]) if words else 1, MOST_STEPS))
    return f"hart {session.hart}: {session.debugger.harts[session.hart].pc:#x}\n"


def _interrupts(session: Session, words: list[str]) -> str:
    control = session.debugger.control
    if words:
        control.interrupts = {"on": True, "off": False}[words[0]]
    return f"a step {'takes' if control.interrupts else 'leaves'} pending interrupts\n"


def _reset(session: Session, words: list[str]) -> str:
    if words not in ([], ["go"]):
        raise ValueError(words)
    session.machine.reset(halt=not words)
    session.beginning = True
    return "the machine begins anew\n"


COMMANDS: dict[str, tuple[str, Callable[[Session, list[str]], str]]] = {}
USAGE: list[tuple[str, str]] = []
for _usage, _what, _act in [
    ("help", "this list", _help),
    ("info", "the machine, its harts, and what is set", _info),
    ("csr [NAME [VALUE]]", "the chosen hart's CSRs; sets one", _csr),
    ("pmem ADDRESS [COUNT]", "bytes of RAM by physical address", _pmem),
    ("translate ADDRESS", "the physical address of a virtual one", _translate),
    ("phys [on|off]", "do x, print and set take physical addresses?", _phys),
    ("step [COUNT]", "the chosen hart alone, into traps too; then `maint flush register-cache`", _step),
    ("step-interrupts [on|off]", "does a step take pending interrupts?", _interrupts),
    ("reset [go]", "as the reset button; stands still unless `go`", _reset),
]:
    COMMANDS[_usage.split()[0]] = _usage, _act
    USAGE.append((_usage, _what))
