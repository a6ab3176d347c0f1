"""GDB's remote protocol, so that an unmodified gdb debugs a machine.

https://sourceware.org/gdb/current/onlinedocs/gdb.html/Remote-Protocol.html

packets.py      bytes to packets and back
registers.py    the registers, their numbers and bytes
description.py  target.xml and the other documents that gdb asks for
session.py      one connection: bytes, and what each packet does
queries.py      what gdb asks, and what it agrees on with the target
points.py       the break- and watchpoints of one gdb
resume.py       what vCont says: who steps, who goes on, until when
all_stop.py     going on, stopping and going back, of all harts together
non_stop.py     the same of each hart alone
stepping.py     steps of one hart, for both
stops.py        how gdb is told that harts stand still
monitor.py      the `monitor` commands
server.py       who may connect, and where bytes come from

Pure Python on `hartwell.debugger`; knows no sockets and no JavaScript.
"""

from hartwell.gdb.session import Session

__all__ = ["Session"]
