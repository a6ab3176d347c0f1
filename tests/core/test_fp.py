"""Floating point (cpu/fp*.c) against three judges: exact fractions, QEMU's
processor, and itself without its short cuts; natively and in Wasm."""

from __future__ import annotations

import ctypes
import lzma
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.fp_reference import NX, expected
from tests.native import build
from tests.oracle.fp_cases import BOX, EDGES, OPERATIONS, Case, cases

CASE, OUTCOME = struct.Struct("<4I3Q"), struct.Struct("<2Q")
DATA = Path(__file__).parent / "data" / "fp.xz"


class Batch:
    """A native build that does many cases at a time."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.library.fp_operation_name.restype = ctypes.c_char_p

    def run(self, packed: bytes) -> bytes:
        count = len(packed) // CASE.size
        out = ctypes.create_string_buffer(count * OUTCOME.size)
        self.library.fp_batch(packed, out, count)
        return out.raw

    def random_cases(self, count: int, seed: int) -> bytes:
        out = ctypes.create_string_buffer(count * CASE.size)
        self.library.fp_random_cases(out, count, ctypes.c_uint64(seed))
        return out.raw

    def names(self) -> list[str]:
        names: list[str] = []
        while (name := self.library.fp_operation_name(len(names))) is not None:
            names.append(name.decode())
        return names


class WasmBatch:
    """The same in Wasm, under wasmtime."""

    PIECE = 20_000  # cases in memory at a time

    def __init__(self, path: Path) -> None:
        self.store = wasmtime.Store()
        module = wasmtime.Module.from_file(self.store.engine, str(path))
        assert not list(module.imports)  # all of it is in the module: no call to a C library
        exports = wasmtime.Instance(self.store, module, []).exports(self.store)
        self.memory, self.batch = exports["memory"], exports["fp_batch"]
        base = exports["__heap_base"].value(self.store)
        self.cases, self.outcomes = base, base + self.PIECE * CASE.size
        self.memory.grow(self.store, self.PIECE * (CASE.size + OUTCOME.size) // 65536 + 1)

    def run(self, packed: bytes) -> bytes:
        answers = []
        for at in range(0, len(packed), self.PIECE * CASE.size):
            piece = packed[at : at + self.PIECE * CASE.size]
            count = len(piece) // CASE.size
            self.memory.write(self.store, piece, self.cases)
            self.batch(self.store, self.cases, self.outcomes, count)
            answers.append(self.memory.read(self.store, self.outcomes, self.outcomes + count * OUTCOME.size))
        return b"".join(map(bytes, answers))


SOURCES = [*sorted((build.CPU / "fp").glob("*.c")), build.NATIVE / "fp_batch.c"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build.write_headers()
    return tmp_path_factory.mktemp("fp")


@pytest.fixture(scope="module")
def quick(folder: Path) -> Batch:
    return Batch(build.shared_library(folder / "quick.so", SOURCES))


@pytest.fixture(scope="module")
def exact(folder: Path) -> Batch:
    return Batch(build.shared_library(folder / "exact.so", SOURCES, "-DFP_NO_FAST"))


@pytest.fixture(scope="module")
def wasm(folder: Path) -> WasmBatch:
    return WasmBatch(build.wasm_module(folder / "fp.wasm", SOURCES))


def show(packed: Sequence[int], got: tuple[int, int], wanted: tuple[int, int]) -> str:
    operation, rm, flags, _, a, b, c = packed
    return (
        f"{OPERATIONS[operation]} rm={rm} flags={flags:#x} a={a:#x} b={b:#x} c={c:#x}: "
        f"{got[0]:#x} flags {got[1]:#x}, expected {wanted[0]:#x} flags {wanted[1]:#x}"
    )


def differences(packed: bytes, got: bytes, wanted: bytes) -> Iterator[str]:
    if got == wanted:
        return
    for one, mine, right in zip(
        CASE.iter_unpack(packed), OUTCOME.iter_unpack(got), OUTCOME.iter_unpack(wanted), strict=True
    ):
        if mine != right:
            yield show(one, mine, right)


def assert_same(packed: bytes, got: bytes, wanted: bytes) -> None:
    wrong = list(differences(packed, got, wanted))
    assert not wrong, f"{len(wrong)} of {len(packed) // CASE.size} cases differ:\n" + "\n".join(wrong[:20])


def with_reference(packed: bytes) -> bytes:
    """The outcomes that fractions give."""
    out = []
    for operation, rm, flags, _, a, b, c in CASE.iter_unpack(packed):
        value, raised = expected(OPERATIONS[operation], a, b, c, rm)
        out.append(OUTCOME.pack(value, flags | raised))
    return b"".join(out)


@pytest.fixture(scope="module")
def qemu() -> tuple[list[Case], bytes, bytes]:
    """Cases, QEMU's results (8 bytes each) and flags (1 byte each)."""
    of = list(cases())
    data = lzma.decompress(DATA.read_bytes())
    assert len(data) == 9 * len(of), "tests/core/data/fp.xz is not of these cases: run tests.oracle.generate_fp"
    return of, data[: 8 * len(of)], data[8 * len(of) :]


