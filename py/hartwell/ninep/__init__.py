"""9P2000.L: a folder of the host's, as a file system of the guest's.

messages.py knows the wire, server.py the protocol's state (fids), backend.py
what a folder must do; folder.py, handles.py and mounts.py are folders.
Nothing in here imports a platform.

Specifications: the 9P2000 manual pages of Plan 9 (section 5), and the .L
extension as Linux speaks it (Documentation/filesystems/9p.rst, diod's
protocol.md).
"""
