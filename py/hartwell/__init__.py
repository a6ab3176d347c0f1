"""Hartwell: a Linux computer that lives in a browser tab."""

from hartwell.errors import HartwellError
from hartwell.machine import Machine

__all__ = ["HartwellError", "Machine"]
__version__ = "0.1.0"