def test_operations_are_numbered_alike(quick: Batch) -> None:
    assert quick.names() == OPERATIONS


@pytest.mark.parametrize("before", [0, NX], ids=["no flags", "inexact before"])
@pytest.mark.parametrize("which", ["quick", "exact", "wasm"])
def test_edges_as_in_qemu(
    which: str, before: int, qemu: tuple[list[Case], bytes, bytes], request: pytest.FixtureRequest
) -> None:
    of, values, flags = qemu
    packed = b"".join(case.pack(before) for case in of)
    wanted = b"".join(
        values[8 * i : 8 * i + 8] + (flags[i] | before).to_bytes(8, "little") for i in range(len(of))
    )
    assert_same(packed, request.getfixturevalue(which).run(packed), wanted)


def test_fractions_agree_with_qemu(qemu: tuple[list[Case], bytes, bytes]) -> None:
    of, values, flags = qemu
    for i in range(0, len(of), 37):
        case = of[i]
        value, raised = expected(OPERATIONS[case.operation], case.a, case.b, case.c, case.rm)
        wanted = int.from_bytes(values[8 * i : 8 * i + 8], "little"), flags[i]
        assert (value, raised) == wanted, show((*case[:2], 0, 0, *case[2:]), (value, raised), wanted)


@pytest.mark.parametrize("which", ["quick", "exact", "wasm"])
def test_random_cases_as_fractions_say(which: str, quick: Batch, request: pytest.FixtureRequest) -> None:
    packed = quick.random_cases(60_000, seed=1)
    assert_same(packed, request.getfixturevalue(which).run(packed), _reference(packed))


_known: dict[bytes, bytes] = {}


def _reference(packed: bytes) -> bytes:
    if packed not in _known:
        _known[packed] = with_reference(packed)
    return _known[packed]


@pytest.mark.parametrize("seed", range(8))
def test_short_cuts_change_nothing(seed: int, quick: Batch, exact: Batch) -> None:
    packed = exact.random_cases(500_000, seed=1000 + seed)
    assert_same(packed, quick.run(packed), exact.run(packed))


def test_wasm_gives_what_the_native_build_gives(wasm: WasmBatch, exact: Batch) -> None:
    packed = exact.random_cases(500_000, seed=2000)
    assert_same(packed, wasm.run(packed), exact.run(packed))


_single = st.one_of(
    st.sampled_from(EDGES["s"]),
    st.integers(0, (1 << 32) - 1).map(lambda raw: raw | BOX),
    st.floats(width=32).map(lambda x: struct.unpack("<I", struct.pack("<f", x))[0] | BOX),
)
_double = st.one_of(
    st.sampled_from(EDGES["d"]),
    st.integers(0, (1 << 64) - 1),
    st.floats().map(lambda x: struct.unpack("<Q", struct.pack("<d", x))[0]),
)


@st.composite
def _case(draw: st.DrawFn) -> tuple[int, ...]:
    operation = draw(st.integers(0, len(OPERATIONS) - 1))
    last = OPERATIONS[operation][-1]
    operand = _single if last == "s" else _double if last == "d" else st.integers(0, (1 << 64) - 1)
    flags = draw(st.sampled_from([0, NX, 31]))
    return operation, draw(st.integers(0, 4)), flags, 0, draw(operand), draw(operand), draw(operand)


@settings(max_examples=2000, deadline=None, derandomize=True, database=None)
@given(_case())
def test_any_case_as_fractions_say(quick: Batch, exact: Batch, case: tuple[int, ...]) -> None:
    packed = CASE.pack(*case)
    wanted = with_reference(packed)
    assert_same(packed, quick.run(packed), wanted)
    assert_same(packed, exact.run(packed), wanted)
