"""C meanings as calls of the translator's emitters."""

from __future__ import annotations

import pytest

from hartwell.isa import BY_NAME, INSTRUCTIONS, wasm


def test_a_sum() -> None:
    assert wasm.expression("RS1 + RS2") == "push_x(e, i->rs1); push_x(e, i->imm & 31); op(e, 0x7c);"


def test_conversions_are_cs() -> None:
    # A 32-bit shift of a 64-bit register, sign-extended: wrap, shift, extend.
    assert wasm.expression("SEXT32((uint32_t)RS1 << IMM)") == (
        "push_x(e, i->rs1); op(e, 0xa7); push32(e, (uint32_t)i->imm); op(e, 0x74); op(e, 0xac);")


def test_signedness_chooses_the_operator() -> None:
    assert "op(e, 0x53);" in wasm.condition("(int64_t)RS1 < (int64_t)RS2")
    assert "op(e, 0x54);" in wasm.condition("RS1 < RS2")


def test_an_immediate_is_a_constant_of_the_width_needed() -> None:
    assert "push64(e, (uint64_t)(int64_t)i->imm);" in wasm.expression("RS1 + (uint64_t)(int64_t)IMM")


def test_only_the_chosen_arm_divides() -> None:
    text = wasm.expression("RS2 ? RS1 / RS2 : ~0ull")
    assert "op(e, 0x04)" in text and "op(e, 0x1b)" not in text  # if, not select
    assert "op(e, 0x1b)" in wasm.expression("RS2 ? RS1 : 0")


def test_functions_of_arith_are_read_from_there() -> None:
    assert {"divide", "mul_high", "or_combine", "fp_sgnj_d"} <= set(wasm.functions())
    assert wasm.expression("divide(RS1, RS2)").count("op(e, 0x7f);") == 1  # one signed division


@pytest.mark.parametrize("text", ["RS1 +", "RS9", "RS1 ~ RS2", "nothing(RS1)"])
def test_what_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        wasm.expression(text)


def test_every_assignment_and_branch_has_its_emitter() -> None:
    missing = [i.name for i in INSTRUCTIONS if i.kind == "alu" and wasm.assignment(i) is None]
    assert missing == []
    assert all(wasm.branch_condition(i) for i in INSTRUCTIONS if i.kind == "branch")


def test_floating_point_is_called_with_its_operands() -> None:
    assert wasm.fp_call(BY_NAME["fmadd.d"]) == "fp_madd_d(h, a, b, c, rm)"
    assert wasm.fp_call(BY_NAME["fcvt.d.l"]) == "fp_cvt_d_l(h, a, rm)"
    assert wasm.fp_call(BY_NAME["fsgnj.d"]) is None
    assert [i.name for i in INSTRUCTIONS if i.kind == "fp" and not wasm.fp_call(i) and not wasm.assignment(i)] == []


def test_operands_are_named() -> None:
    assert wasm.operands(BY_NAME["sd"], compressed=True) == "KIND_STORE | X_RS2 | X_RS1 | RS2_IN_RD | SHORT"
    assert wasm.operands(BY_NAME["fld"], compressed=False) == "KIND_FLOAD | F_RD | X_RS1"
