"""Runs random programs in QEMU and keeps what came out.

    PYTHONPATH=py:. python -m tests.oracle.generate [--each N]

QEMU (qemu-system-riscv64, any version from 7) starts a bare machine whose RAM
is a file that this script filled: a harness, the programs, their initial
states.  The harness runs one after the other and stores the outcomes into the
same RAM, then switches the machine off.

QEMU 7 does not know Zicond, and its ctzw of a word that is 0 looks at the upper
half too (mended in QEMU 8; the specification says 32).  For QEMU alone each of
these is replaced by a jump to a few other instructions that do the same.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from hartwell.isa import BY_NAME
from tests.oracle.programs import GROUPS, encode, make
from tests.oracle.records import (
    PROGRAM_BASE,
    PROGRAM_STRIDE,
    WINDOW,
    WINDOW_BYTES,
    Record,
    State,
    initial,
    save,
)

RAM, RAM_BYTES = 0x8000_0000, 64 << 20
CONTROL = 0x8000_8000  # program, initial state, outcome, programs left, spare
STUBS = 0x8000_9000
STATES = 0x8100_0000
OUTCOMES = 0x8200_0000
SLOT = 2048  # bytes of a state; an outcome has mcause and mepc behind it
CAUSE = State.PACK.size
MSTATUS, MTVEC, MSCRATCH, MEPC, MCAUSE, FCSR = 0x300, 0x305, 0x340, 0x341, 0x342, 3
SYSCON, POWER_OFF = 0x10_0000, 0x5555
F, FCSR_AT, WINDOW_AT = 256, 512, 520  # offsets in a packed state


class Code:
    """Instructions one after another, with labels."""

    def __init__(self, base: int) -> None:
        self.base, self.bytes, self.labels, self.fixes = base, bytearray(), {}, []

    @property
    def at(self) -> int:
        return self.base + len(self.bytes)

    def __call__(self, name: str, imm: int = 0, **fields: int) -> None:
        self.bytes += encode(name, imm, **fields)

    def label(self, name: str) -> None:
        self.labels[name] = self.at

    def to(self, name: str, label: str, **fields: int) -> None:
        self.fixes.append((len(self.bytes), name, label, fields))
        self.bytes += bytes(4)

    def address(self, rd: int, value: int) -> None:
        """Loads an address that is a multiple of 4096 and below 4 GiB."""
        self("lui", value, rd=rd)
        self("slli.uw", rd=rd, rs1=rd, shamt=0)

    def done(self) -> bytes:
        for at, name, label, fields in self.fixes:
            self.bytes[at : at + 4] = encode(name, self.labels[label] - self.base - at, **fields)
        return bytes(self.bytes)


def harness() -> bytes:
    """Code at RAM: runs the programs that CONTROL lists; x31 is its pointer
    whenever a program's registers must not be touched."""
    code = Code(RAM)
    code("auipc", 0, rd=1)
    code.fixes.append((len(code.bytes), "addi", "trap", {"rd": 1, "rs1": 1}))
    at_trap = len(code.bytes)
    code.bytes += bytes(4)
    code("csrrw", rd=0, csr=MTVEC, rs1=1)
    code("lui", 0x6000, rd=1)
    code("csrrs", rd=0, csr=MSTATUS, rs1=1)  # FS on
    code("lui", 0x2000, rd=1)
    code("addi", -0x800, rd=1, rs1=1)
    code("csrrs", rd=0, csr=MSTATUS, rs1=1)  # MPP = M
    code.label("next")
    code.address(31, CONTROL)
    code("ld", 24, rd=1, rs1=31)
    code.to("beq", "end", rs1=1, rs2=0)
    code("addi", -1, rd=1, rs1=1)
    code("sd", 24, rs2=1, rs1=31)
    code("csrrw", rd=0, csr=MSCRATCH, rs1=31)
    code("ld", 0, rd=1, rs1=31)
    code("csrrw", rd=0, csr=MEPC, rs1=1)
    code("addi", PROGRAM_STRIDE, rd=1, rs1=1)
    code("sd", 0, rs2=1, rs1=31)
    code("ld", 8, rd=2, rs1=31)  # the state
    code.address(4, WINDOW)
    copy(code, 2, WINDOW_AT, 4, 0)
    for i in range(32):
        code("fld", F + 8 * i, rd=i, rs1=2)
    code("ld", FCSR_AT, rd=1, rs1=2)
    code("csrrw", rd=0, csr=FCSR, rs1=1)
    code("addi", 1024, rd=3, rs1=2)
    code("addi", 1024, rd=3, rs1=3)
    code("sd", 8, rs2=3, rs1=31)
    code("addi", 0, rd=31, rs1=2)
    for i in range(1, 32):
        code("ld", 8 * i, rd=i, rs1=31)
    code("mret")
    while len(code.bytes) % 4:
        code("addi")
    code.label("trap")
    code("csrrw", rd=31, csr=MSCRATCH, rs1=31)
    code("sd", 32, rs2=30, rs1=31)
    code("ld", 16, rd=30, rs1=31)
    for i in range(1, 30):
        code("sd", 8 * i, rs2=i, rs1=30)
    code("ld", 32, rd=1, rs1=31)
    code("sd", 8 * 30, rs2=1, rs1=30)
    code("csrrs", rd=1, csr=MSCRATCH, rs1=0)
    code("sd", 8 * 31, rs2=1, rs1=30)
    for i in range(32):
        code("fsd", F + 8 * i, rs2=i, rs1=30)
    code("csrrs", rd=1, csr=FCSR, rs1=0)
    code("sd", FCSR_AT, rs2=1, rs1=30)
    code("csrrs", rd=1, csr=MCAUSE, rs1=0)
    code("sd", CAUSE, rs2=1, rs1=30)
    code("csrrs", rd=1, csr=MEPC, rs1=0)
    code("sd", CAUSE + 8, rs2=1, rs1=30)
    code.address(4, WINDOW)
    copy(code, 4, 0, 30, WINDOW_AT)
    code("addi", 1024, rd=30, rs1=30)
    code("addi", 1024, rd=30, rs1=30)
    code("sd", 16, rs2=30, rs1=31)
    code.to("jal", "next", rd=0)
    code.label("end")
    code("lui", SYSCON, rd=1)
    code("lui", POWER_OFF & ~0xFFF, rd=2)
    code("addi", POWER_OFF & 0xFFF, rd=2, rs1=2)
    code("sw", 0, rs2=2, rs1=1)
    code("jal", 0, rd=0)
    code.fixes.pop(0)
    text = bytearray(code.done())
    text[at_trap : at_trap + 4] = encode("addi", code.labels["trap"] - RAM, rd=1, rs1=1)
    return bytes(text)


