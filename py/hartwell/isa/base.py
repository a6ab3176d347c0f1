"""RV64I, the base integer instructions (Unprivileged ISA chapters 2 and 4)."""

from hartwell.isa.instruction import Instruction


def _i(name: str, encoding: str, syntax: str, meaning: str, kind: str = "alu") -> Instruction:
    return Instruction(name, encoding, syntax, meaning, "I", kind)


def _r(name: str, f7: str, f3: str, meaning: str, opcode: str = "0110011") -> Instruction:
    return _i(name, f"{f7} rs2 rs1 {f3} rd {opcode}", "rd,rs1,rs2", meaning)


def _branch(name: str, f3: str, condition: str) -> Instruction:
    return _i(name, f"imm[12|10:5] rs2 rs1 {f3} imm[4:1|11] 1100011", "rs1,rs2,target",
              f"if ({condition}) BRANCH();", "branch")


def _load(name: str, f3: str, bits: int, cast: str) -> Instruction:
    return _i(name, f"imm[11:0] rs1 {f3} rd 0000011", "rd,imm(rs1)", f"LOAD({bits}, {cast});", "load")


def _store(name: str, f3: str, bits: int) -> Instruction:
    return _i(name, f"imm[11:5] rs2 rs1 {f3} imm[4:0] 0100011", "rs2,imm(rs1)", f"STORE({bits}, RS2);", "store")


INSTRUCTIONS = [
    _i("lui", "imm[31:12] rd 0110111", "rd,upper", "RD = (uint64_t)(int64_t)IMM;"),
    _i("auipc", "imm[31:12] rd 0010111", "rd,upper", "RD = PC + (uint64_t)(int64_t)IMM;"),
    _i("jal", "imm[20|10:1|11|19:12] rd 1101111", "rd,target", "JUMP_LINK();", "jump"),
    _i("jalr", "imm[11:0] rs1 000 rd 1100111", "rd,imm(rs1)", "JUMP_INDIRECT();", "jump"),
    _branch("beq", "000", "RS1 == RS2"),
    _branch("bne", "001", "RS1 != RS2"),
    _branch("blt", "100", "(int64_t)RS1 < (int64_t)RS2"),
    _branch("bge", "101", "(int64_t)RS1 >= (int64_t)RS2"),
    _branch("bltu", "110", "RS1 < RS2"),
    _branch("bgeu", "111", "RS1 >= RS2"),
    _load("lb", "000", 8, "int8_t"),
    _load("lh", "001", 16, "int16_t"),
    _load("lw", "010", 32, "int32_t"),
    _load("ld", "011", 64, "int64_t"),
    _load("lbu", "100", 8, "uint8_t"),
    _load("lhu", "101", 16, "uint16_t"),
    _load("lwu", "110", 32, "uint32_t"),
    _store("sb", "000", 8),
    _store("sh", "001", 16),
    _store("sw", "010", 32),
    _store("sd", "011", 64),
    _i("addi", "imm[11:0] rs1 000 rd 0010011", "rd,rs1,imm", "RD = RS1 + (uint64_t)(int64_t)IMM;"),
    _i("slti", "imm[11:0] rs1 010 rd 0010011", "rd,rs1,imm", "RD = (int64_t)RS1 < (int64_t)IMM;"),
    _i("sltiu", "imm[11:0] rs1 011 rd 0010011", "rd,rs1,imm", "RD = RS1 < (uint64_t)(int64_t)IMM;"),
    _i("xori", "imm[11:0] rs1 100 rd 0010011", "rd,rs1,imm", "RD = RS1 ^ (uint64_t)(int64_t)IMM;"),
    _i("ori", "imm[11:0] rs1 110 rd 0010011", "rd,rs1,imm", "RD = RS1 | (uint64_t)(int64_t)IMM;"),
    _i("andi", "imm[11:0] rs1 111 rd 0010011", "rd,rs1,imm", "RD = RS1 & (uint64_t)(int64_t)IMM;"),
    _i("slli", "000000 shamt rs1 001 rd 0010011", "rd,rs1,shamt", "RD = RS1 << IMM;"),
    _i("srli", "000000 shamt rs1 101 rd 0010011", "rd,rs1,shamt", "RD = RS1 >> IMM;"),
    _i("srai", "010000 shamt rs1 101 rd 0010011", "rd,rs1,shamt", "RD = (uint64_t)((int64_t)RS1 >> IMM);"),
    _r("add", "0000000", "000", "RD = RS1 + RS2;"),
    _r("sub", "0100000", "000", "RD = RS1 - RS2;"),
    _r("sll", "0000000", "001", "RD = RS1 << (RS2 & 63);"),
    _r("slt", "0000000", "010", "RD = (int64_t)RS1 < (int64_t)RS2;"),
    _r("sltu", "0000000", "011", "RD = RS1 < RS2;"),
    _r("xor", "0000000", "100", "RD = RS1 ^ RS2;"),
    _r("srl", "0000000", "101", "RD = RS1 >> (RS2 & 63);"),
    _r("sra", "0100000", "101", "RD = (uint64_t)((int64_t)RS1 >> (RS2 & 63));"),
    _r("or", "0000000", "110", "RD = RS1 | RS2;"),
    _r("and", "0000000", "111", "RD = RS1 & RS2;"),
    _i("addiw", "imm[11:0] rs1 000 rd 0011011", "rd,rs1,imm", "RD = SEXT32(RS1 + (uint32_t)IMM);"),
    _i("slliw", "0000000 shamtw rs1 001 rd 0011011", "rd,rs1,shamtw", "RD = SEXT32((uint32_t)RS1 << IMM);"),
    _i("srliw", "0000000 shamtw rs1 101 rd 0011011", "rd,rs1,shamtw", "RD = SEXT32((uint32_t)RS1 >> IMM);"),
    _i("sraiw", "0100000 shamtw rs1 101 rd 0011011", "rd,rs1,shamtw", "RD = SEXT32((int32_t)RS1 >> IMM);"),
    _r("addw", "0000000", "000", "RD = SEXT32(RS1 + RS2);", "0111011"),
    _r("subw", "0100000", "000", "RD = SEXT32(RS1 - RS2);", "0111011"),
    _r("sllw", "0000000", "001", "RD = SEXT32((uint32_t)RS1 << (RS2 & 31));", "0111011"),
    _r("srlw", "0000000", "101", "RD = SEXT32((uint32_t)RS1 >> (RS2 & 31));", "0111011"),
    _r("sraw", "0100000", "101", "RD = SEXT32((int32_t)RS1 >> (RS2 & 31));", "0111011"),
    _i("fence", "fence rs1 000 rd 0001111", "fence", "__atomic_thread_fence(__ATOMIC_SEQ_CST);", "system"),
    _i("ecall", "000000000000 00000 000 00000 1110011", "", "SYSTEM(sys_ecall(h));", "system"),
    _i("ebreak", "000000000001 00000 000 00000 1110011", "", "RAISE(CAUSE_BREAKPOINT, PC);", "system"),
    Instruction("fence.i", "imm[11:0] rs1 001 rd 0001111", "", "SYSTEM(sys_fence_i(h));", "Zifencei", "system"),
]
