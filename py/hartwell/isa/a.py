"""A: atomic instructions (Unprivileged ISA chapter 13)."""

from hartwell.isa.instruction import Instruction


def _both(name: str, f5: str, meaning: str, rs2: str = "rs2", syntax: str = "rd,rs2,(rs1)") -> list[Instruction]:
    return [Instruction(f"{name}.{letter}", f"{f5} aqrl {rs2} rs1 {f3} rd 0101111", syntax,
                        meaning.replace("BITS", bits), "A", "amo")
            for letter, f3, bits in (("w", "010", "32"), ("d", "011", "64"))]


INSTRUCTIONS = [
    *_both("lr", "00010", "LOAD_RESERVED(BITS);", "00000", "rd,(rs1)"),
    *_both("sc", "00011", "STORE_CONDITIONAL(BITS);"),
    *_both("amoswap", "00001", "AMO(BITS, __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST));"),
    *_both("amoadd", "00000", "AMO(BITS, __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST));"),
    *_both("amoxor", "00100", "AMO(BITS, __atomic_fetch_xor(at, value, __ATOMIC_SEQ_CST));"),
    *_both("amoand", "01100", "AMO(BITS, __atomic_fetch_and(at, value, __ATOMIC_SEQ_CST));"),
    *_both("amoor", "01000", "AMO(BITS, __atomic_fetch_or(at, value, __ATOMIC_SEQ_CST));"),
    *_both("amomin", "10000", "AMO_CHOOSE(BITS, (intBITS_t)old < (intBITS_t)value);"),
    *_both("amomax", "10100", "AMO_CHOOSE(BITS, (intBITS_t)old > (intBITS_t)value);"),
    *_both("amominu", "11000", "AMO_CHOOSE(BITS, old < value);"),
    *_both("amomaxu", "11100", "AMO_CHOOSE(BITS, old > value);"),
]
