"""GDB's remote protocol, so that an unmodified gdb debugs a machine.

https://sourceware.org/gdb/current/onlinedocs/gdb.html/Remote-Protocol.html

packets.py      bytes to packets and back
registers.py    the registers, their numbers and bytes
description.py  target.xml and the other documents that gdb asks for
resume.py       vCont and its older kin: who steps, who goes on, until when
session.py      one connection: what each packet does
monitor.py      the `monitor` commands
server.py       who may connect, and where bytes come from

Pure Python on `hartwell.debugger`; knows no sockets and no JavaScript.
"""

from hartwell.gdb.session import Session

__all__ = ["Session"]
