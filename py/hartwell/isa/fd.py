"""F and D: floating point (Unprivileged ISA chapters 21 and 22).  What an
instruction computes stands in cpu/fp/fp.h; here is which function and operands."""

from hartwell.isa.instruction import Instruction


def _set(letter: str, f2: str, bits: int, width: str, extension: str) -> list[Instruction]:
    def fp(name: str, encoding: str, syntax: str, meaning: str) -> Instruction:
        return Instruction(name, encoding, syntax, meaning, extension, "fp")

    def op3(name: str, f5: str) -> Instruction:
        return fp(f"f{name}.{letter}", f"{f5}{f2} rs2 rs1 rm rd 1010011", "frd,frs1,frs2,rm",
                  f"FP(fp_{name}_{letter}(h, FRS1, FRS2, RM));")

    def fused(name: str, opcode: str) -> Instruction:
        return fp(f"f{name}.{letter}", f"rs3 {f2} rs2 rs1 rm rd {opcode}", "frd,frs1,frs2,frs3,rm",
                  f"FP(fp_{name}_{letter}(h, FRS1, FRS2, FRS3, RM));")

    def sign(name: str, f3: str) -> Instruction:
        return fp(f"f{name}.{letter}", f"00100{f2} rs2 rs1 {f3} rd 1010011", "frd,frs1,frs2",
                  f"FP_QUIET(fp_{name}_{letter}(FRS1, FRS2));")

    def two(name: str, f5: str, f3: str) -> Instruction:
        return fp(f"f{name}.{letter}", f"{f5}{f2} rs2 rs1 {f3} rd 1010011", "frd,frs1,frs2",
                  f"FP_NO_MODE(fp_{name}_{letter}(h, FRS1, FRS2));")

    def compare(name: str, f3: str) -> Instruction:
        return fp(f"f{name}.{letter}", f"10100{f2} rs2 rs1 {f3} rd 1010011", "rd,frs1,frs2",
                  f"FP_TO_X_NO_MODE(fp_{name}_{letter}(h, FRS1, FRS2));")

    def to_int(kind: str, number: str) -> Instruction:
        return fp(f"fcvt.{kind}.{letter}", f"11000{f2} {number} rs1 rm rd 1010011", "rd,frs1,rm",
                  f"FP_TO_X(fp_cvt_{kind}_{letter}(h, FRS1, RM));")

    def from_int(kind: str, number: str) -> Instruction:
        mode = "rm_exact" if letter == "d" and kind in ("w", "wu") else "rm"
        return fp(f"fcvt.{letter}.{kind}", f"11010{f2} {number} rs1 rm rd 1010011", f"frd,rs1,{mode}",
                  f"FP(fp_cvt_{letter}_{kind}(h, RS1, RM));")

    kinds = (("w", "00000"), ("wu", "00001"), ("l", "00010"), ("lu", "00011"))
    load = "FLOAD(32, BOX32(value));" if bits == 32 else "FLOAD(64, value);"
    x = "w" if bits == 32 else "d"
    to_x = "SEXT32(FRS1)" if bits == 32 else "FRS1"
    to_f = "BOX32(RS1)" if bits == 32 else "RS1"
    return [
        Instruction(f"fl{x}", f"imm[11:0] rs1 {width} rd 0000111", "frd,imm(rs1)", load, extension, "load"),
        Instruction(f"fs{x}", f"imm[11:5] rs2 rs1 {width} imm[4:0] 0100111", "frs2,imm(rs1)",
                    f"FSTORE({bits});", extension, "store"),
        fused("madd", "1000011"), fused("msub", "1000111"), fused("nmsub", "1001011"), fused("nmadd", "1001111"),
        op3("add", "00000"), op3("sub", "00001"), op3("mul", "00010"), op3("div", "00011"),
        fp(f"fsqrt.{letter}", f"01011{f2} 00000 rs1 rm rd 1010011", "frd,frs1,rm",
           f"FP(fp_sqrt_{letter}(h, FRS1, RM));"),
        sign("sgnj", "000"), sign("sgnjn", "001"), sign("sgnjx", "010"),
        two("min", "00101", "000"), two("max", "00101", "001"),
        compare("eq", "010"), compare("lt", "001"), compare("le", "000"),
        fp(f"fclass.{letter}", f"11100{f2} 00000 rs1 001 rd 1010011", "rd,frs1",
           f"FP_TO_X_QUIET(fp_class_{letter}(h, FRS1));"),
        fp(f"fmv.x.{x}", f"11100{f2} 00000 rs1 000 rd 1010011", "rd,frs1", f"FP_TO_X_QUIET({to_x});"),
        fp(f"fmv.{x}.x", f"11110{f2} 00000 rs1 000 rd 1010011", "frd,rs1", f"FP_QUIET({to_f});"),
        *(to_int(*kind) for kind in kinds),
        *(from_int(*kind) for kind in kinds),
    ]


INSTRUCTIONS = [
    *_set("s", "00", 32, "010", "F"),
    *_set("d", "01", 64, "011", "D"),
    Instruction("fcvt.s.d", "0100000 00001 rs1 rm rd 1010011", "frd,frs1,rm",
                "FP(fp_cvt_s_d(h, FRS1, RM));", "D", "fp"),
    Instruction("fcvt.d.s", "0100001 00000 rs1 rm rd 1010011", "frd,frs1,rm_exact",
                "FP(fp_cvt_d_s(h, FRS1));", "D", "fp"),
]
