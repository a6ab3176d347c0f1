"""`machine.trace`: what harts do, noted in rings in shared memory (cpu/inspect/trace.c).

table.py      system calls: numbers, names, arguments
names.py      names of errors, signals, flags
records.py    the rings' format
recorder.py   takes records out, for everybody who listens
syscalls.py   system calls in words
trace.py      all of that under the names that people use
export.py     for Perfetto
"""

from hartwell.trace.syscalls import Syscall
from hartwell.trace.trace import Event, Session, Trace

__all__ = ["Event", "Session", "Syscall", "Trace"]
