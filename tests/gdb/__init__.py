"""Tests with gdb: the protocol, and Debian's gdb-multiarch at machines."""
