"""`machine.gdb()`: opens a port of this computer for gdb, wherever the machine is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hartwell.errors import NotSupported
from hartwell.gdb.server import Server
from hartwell.gdb.symbol_file import symbol_file
from hartwell.layout import RAM_BASE
from hartwell.memory import Memory
from hartwell.platform import Platform
from hartwell.symbols import kallsyms

if TYPE_CHECKING:
    from hartwell.machine import Machine

DEFAULT_PORT = 1234
KERNEL_BYTES = 96 << 20  # from RAM's begin; a table further up is a file's


class GdbPort:
    """What a machine has for gdb; joined to Machine by inheritance."""

    _platform: Platform
    memory: Memory
    _gdb: Server | None = None
    gdb_line = ""
    """What to type into a gdb, once gdb() was called."""

    async def gdb(self, port: int = DEFAULT_PORT) -> str:
        """Lets a gdb on this computer debug the machine; the line to type into it.

        port: on the loopback, 0 for any that is free; the same one again, also
        for the next machine, is no error.  Raises NotSupported where nothing
        can listen, and when the port is taken; MachineStopped for a machine that ended.
        """
        listen: Any = getattr(self._platform, "listen_for_gdb", None)
        if listen is None:
            raise NotSupported(f"nothing can listen for gdb on the platform {self._platform.name}")
        machine: Any = self
        machine._need_alive("debugged")
        server = server_of(machine)
        server.symbols = await kernel_symbols(self.memory)
        found: int = await listen(port, server)
        self.gdb_line = f"target remote 127.0.0.1:{found}"
        return self.gdb_line


async def kernel_symbols(memory: Memory) -> bytes:
    """An ELF file of the symbols that a Linux kernel in memory carries; it need
    not have started.  b"" where there is none."""
    found = kallsyms.find(memory.read, RAM_BASE, min(memory.size, KERNEL_BYTES))
    return await symbol_file(found.plain()) if found else b""


def server_of(machine: Machine) -> Server:
    """The machine's one server: it has one gdb, whatever the ports."""
    if machine._gdb is None:
        machine._gdb = Server(lambda: machine)
    return machine._gdb
