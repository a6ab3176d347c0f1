"""Joins gdb connections to a machine.

A machine has one gdb at a time.  Where the bytes come from is not known here:
`hartwell.gdb.tcp` (CPython), web/node/host.mjs (Node) and the page's bridge
each hand them on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hartwell.gdb.files import Files
from hartwell.gdb.session import Session
from hartwell.history import History
from hartwell.layout import CONSTANTS

if TYPE_CHECKING:
    from hartwell.machine import Machine


class MachineCommands:
    """What gdb may ask of a machine (`monitor.Commands`)."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def reset(self, halt: bool) -> None:
        """As the reset button; with `halt` no hart runs afterwards."""
        self._machine.halt_next_start = halt
        self._machine.reset()

    def switch_off(self) -> None:
        """Pulls the plug."""
        self._machine._core.call("machine_stop", CONSTANTS["STOP_POWEROFF"], 0)

    def info(self) -> str:
        """A few lines on the machine."""
        return f"{self._machine!r}\n"

    @property
    def history(self) -> History | None:
        """The run that can be gone back in, of a machine that is recorded."""
        return self._machine.history


class Server:
    """At most one session with the machine that `machine` gives."""

    def __init__(self, machine: Callable[[], Machine | None]) -> None:
        self._machine = machine
        self.session: Session | None = None
        self.symbols = b""
        """An ELF file for a gdb that asks what program runs here."""

    def connect(self, send: Callable[[bytes], None]) -> Session | None:
        """A session for a gdb that came; None when there is one already, or no
        machine that runs."""
        machine = self._machine()
        if machine is None or not machine.alive or (self.session and not self.session.closed):
            return None
        self.session = Session(machine.debugger, send, MachineCommands(machine), Files(self.symbols))
        return self.session
