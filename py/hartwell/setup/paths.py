"""Where things lie in a checkout."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
STATIC = ROOT / "static"
STATE = STATIC / ".state"  # what was done, and downloads under way
VENV = ROOT / ".venv"


def venv_python() -> Path:
    """The interpreter of the checkout's environment; it need not be there yet."""
    return VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
