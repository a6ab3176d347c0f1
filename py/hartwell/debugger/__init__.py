"""`machine.debugger`: stop a guest where one wants, look, and let it go on.

points.py      break- and watchpoints, and the tables of them that harts look at
stops.py       what a stop is, read from the harts' structs
control.py     who runs and who stands still: pause, step, go on
views.py       memory as a debugger may see it
backtrace.py   a hart's calls in a program that no kernel runs
panel.py       what the page shows of all that
debugger.py    all of that under the names that people use

Works on a platform's Core; imports nothing of the machine, nor of gdb.
"""

from hartwell.debugger.debugger import Debugger
from hartwell.debugger.points import Breakpoint, Watchpoint
from hartwell.debugger.stops import Stop

__all__ = ["Breakpoint", "Debugger", "Stop", "Watchpoint"]
