"""Python's WebAssembly with its calls through the table changed: it must do what it did."""

from __future__ import annotations

import re

import pytest
import wasmtime

from hartwell.setup import paths, steady
from hartwell.setup.steps import SetupError
from hartwell.wasm_format import Reader, bodies, sections

# Calls of three types, in blocks, loops and tables of branches, between instructions whose operands have 0x11 in them.
_MODULE = r"""
(module
  (import "env" "seen" (func $seen (param i32)))
  (import "env" "base" (global $base i32))
  (type $unary (func (param i32) (result i32)))
  (type $mixed (func (param i64 f64) (result f64)))
  (type $nothing (func))
  (memory (export "memory") 1)
  (table $calls (export "calls") 8 funcref)
  (table $others 4 funcref)
  (elem (i32.const 1) $twice $next $scaled $mark)
  (elem (table $others) (i32.const 0) func $twice)
  (func $twice (type $unary) (i32.mul (local.get 0) (i32.const 2)))
  (func $next (type $unary) (i32.add (local.get 0) (i32.const 17)))
  (func $scaled (type $mixed) (f64.mul (f64.convert_i64_s (local.get 0)) (local.get 1)))
  (func $mark (type $nothing) (call $seen (i32.const 0x1111)))
  (func (export "run") (param $n i32) (param $which i32) (result i32) (local $sum i32) (local $vector v128)
    (local.set $sum (global.get $base))
    (local.set $vector (v128.const i8x16 17 17 17 17 17 17 17 17 17 17 17 17 17 17 17 17))
    (i32.store offset=17 (i32.const 17) (i32.const 17))
    (memory.fill (i32.const 64) (i32.const 17) (i32.const 17))
    (block $out
      (loop $again
        (br_if $out (i32.eqz (local.get $n)))
        (local.set $sum (i32.add (local.get $sum)
          (call_indirect $calls (type $unary) (local.get $n) (local.get $which))))
        (block $a (block $b (block $c
          (br_table $a $b $c (i32.and (local.get $n) (i32.const 3))))
          (call_indirect $calls (type $nothing) (i32.const 4)))
          (local.set $sum (i32.add (local.get $sum) (i32x4.extract_lane 1 (local.get $vector)))))
        (local.set $sum (i32.add (local.get $sum) (i32.load16_u offset=16 (i32.const 64))))
        (local.set $sum (i32.add (local.get $sum) (call_indirect $others (type $unary) (local.get $n) (i32.const 0))))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br $again)))
    (i32.add (local.get $sum) (i32.trunc_sat_f64_s
      (call_indirect $calls (type $mixed) (i64.const 1111111111) (f64.const 0.001) (i32.const 3)))))
)
"""


def instance(module: bytes) -> tuple[wasmtime.Store, wasmtime.Func, list[int]]:
    store = wasmtime.Store()
    seen: list[int] = []
    note = wasmtime.Func(store, wasmtime.FuncType([wasmtime.ValType.i32()], []), seen.append)
    base = wasmtime.Global(store, wasmtime.GlobalType(wasmtime.ValType.i32(), False), wasmtime.Val.i32(5))
    run = wasmtime.Instance(store, wasmtime.Module(store.engine, module), [note, base]).exports(store)["run"]
    assert isinstance(run, wasmtime.Func)
    return store, run, seen


def test_it_does_what_it_did() -> None:
    module = bytes(wasmtime.wat2wasm(_MODULE))
    changed = steady.steady(module)
    before, run_before, seen_before = instance(module)
    after, run_after, seen_after = instance(changed)
    for n in (0, 1, 2, 3, 40):
        for which in (1, 2):
            assert run_after(after, n, which) == run_before(before, n, which)
    assert seen_after == seen_before != []
    for which in (0, 3, 7, 8):  # an empty slot, another type, past the end
        with pytest.raises(wasmtime.Trap) as expected:
            run_before(before, 1, which)
        with pytest.raises(wasmtime.Trap) as found:
            run_after(after, 1, which)
        assert found.value.trap_code == expected.value.trap_code


def test_calls_of_the_first_table_go_through_functions_at_the_end() -> None:
    module = bytes(wasmtime.wat2wasm(_MODULE))
    old, new = dict(sections(module)), dict(sections(steady.steady(module)))
    before, after = bodies(old[10]), bodies(new[10])
    assert len(after) == len(before) + 3  # types that are called
    assert after[: len(before) - 1] == before[:-1]
    assert [body[-4:] for body in after[len(before) :]] == [bytes([0x11, type_, 0, 0x0B]) for type_ in (0, 2, 1)]
    changed = {kind for kind in old if old[kind] != new[kind]}
    assert changed == {1, 3, 10}


def test_pythons_own() -> None:
    """What set-up made ends with functions that only call through the table."""
    code = dict(sections((paths.STATIC / "pyodide" / "pyodide.asm.wasm").read_bytes()))
    made = bodies(code[10])
    callers = 0
    while re.fullmatch(rb"\0(\x20.)+\x11..?\0\x0b", made[-1 - callers], re.DOTALL):
        callers += 1
    assert len(made) > 10_000
    assert callers > 40
    *_, last = _numbers(code[3])
    assert last == Reader(code[1]).unsigned() - 1


def _numbers(section: bytes) -> list[int]:
    reader = Reader(section)
    return [reader.unsigned() for _ in range(reader.unsigned())]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("60017f017f", "5f017f017f", "no function's"),
        ("60017f017f", "60017f0164", "other values"),
        ("fc0b00", "fe0b00", "0xfe"),  # memory.fill
        ("fc0b00", "fc1200", "0xfc"),
    ],
)
def test_what_is_not_known(old: str, new: str, what: str) -> None:
    module = bytes(wasmtime.wat2wasm(_MODULE))
    changed = module.replace(bytes.fromhex(old), bytes.fromhex(new), 1)
    assert changed != module
    with pytest.raises(SetupError, match=what):
        steady.steady(changed)


def test_a_module_that_ends_early() -> None:
    with pytest.raises(SetupError):
        steady.steady(bytes(wasmtime.wat2wasm(_MODULE))[:150])