def copy(code: Code, source: int, source_at: int, target: int, target_at: int) -> None:
    """Copies a window; uses x5 to x8."""
    code("addi", source_at, rd=5, rs1=source)
    code("addi", target_at, rd=6, rs1=target)
    code("addi", WINDOW_BYTES, rd=7, rs1=5)
    start = code.at
    code("ld", 0, rd=8, rs1=5)
    code("sd", 0, rs2=8, rs1=6)
    code("addi", 8, rd=5, rs1=5)
    code("addi", 8, rd=6, rs1=6)
    code("bne", start - code.at, rs1=5, rs2=7)


def lowered(text: bytes, address: int, stubs: Code) -> bytes:
    """`text` with what this QEMU cannot be asked replaced by a jump to a stub of base instructions."""
    out, at = bytearray(text), 0
    while at < len(out):
        word = int.from_bytes(out[at : at + 4], "little")
        if word & 3 != 3:
            at += 2
            continue
        rd, rs1, rs2 = word >> 7 & 31, word >> 15 & 31, word >> 20 & 31
        for name in ("czero.eqz", "czero.nez", "ctzw"):
            if word & BY_NAME[name].mask != BY_NAME[name].match:
                continue
            out[at : at + 4] = encode("jal", stubs.at - address - at, rd=0)
            if name == "ctzw":
                stubs("slli", rd=rd, rs1=rs1, shamt=32)
                stubs("bne", 12, rs1=rd, rs2=0)
                stubs("addi", 32, rd=rd, rs1=0)
                stubs("jal", address + at + 4 - stubs.at, rd=0)
                stubs("ctz", rd=rd, rs1=rd)
                stubs("addi", -32, rd=rd, rs1=rd)
            else:
                stubs("bne" if name == "czero.eqz" else "beq", 12, rs1=rs2, rs2=0)
                stubs("addi", 0, rd=rd, rs1=0)
                stubs("jal", address + at + 4 - stubs.at, rd=0)
                stubs("addi", 0, rd=rd, rs1=rs1)
            stubs("jal", address + at + 4 - stubs.at, rd=0)
        at += 4
    if stubs.at > PROGRAM_BASE:
        raise RuntimeError(f"the stubs reach {stubs.at:#x}, into the programs at {PROGRAM_BASE:#x}")
    return bytes(out)


