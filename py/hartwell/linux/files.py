"""Files of the guest as far as its page cache has them.

A program that runs was read from its file, so its pages are in the guest's
memory; on a ramfs or tmpfs the cache is the file.  Symbols and DWARF of a
guest's programs come from there, without a word to the guest.
"""

from __future__ import annotations

from hartwell.layout import RAM_BASE
from hartwell.linux.kernel import Kernel
from hartwell.linux.maple import xarray_entries
from hartwell.linux.tasks import Mapping, Task

_LARGEST = 256 << 20


class PageCache:
    """Pages of files, by struct file.

    A struct page's address says which page it is once it is known where their
    array begins; that is learned from a page that is both in a file's cache
    and mapped in a process.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._page_bytes = kernel.struct("page").size
        self._first: int | None = None  # where the struct page of physical page 0 would be

    def learn(self, task: Task, mapping: Mapping) -> bool:
        """Finds the array of struct pages with the help of a mapping; True when it is known."""
        if self._first is not None:
            return True
        space = task.memory.space
        for index, page, _ in self._pages(mapping.file):
            address = mapping.start + (index << 12) - mapping.offset
            if not mapping.start <= address < mapping.end or "w" in mapping.permissions:
                continue
            place = space.translate(address)
            if place is not None:
                self._first = page - (place >> 12) * self._page_bytes
                return True
        return False

    def read(self, file: int) -> tuple[bytes, int]:
        """The file's bytes, zeros where a page is not in memory, and how many
        bytes are.  (b"", 0) when where pages lie is not known."""
        kernel = self._kernel
        size = kernel.field(kernel.field(file, "file", "f_inode"), "inode", "i_size")
        if self._first is None or size > _LARGEST:
            return b"", 0
        data, have = bytearray(size), 0
        low, high = RAM_BASE >> 12, RAM_BASE + kernel.memory.size >> 12
        for index, page, count in self._pages(file):
            number, rest = divmod(page - self._first, self._page_bytes)
            start, end = index << 12, min((index + count) << 12, size)
            if rest or not low <= number <= high - count or start >= end:
                continue
            data[start:end] = kernel.memory.read(number << 12, end - start)
            have += end - start
        return bytes(data), have

    def _pages(self, file: int) -> list[tuple[int, int, int]]:
        """(page index, struct page, pages that follow each other) in the file's cache."""
        kernel = self._kernel
        mapping = kernel.field(file, "file", "f_mapping")
        return list(xarray_entries(kernel, mapping + kernel.offset("address_space", "i_pages")))
