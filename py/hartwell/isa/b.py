"""Zba, Zbb, Zbs: bit manipulation, and Zicond: conditional zero."""

from hartwell.isa.instruction import Instruction


def _r(name: str, f7: str, f3: str, meaning: str, extension: str, opcode: str = "0110011") -> Instruction:
    return Instruction(name, f"{f7} rs2 rs1 {f3} rd {opcode}", "rd,rs1,rs2", meaning, extension)


def _unary(name: str, high: str, f3: str, meaning: str, opcode: str = "0010011") -> Instruction:
    return Instruction(name, f"{high} rs1 {f3} rd {opcode}", "rd,rs1", meaning, "Zbb")


def _shift(name: str, high: str, f3: str, meaning: str, extension: str, opcode: str = "0010011") -> Instruction:
    return Instruction(name, f"{high} shamt rs1 {f3} rd {opcode}", "rd,rs1,shamt", meaning, extension)


INSTRUCTIONS = [
    _r("sh1add", "0010000", "010", "RD = RS2 + (RS1 << 1);", "Zba"),
    _r("sh2add", "0010000", "100", "RD = RS2 + (RS1 << 2);", "Zba"),
    _r("sh3add", "0010000", "110", "RD = RS2 + (RS1 << 3);", "Zba"),
    _r("add.uw", "0000100", "000", "RD = RS2 + (uint32_t)RS1;", "Zba", "0111011"),
    _r("sh1add.uw", "0010000", "010", "RD = RS2 + ((uint64_t)(uint32_t)RS1 << 1);", "Zba", "0111011"),
    _r("sh2add.uw", "0010000", "100", "RD = RS2 + ((uint64_t)(uint32_t)RS1 << 2);", "Zba", "0111011"),
    _r("sh3add.uw", "0010000", "110", "RD = RS2 + ((uint64_t)(uint32_t)RS1 << 3);", "Zba", "0111011"),
    _shift("slli.uw", "000010", "001", "RD = (uint64_t)(uint32_t)RS1 << IMM;", "Zba", "0011011"),
    _r("andn", "0100000", "111", "RD = RS1 & ~RS2;", "Zbb"),
    _r("orn", "0100000", "110", "RD = RS1 | ~RS2;", "Zbb"),
    _r("xnor", "0100000", "100", "RD = ~(RS1 ^ RS2);", "Zbb"),
    _r("max", "0000101", "110", "RD = (int64_t)RS1 > (int64_t)RS2 ? RS1 : RS2;", "Zbb"),
    _r("maxu", "0000101", "111", "RD = RS1 > RS2 ? RS1 : RS2;", "Zbb"),
    _r("min", "0000101", "100", "RD = (int64_t)RS1 < (int64_t)RS2 ? RS1 : RS2;", "Zbb"),
    _r("minu", "0000101", "101", "RD = RS1 < RS2 ? RS1 : RS2;", "Zbb"),
    _r("rol", "0110000", "001", "RD = rotate_left(RS1, RS2);", "Zbb"),
    _r("ror", "0110000", "101", "RD = rotate_left(RS1, -RS2);", "Zbb"),
    _r("rolw", "0110000", "001", "RD = SEXT32(rotate_left_w((uint32_t)RS1, (uint32_t)RS2));", "Zbb", "0111011"),
    _r("rorw", "0110000", "101", "RD = SEXT32(rotate_left_w((uint32_t)RS1, -(uint32_t)RS2));", "Zbb", "0111011"),
    _shift("rori", "011000", "101", "RD = rotate_left(RS1, -(uint64_t)IMM);", "Zbb"),
    Instruction("roriw", "0110000 shamtw rs1 101 rd 0011011", "rd,rs1,shamtw",
                "RD = SEXT32(rotate_left_w((uint32_t)RS1, -(uint32_t)IMM));", "Zbb"),
    _unary("clz", "011000000000", "001", "RD = RS1 ? (uint64_t)__builtin_clzll(RS1) : 64;"),
    _unary("ctz", "011000000001", "001", "RD = RS1 ? (uint64_t)__builtin_ctzll(RS1) : 64;"),
    _unary("cpop", "011000000010", "001", "RD = (uint64_t)__builtin_popcountll(RS1);"),
    _unary("clzw", "011000000000", "001",
           "RD = (uint32_t)RS1 ? (uint64_t)__builtin_clz((uint32_t)RS1) : 32;", "0011011"),
    _unary("ctzw", "011000000001", "001",
           "RD = (uint32_t)RS1 ? (uint64_t)__builtin_ctz((uint32_t)RS1) : 32;", "0011011"),
    _unary("cpopw", "011000000010", "001", "RD = (uint64_t)__builtin_popcount((uint32_t)RS1);", "0011011"),
    _unary("sext.b", "011000000100", "001", "RD = (uint64_t)(int64_t)(int8_t)RS1;"),
    _unary("sext.h", "011000000101", "001", "RD = (uint64_t)(int64_t)(int16_t)RS1;"),
    _unary("zext.h", "000010000000", "100", "RD = (uint16_t)RS1;", "0111011"),
    _unary("orc.b", "001010000111", "101", "RD = or_combine(RS1);"),
    _unary("rev8", "011010111000", "101", "RD = __builtin_bswap64(RS1);"),
    _r("bclr", "0100100", "001", "RD = RS1 & ~(1ull << (RS2 & 63));", "Zbs"),
    _r("bext", "0100100", "101", "RD = RS1 >> (RS2 & 63) & 1;", "Zbs"),
    _r("binv", "0110100", "001", "RD = RS1 ^ 1ull << (RS2 & 63);", "Zbs"),
    _r("bset", "0010100", "001", "RD = RS1 | 1ull << (RS2 & 63);", "Zbs"),
    _shift("bclri", "010010", "001", "RD = RS1 & ~(1ull << IMM);", "Zbs"),
    _shift("bexti", "010010", "101", "RD = RS1 >> IMM & 1;", "Zbs"),
    _shift("binvi", "011010", "001", "RD = RS1 ^ 1ull << IMM;", "Zbs"),
    _shift("bseti", "001010", "001", "RD = RS1 | 1ull << IMM;", "Zbs"),
    _r("czero.eqz", "0000111", "101", "RD = RS2 == 0 ? 0 : RS1;", "Zicond"),
    _r("czero.nez", "0000111", "111", "RD = RS2 != 0 ? 0 : RS1;", "Zicond"),
]
