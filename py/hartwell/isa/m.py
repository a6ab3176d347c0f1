"""M: integer multiplication and division (Unprivileged ISA chapter 12)."""

from hartwell.isa.instruction import Instruction


def _m(name: str, f3: str, meaning: str, opcode: str = "0110011") -> Instruction:
    return Instruction(name, f"0000001 rs2 rs1 {f3} rd {opcode}", "rd,rs1,rs2", meaning, "M")


INSTRUCTIONS = [
    _m("mul", "000", "RD = RS1 * RS2;"),
    _m("mulh", "001", "RD = mul_high_signed(RS1, RS2);"),
    _m("mulhsu", "010", "RD = mul_high_signed_unsigned(RS1, RS2);"),
    _m("mulhu", "011", "RD = mul_high(RS1, RS2);"),
    _m("div", "100", "RD = divide(RS1, RS2);"),
    _m("divu", "101", "RD = RS2 ? RS1 / RS2 : ~0ull;"),
    _m("rem", "110", "RD = remainder(RS1, RS2);"),
    _m("remu", "111", "RD = RS2 ? RS1 % RS2 : RS1;"),
    _m("mulw", "000", "RD = SEXT32((uint32_t)RS1 * (uint32_t)RS2);", "0111011"),
    _m("divw", "100", "RD = divide_w(RS1, RS2);", "0111011"),
    _m("divuw", "101", "RD = (uint32_t)RS2 ? SEXT32((uint32_t)RS1 / (uint32_t)RS2) : ~0ull;", "0111011"),
    _m("remw", "110", "RD = remainder_w(RS1, RS2);", "0111011"),
    _m("remuw", "111", "RD = (uint32_t)RS2 ? SEXT32((uint32_t)RS1 % (uint32_t)RS2) : SEXT32(RS1);", "0111011"),
]
