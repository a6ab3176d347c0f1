"""A native build of the core under random programs: undefined behaviour traps,
and so does every access outside of what a hart may touch (tests/native/fuzz.c)."""

from __future__ import annotations

import subprocess

import pytest

from hartwell.isa import COMPRESSED, INSTRUCTIONS
from hartwell.layout import LAYOUT
from hartwell.memory_plan import plan_memory
from hartwell.setup.build import generate_sources, sources
from tests.native import build

HARTS = 2
PLAN = plan_memory(1 << 20, HARTS, blob_bytes=5 << 16)
FLAGS = ["-O1", "-g", "-fno-math-errno", "-fsanitize=undefined", "-fsanitize-trap=undefined", "-Wno-overriding-option"]


def image() -> bytes:
    """What fuzz.c reads: struct Machine, then the instructions."""
    machine = bytearray(LAYOUT["Machine"].size)
    for name, value in {**PLAN.values, "hart_count": HARTS}.items():
        slot = LAYOUT["Machine"].fields[name]
        machine[slot.offset : slot.offset + slot.size] = value.to_bytes(slot.size, "little")
    words = [(i.mask, i.match) for i in INSTRUCTIONS] + [(c.mask, c.match) for c in COMPRESSED]
    pairs = b"".join(mask.to_bytes(4, "little") + match.to_bytes(4, "little") for mask, match in words)
    return bytes(machine) + len(words).to_bytes(4, "little") + pairs


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("native")
    generate_sources()
    (folder / "image").write_bytes(image())
    program = build.program(folder / "fuzz", [*sources(), build.NATIVE / "fuzz.c"], *FLAGS)
    return [str(program), str(folder / "image")]


def run(fuzz: list[str], seed: int, programs: int) -> tuple[int, int]:
    """(instructions, traps) of that many programs."""
    done = subprocess.run([*fuzz, str(seed), str(programs)], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, f"seed {seed}: ended with {done.returncode}\n{done.stderr}"
    retired, traps = map(int, done.stdout.split())
    return retired, traps


@pytest.mark.parametrize("seed", range(4))
def test_random_programs_break_nothing(fuzz: list[str], seed: int) -> None:
    retired, traps = run(fuzz, seed, 300)
    assert retired > 100_000 and traps > 1000, "programs that go somewhere"


@pytest.mark.slow
def test_many_random_programs_break_nothing(fuzz: list[str]) -> None:
    for seed in range(100, 120):
        run(fuzz, seed, 5000)


def test_a_run_can_be_repeated(fuzz: list[str]) -> None:
    assert run(fuzz, 7, 20) == run(fuzz, 7, 20)