def run(codes: list[bytes]) -> list[State]:
    """Outcomes of the programs in QEMU; RuntimeError for one that trapped."""
    stubs = Code(STUBS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ram"
        with path.open("w+b") as ram:
            ram.truncate(RAM_BYTES)

            def put(address: int, data: bytes) -> None:
                ram.seek(address - RAM)
                ram.write(data)

            put(RAM, harness())
            pointers = (PROGRAM_BASE, STATES, OUTCOMES, len(codes))
            put(CONTROL, b"".join(value.to_bytes(8, "little") for value in pointers))
            for number, code in enumerate(codes):
                address = PROGRAM_BASE + number * PROGRAM_STRIDE
                put(address, lowered(code, address, stubs))
                put(STATES + number * SLOT, initial(number).pack())
            put(STUBS, stubs.done())
        subprocess.run(
            ["qemu-system-riscv64", "-machine", "virt,memory-backend=ram", "-bios", "none", "-display", "none",
             "-object", f"memory-backend-file,id=ram,size={RAM_BYTES},mem-path={path},share=on",
             "-m", str(RAM_BYTES >> 20), "-cpu", "rv64,zba=on,zbb=on,zbs=on"],
            check=True, timeout=900, stdin=subprocess.DEVNULL)
        data = path.read_bytes()[OUTCOMES - RAM :]
    outcomes = []
    for number, code in enumerate(codes):
        slot = data[number * SLOT : (number + 1) * SLOT]
        cause, pc = (int.from_bytes(slot[at : at + 8], "little") for at in (CAUSE, CAUSE + 8))
        end = PROGRAM_BASE + number * PROGRAM_STRIDE + len(code) - 4
        if (cause, pc) != (11, end):
            raise RuntimeError(f"program {number} ended with cause {cause} at {pc:#x} instead of ecall at {end:#x}")
        outcomes.append(State.unpack(slot[: State.PACK.size]))
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=40, help="programs of each group")
    each = parser.parse_args().each
    groups = [group for group in GROUPS for _ in range(each)]
    codes = [make(number, group) for number, group in enumerate(groups)]
    if too_long := [number for number, code in enumerate(codes) if len(code) > PROGRAM_STRIDE]:
        raise SystemExit(f"program {too_long[0]} is longer than {PROGRAM_STRIDE} bytes")
    outcomes = run(codes)
    version = subprocess.run(["qemu-system-riscv64", "--version"], check=True, capture_output=True, text=True)
    records = [Record(number, *entry) for number, entry in enumerate(zip(groups, codes, outcomes, strict=True))]
    save(records, version.stdout.splitlines()[0])
    print(f"{len(records)} programs, {sum(map(len, codes))} bytes of code")


if __name__ == "__main__":
    main()
