"""Runs a folder of official riscv-tests and says which fail.

    .venv/bin/python tests/official/run.py FOLDER [--mode interpreter|jit|threshold-1] [--match REGEX]

FOLDER holds the ELF files of riscv-tests' `isa` (docs/official-suites.md says
how to build them).  Each is what `hartwell run --bare` makes of it: a machine
in Node, whose exit code by HTIF is 0 or the number of the case that failed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from hartwell.elf import is_elf

ROOT = Path(__file__).resolve().parents[2]
HARTWELL = ROOT / ".venv" / "bin" / "hartwell"
SCRIPT = Path(__file__).with_name("machines.py")
PROGRAMS = 40  # machines of one process: an engine gives some hundred shared memories back late
MODES: dict[str, dict[str, Any]] = {"interpreter": {"jit": False}, "jit": {"jit": True}, "threshold-1": {"jit": 1}}


def find(folder: Path, pattern: str) -> list[Path]:
    """The ELF files in `folder` whose names match."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and re.search(pattern, path.name))
    return [path for path in files if is_elf(path.read_bytes()[:64])]


def run(programs: list[Path], mode: str, seconds: float) -> list[dict[str, Any]]:
    """One verdict per program: {"program", "instructions", "code"} or {"program", "error"}."""
    verdicts: list[dict[str, Any]] = []
    for first in range(0, len(programs), PROGRAMS):
        batch = [str(path) for path in programs[first : first + PROGRAMS]]
        command = [str(HARTWELL), "script", str(SCRIPT), json.dumps(MODES[mode]), str(seconds), *batch]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
        said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        for program in batch[len(said) :]:
            said.append({"program": program, "error": f"no verdict; the process said: {done.stderr.strip()[-300:]}"})
        verdicts += said
        print(f"{len(verdicts)} of {len(programs)}", end="\r", file=sys.stderr, flush=True)
    return verdicts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mode", choices=MODES, action="append", dest="modes", help="default: all")
    parser.add_argument("--match", default=r"^rv64\w+-[pv]-", metavar="REGEX", help="names (default: rv64*-p-* and -v-*)")
    parser.add_argument("--seconds", type=float, default=30, help="for one program")
    options = parser.parse_args()
    programs = find(options.folder, options.match)
    if not programs:
        print(f"{options.folder}: no ELF file whose name matches {options.match!r}", file=sys.stderr)
        return 2
    failed = 0
    for mode in options.modes or MODES:
        verdicts = run(programs, mode, options.seconds)
        bad = [verdict for verdict in verdicts if verdict.get("error") or verdict.get("code")]
        for verdict in bad:
            why = verdict.get("error") or f"case {verdict['code']}"
            print(f"{mode}: {Path(verdict['program']).name}: {why}")
        print(f"{mode}: {len(verdicts) - len(bad)} of {len(verdicts)} pass")
        failed += len(bad)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
