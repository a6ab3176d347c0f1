"""Zicsr, the privileged instructions, Svinval, Zicbom and Zicboz."""

from hartwell.isa.instruction import Instruction


def _csr(name: str, f3: str, meaning: str, source: str = "rs1") -> Instruction:
    return Instruction(name, f"csr {source} {f3} rd 1110011", f"rd,csr,{source}", meaning, "Zicsr", "csr")


def _system(name: str, encoding: str, syntax: str, meaning: str, extension: str = "S") -> Instruction:
    return Instruction(name, encoding, syntax, meaning, extension, "system")


def _cbo(name: str, number: str, kind: str, extension: str) -> Instruction:
    return _system(name, f"{number} rs1 010 00000 0001111", "(rs1)", f"CBO({kind});", extension)


_SFENCE = "SYSTEM(sys_sfence_vma(h, RS1, RS2, RS1_GIVEN, RS2_GIVEN));"

INSTRUCTIONS = [
    _csr("csrrw", "001", "CSR(CSR_RW, RS1, true);"),
    _csr("csrrs", "010", "CSR(CSR_RS, RS1, RS1_GIVEN);"),
    _csr("csrrc", "011", "CSR(CSR_RC, RS1, RS1_GIVEN);"),
    _csr("csrrwi", "101", "CSR(CSR_RW, ZIMM, true);", "zimm"),
    _csr("csrrsi", "110", "CSR(CSR_RS, ZIMM, ZIMM != 0);", "zimm"),
    _csr("csrrci", "111", "CSR(CSR_RC, ZIMM, ZIMM != 0);", "zimm"),
    _system("mret", "001100000010 00000 000 00000 1110011", "", "RETURN(sys_mret(h));"),
    _system("sret", "000100000010 00000 000 00000 1110011", "", "RETURN(sys_sret(h));"),
    _system("wfi", "000100000101 00000 000 00000 1110011", "", "WAIT(sys_wfi(h));"),
    _system("sfence.vma", "0001001 rs2 rs1 000 00000 1110011", "rs1,rs2", _SFENCE),
    _system("sinval.vma", "0001011 rs2 rs1 000 00000 1110011", "rs1,rs2", _SFENCE, "Svinval"),
    _system("sfence.w.inval", "000110000000 00000 000 00000 1110011", "",
            "if (h->privilege == PRIV_U) RAISE(CAUSE_ILLEGAL, BITS);", "Svinval"),
    _system("sfence.inval.ir", "000110000001 00000 000 00000 1110011", "",
            "if (h->privilege == PRIV_U) RAISE(CAUSE_ILLEGAL, BITS);", "Svinval"),
    _cbo("cbo.inval", "000000000000", "CBO_INVAL", "Zicbom"),
    _cbo("cbo.clean", "000000000001", "CBO_CLEAN", "Zicbom"),
    _cbo("cbo.flush", "000000000010", "CBO_FLUSH", "Zicbom"),
    _cbo("cbo.zero", "000000000100", "CBO_ZERO", "Zicboz"),
]
