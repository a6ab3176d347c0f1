"""`machine.linux`: the guest's Linux, seen from outside and without its help.

kernel.py     where its symbols, types and memory are found
space.py      page tables, walked
tasks.py      struct task_struct: processes, threads, their maps
maple.py      how Linux keeps ranges and pages
files.py      files that are in the page cache
backtrace.py  stacks
linux.py      all of that under the names that people use

Reads only.  Nothing here imports a platform, nor the machine.
"""

from hartwell.linux.linux import Linux
from hartwell.linux.tasks import Mapping, Task

__all__ = ["Linux", "Mapping", "Task"]
