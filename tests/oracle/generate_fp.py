"""Asks QEMU what floating-point operations give, and keeps the answers.

    python -m tests.oracle.generate_fp

Needs qemu-riscv64-static and riscv64-linux-gnu-gcc.  Writes
``tests/core/data/fp.xz``: all results (8 bytes, little endian) in the order of
`fp_cases.cases`, then all flags (1 byte each).
"""

from __future__ import annotations

import lzma
import subprocess
import tempfile
from pathlib import Path

from tests.oracle.fp_cases import Case, cases

DATA = Path(__file__).parent.parent / "core" / "data" / "fp.xz"


def outcomes(of: list[Case]) -> bytes:
    """What QEMU's processor gives: 9 bytes a case."""
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "guest")
        source = str(Path(__file__).parent / "fp_guest.c")
        subprocess.run(
            ["riscv64-linux-gnu-gcc", "-O1", "-static", "-Wall", "-Werror", source, "-o", program], check=True
        )
        guest = subprocess.run(
            ["qemu-riscv64-static", program],
            input=b"".join(case.pack() for case in of), stdout=subprocess.PIPE, check=True,
        )
    if len(guest.stdout) != 9 * len(of):
        raise RuntimeError(f"the guest answered {len(guest.stdout)} bytes; expected 9 for each of {len(of)} cases")
    return guest.stdout


def main() -> None:
    answers = outcomes(list(cases()))
    values = b"".join(answers[at : at + 8] for at in range(0, len(answers), 9))
    DATA.write_bytes(lzma.compress(values + answers[8::9], preset=9 | lzma.PRESET_EXTREME))
    print(f"{DATA.name}: {len(answers) // 9} cases, {DATA.stat().st_size} bytes")


if __name__ == "__main__":
    main()
