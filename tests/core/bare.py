"""Whole machines with a bare program, on wasmtime: Python's side and harts as threads."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hartwell.devices.board import ACLINT, SYSCON
from hartwell.layout import RAM_BASE
from hartwell.machine import Machine
from tests.core.assembler import Code, assemble
from tests.core.bench import platform

SYMBOLS = {"SYSCON": SYSCON, "ACLINT": ACLINT, "PASS": 0x5555, "DATA": RAM_BASE + 0x20_0000}


def elf(code: Code) -> bytes:
    """An executable of one segment that begins with its entry."""
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 243, 1, code.base, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 7, 120, code.base, code.base, len(code.data), len(code.data), 8)
    return head + segment + code.data


@asynccontextmanager
async def bare(text: str, harts: int = 1, **options: Any) -> AsyncIterator[tuple[Machine, Code]]:
    """A machine that runs `text` in M mode on all harts; a0 is a hart's number."""
    code = assemble(text, RAM_BASE, **SYMBOLS)
    machine = await Machine.boot(bare=elf(code), harts=harts, memory="16M", platform=platform(), show=False, **options)
    try:
        yield machine, code
    finally:
        await machine.close()
