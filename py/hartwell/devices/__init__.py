"""The board and its devices, as Python sees them.

A device's registers and hot paths are in C (cpu/); here is what describes
them (the device tree), what feeds them (consoles, disks), and the base class
for virtio devices that are served in Python.
"""
