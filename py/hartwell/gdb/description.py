"""The XML documents that gdb asks for by qXfer.

Target description: the features org.gnu.gdb.riscv.* of GDB's manual, appendix
"Standard Target Features, RISC-V".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from xml.sax.saxutils import quoteattr

from hartwell.gdb import registers
from hartwell.harts import Hart
from hartwell.isa.registers import F_NAMES, X_NAMES

_HEAD = '<?xml version="1.0"?>\n'
_POINTERS = {"ra": "code_ptr", "sp": "data_ptr", "gp": "data_ptr", "tp": "data_ptr"}
_FLOATING = """<union id="riscv_double">
<field name="float" type="ieee_single"/>
<field name="double" type="ieee_double"/>
</union>"""


@cache
def target() -> str:
    """target.xml: every register with its number."""
    general = [_register(name, number, _POINTERS.get(name, "int")) for number, name in enumerate(X_NAMES)]
    general.append(_register("pc", registers.PC, "code_ptr"))
    floating = [_register(name, registers.FIRST_F + i, "riscv_double") for i, name in enumerate(F_NAMES)]
    csrs = [_register(name, registers.FIRST_CSR + i, "int", "csr") for i, name in enumerate(registers.CSR_NAMES)]
    privilege = [_register("priv", registers.PRIVILEGE, "int", "general")]
    return "\n".join([
        f'{_HEAD}<!DOCTYPE target SYSTEM "gdb-target.dtd">', "<target>", "<architecture>riscv:rv64</architecture>",
        _feature("cpu", general), _feature("fpu", [_FLOATING, *floating]),
        _feature("csr", csrs), _feature("virtual", privilege), "</target>", "",
    ])


def threads(harts: Sequence[Hart]) -> str:
    """A thread for each hart."""
    lines = [
        f'<thread id="{hart.index + 1:x}" core="{hart.index}" name="hart {hart.index}">{describe(hart)}</thread>'
        for hart in harts
    ]
    return "\n".join([f"{_HEAD}<threads>", *lines, "</threads>", ""])


def describe(hart: Hart) -> str:
    """What `info threads` says of a hart."""
    return f"hart {hart.index}, {hart.privilege} mode"


def memory_map() -> str:
    """All of the address space: what is mapped changes with every process, so
    gdb may ask for any of it, and an access says whether it is there."""
    half = 1 << 63
    regions = [f'<memory type="ram" start="{start:#x}" length="{half:#x}"/>' for start in (0, half)]
    return "\n".join([f"{_HEAD}<memory-map>", *regions, "</memory-map>", ""])


def _feature(name: str, lines: list[str]) -> str:
    return "\n".join([f'<feature name="org.gnu.gdb.riscv.{name}">', *lines, "</feature>"])


def _register(name: str, number: int, kind: str, group: str = "") -> str:
    extra = f" group={quoteattr(group)}" if group else ""
    return f'<reg name={quoteattr(name)} bitsize="64" regnum="{number}" type={quoteattr(kind)}{extra}/>'
