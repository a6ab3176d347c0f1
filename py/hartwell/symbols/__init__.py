"""`machine.symbols`: names and source lines of addresses.

table.py      a symbol, a table of them
kallsyms.py   the kernel's own table, in the guest's memory
modules.py    the tables of its modules
btf.py        the kernel's types, in its memory too
program.py    ELF files: symbols, and the next two
lines.py      source lines, by DWARF's line programs
frames.py     who called, by DWARF's call frame information
symbols.py    all of that under the names that people use
"""

from hartwell.symbols.table import Symbol, SymbolTable

__all__ = ["Symbol", "SymbolTable"]
