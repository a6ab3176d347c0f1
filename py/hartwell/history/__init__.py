"""Runs that repeat: recording, replaying, and going back in them.

recording.py    what has to be known to repeat a run
taps.py         consoles whose input is written down, or comes from a recording
checkpoints.py  copies of a machine at intervals
driver.py       runs a hart on the supervisor's thread, always cut at the same places
control.py      the debugger's run control on top of that
history.py      `machine.history`
replay.py       Machine.record, Machine.replay

How it is made sure that two runs are the same is in driver.py.
"""

from hartwell.history.history import History
from hartwell.history.recording import Recording

__all__ = ["History", "Recording"]
