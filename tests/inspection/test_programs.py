"""Lines and call frames of ELF files, whole and damaged: they come from a guest."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hartwell.errors import BadElf
from hartwell.symbols.frames import Rule
from hartwell.symbols.program import Program
from tests.inspection.conftest import FLAGS, HERE, ZIG

RA, SP, S0 = 1, 2, 8


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """busy.c, linked with nothing else, with -g and with tables of its frames."""
    made = tmp_path_factory.mktemp("elf") / "busy.so"
    for command in ([*FLAGS, "-funwind-tables", "-fPIC", "busy.c", "-o", f"{made}.o"],
                    ["-shared", "-nostdlib", f"{made}.o", "-o", str(made)]):
        subprocess.run([*ZIG, *command], cwd=HERE, check=True, timeout=900)
    return made.read_bytes()


def test_lines_and_places(busy: bytes) -> None:
    program = Program(busy)
    (warm,) = program.symbols.named("warm")
    source = (HERE / "busy.c").read_text().splitlines()
    name, line = program.line(warm.address) or ("", 0)
    assert name == "busy.c"
    assert "warm(unsigned long round)" in source[line - 2] + source[line - 1]  # compilers differ: there, or at its {
    store = next(number for number, text in enumerate(source, 1) if "sink += round;" in text)
    (place,) = program.lines.places("busy.c", store)
    assert warm.address < place < warm.address + warm.size
    assert program.line(place) == ("busy.c", store)
    assert program.lines.path(place) == str(HERE / "busy.c")
    # A line without code means the next that has some; below the last there is none.
    assert program.lines.places("busy.c", 1) == program.lines.places("busy.c", 9)
    assert program.lines.places("busy.c", len(source) + 1) == []
    assert program.lines.places("other.c", store) == []
    assert program.line(0x10) is None


def test_rules_follow_the_code(busy: bytes) -> None:
    """From a function's first instruction on, and not outside of it."""
    program = Program(busy)
    (warm,) = program.symbols.named("warm")
    first = program.frames.rule(warm.address)
    assert first == Rule((SP, 0), {})  # nothing is saved yet: ra has the caller, sp is the CFA
    later = program.frames.rule(warm.address + warm.size // 2)
    assert later
    assert later.cfa in ((S0, 0), (SP, later.cfa[1]))
    assert later.saved[RA] == -8
    assert later.saved[S0] == -16
    assert program.frames.rule(0x10) is None


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    damage=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=40),
    cut=st.integers(0, 1 << 20),
)
def test_what_is_damaged_gives_nothing_or_something(busy: bytes, damage: list[tuple[int, int]], cut: int) -> None:
    """Never an error but BadElf, and never for ever."""
    data = bytearray(busy)
    for at, byte in damage:
        data[at % len(data)] = byte
    try:
        program = Program(bytes(data[: len(data) - cut % len(data) // 4]))
    except BadElf:
        return
    address = 0x1011_200 if not program.code else program.code[0][1] + 0x20
    assert isinstance(program.lines.places("busy.c", 20), list)
    assert isinstance(program.lines.path(address), str)
    assert program.line(address) is None or isinstance(program.line(address), tuple)
    assert program.frames.rule(address) is None or isinstance(program.frames.rule(address), Rule)
