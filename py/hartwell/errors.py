"""Errors with names.  Each message says what was wrong, where, what was
expected and what to do; the docstring says when it is raised."""


class HartwellError(Exception):
    """Base of everything this package raises on purpose."""


class BadConfiguration(HartwellError):
    """A machine was asked for that cannot be built (harts, memory, disks)."""


class BadKernel(HartwellError):
    """The kernel or firmware is not a RISC-V image we can load."""


class BadElf(HartwellError):
    """An ELF file is damaged or for another machine."""


class BadAddress(HartwellError):
    """A physical or virtual address has no memory behind it."""


class BadPath(HartwellError):
    """A file's path is not there, leads where it may not, or was refused."""


class ConnectionRefused(HartwellError):
    """Nothing in the guest takes a connection to that port."""


class DiskInUse(HartwellError):
    """A disk's kept changes belong to a machine that runs elsewhere."""


class DiskNotFound(HartwellError):
    """No changes to a disk, and no image with a disk, have that name."""


class ImageNotFound(HartwellError):
    """No image of that name is known."""


class MachineStopped(HartwellError):
    """The machine has stopped and can't do what was asked."""


class ConsoleTimeout(HartwellError):
    """`console.expect` did not see its pattern in time."""


class NotSupported(HartwellError):
    """The platform lacks something that is needed here."""


class StorageFull(HartwellError):
    """There is no room for what was to be stored; what is stored is untouched."""


class StorageFailed(HartwellError):
    """The browser's storage (or the disk) did not do what it was asked."""


class SnapshotCorrupt(HartwellError):
    """A stored snapshot, or a chunk of it, is damaged or missing."""


class SnapshotNotFound(HartwellError):
    """No sleeping machine has that name."""


class SnapshotVersion(HartwellError):
    """A snapshot was made by a version of Hartwell that this one can't follow."""


class MachineInUse(HartwellError):
    """A machine runs already, here or in another tab."""
