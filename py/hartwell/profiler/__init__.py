"""`machine.profile(...)`: where a guest spends its time.

profiler.py   samples, taken by the harts themselves (cpu/inspect/trace.c), and their names
profile.py    what came out: top list, stacks, files for other tools
"""

from hartwell.profiler.profile import Profile
from hartwell.profiler.profiler import Profiler

__all__ = ["Profile", "Profiler"]
