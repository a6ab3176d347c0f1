"""What is wrong is said in words, in the page, and the page lives on."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable

import pytest

from tests.e2e.tab import PythonError, Tab


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?harts=99", "BadConfiguration: harts: 99"),
        ("?harts=0", "BadConfiguration: harts: 0"),
        ("?memory=12Q", "12Q"),
        ("?memory=64G", "4 GiB"),
        ("?image=nosuch", "nosuch"),
        ("?harts=two", "harts=two in the address"),
        ("?boot=perhaps", "boot=perhaps in the address"),
        ("?hart=2", "hart in the address is no parameter"),
    ],
)
def test_bad_addresses(tab: Tab, query: str, says: str) -> None:
    tab.page.goto(tab.address + query)
    assert says in tab.wait_for_notice()
    tab.wait_for_stopped()
    assert tab.python("6 * 7") == 42
    tab.errors = [error for error in tab.errors if "404" not in error]  # the browser's own word for a missing image


@pytest.fixture(scope="module")
def bench(new_tab: Callable[..., Tab]) -> Tab:
    """A tab without a machine, in which one test after the other tries bad ones."""
    tab = new_tab()
    tab.open("?boot=no")
    return tab


def elf_of_x86() -> bytes:
    """The head of an ELF file for x86-64 (e_machine 62)."""
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400000, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    return head + bytes(4096)


def image_of(code: bytes, size: int = 1 << 20) -> bytes:
    """A RISC-V boot image whose first instruction jumps over the header to `code`."""
    header = struct.pack("<IIQQQIIQQII", 0x0400006F, 0, 0x200000, size, 0, 2, 0, 0, 0x5643534952, 0x05435352, 0)
    return (header + code).ljust(size, b"\0")


KERNELS = {
    "empty": (b"", "BadKernel"),
    "text": (b"This is not a kernel.\n" * 100, "BadKernel"),
    "x86 kernel": (bytes(0x1FE) + b"\x55\xaa" + bytes(2) + b"HdrS" + bytes(4096), "x86"),
    "x86 program": (elf_of_x86(), "ELF"),
    "truncated": (image_of(b"", 1 << 20)[:2000], "truncated"),
    "damaged gzip": (b"\x1f\x8b\x08\x00" + bytes(4000), "gzip"),
}


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_foreign_kernels(bench: Tab, kernel: str) -> None:
    data, says = KERNELS[kernel]
    with pytest.raises(PythonError) as raised:
        bench.python(f"import base64\nawait Machine.boot(kernel=base64.b64decode({_base64(data)!r}))")
    assert says in str(raised.value)
    assert bench.state() == "stopped"


def test_initrd_larger_than_memory(bench: Tab) -> None:
    kernel = _base64(image_of(b"", 8192))
    with pytest.raises(PythonError, match="initrd"):
        bench.python(
            f"import base64\nawait Machine.boot(kernel=base64.b64decode({kernel!r}), initrd=bytes(32 << 20), memory='16M')"
        )


# li a0, -8; jr a0: fetches from an address that no page table and no device has.
JUMP_INTO_NOTHING = struct.pack("<II", 0xFF800513, 0x00050067)


def test_guest_that_jumps_into_nothing(bench: Tab) -> None:
    """Without a trap handler the hart faults for ever; the page, Python and Pause live on."""
    kernel = _base64(image_of(JUMP_INTO_NOTHING, 8192))
    bench.python(
        f"import base64\nmachine = await Machine.boot(kernel=base64.b64decode({kernel!r}), memory='64M', harts=1)\nNone"
    )
    for _ in range(1200):
        if bench.python("not machine.alive or machine.harts[0].csr['scause']"):
            break
        bench.page.wait_for_timeout(100)
    assert bench.python("6 * 7") == 42
    if bench.state() == "running":
        bench.python("machine.pause()")
        assert bench.python("machine.harts[0].csr['scause']") in (1, 12)
        bench.python("machine.resume()")
        bench.press("Power off")
        bench.wait_for_state("stopped")
    else:
        assert bench.state() == "crashed"


def test_kernel_panic_is_shown_and_the_page_lives(new_tab: Callable[..., Tab]) -> None:
    """Linux without a root file system: its own panic on the console."""
    tab = new_tab()
    tab.open("?append=" + "root=/dev/nothing rdinit=/nothing init=/nothing".replace(" ", "%20"))
    tab.wait_for_screen("Kernel panic", 900)
    assert tab.python("6 * 7") == 42
    tab.press("Power off")
    tab.wait_for_stopped()
    tab.page.close()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
