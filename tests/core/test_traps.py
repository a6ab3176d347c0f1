"""Exceptions, and the instructions that change privilege.
Privileged spec 3.1.6 to 3.1.16, 3.3, 4.1."""

from __future__ import annotations

import pytest

from hartwell.layout import CONSTANTS, RAM_BASE
from tests.core.assembler import assemble
from tests.core.bench import MASK64, Bench, get

U, S, M = Bench.U, Bench.S, Bench.M
(FETCH_MISALIGNED, FETCH_ACCESS, ILLEGAL, BREAKPOINT, LOAD_MISALIGNED, LOAD_ACCESS, STORE_MISALIGNED,
 STORE_ACCESS, ECALL_U, ECALL_S, _, ECALL_M) = range(12)
SIE, MIE, SPIE, MPIE, SPP, MPP = 1 << 1, 1 << 3, 1 << 5, 1 << 7, 1 << 8, 3 << 11
FS, MPRV, TVM, TW, TSR = 3 << 13, 1 << 17, 1 << 20, 1 << 21, 1 << 22
NOWHERE = 0x4000_0000
DATA = Bench.DATA


def word(text: str) -> int:
    return int.from_bytes(assemble(text, 0).data, "little")


# --- exceptions ---------------------------------------------------------------


@pytest.mark.parametrize(("privilege", "cause"), [(U, ECALL_U), (S, ECALL_S), (M, ECALL_M)])
def test_ecall_says_where_it_came_from(hart: Bench, privilege: int, cause: int) -> None:
    code = hart.execute("nop; here: ecall", privilege)
    assert hart.trap == ("m", cause, code["here"], 0)
    assert hart.csr("mstatus") & MPP == privilege << 11


@pytest.mark.parametrize("text", ["ebreak", ".half 0x9002"], ids=["ebreak", "c.ebreak"])
def test_ebreak_traps_at_itself(hart: Bench, text: str) -> None:
    code = hart.execute(f"nop; here: {text}")
    assert hart.trap == ("m", BREAKPOINT, code["here"], code["here"])


@pytest.mark.parametrize("privilege", [U, S, M])
@pytest.mark.parametrize(
    ("text", "cause", "address"),
    [("lb a1, 3(a0)", LOAD_ACCESS, 3), ("ld a1, 8(a0)", LOAD_ACCESS, 8), ("fld fa0, 8(a0)", LOAD_ACCESS, 8),
     ("ld a1, 1(a0)", LOAD_ACCESS, 1), ("sw a1, 4(a0)", STORE_ACCESS, 4), ("fsw fa0, 4(a0)", STORE_ACCESS, 4),
     ("sh a1, 1(a0)", STORE_ACCESS, 1), ("lr.w a1, (a0)", LOAD_ACCESS, 0), ("amoadd.d a1, a1, (a0)", STORE_ACCESS, 0),
     ("sc.w a1, a1, (a0)", STORE_ACCESS, 0), ("jr a0", FETCH_ACCESS, 0)],
)
def test_nothing_there(hart: Bench, privilege: int, text: str, cause: int, address: int) -> None:
    hart.csr_set("mstatus", FS)
    code = hart.execute(f"here: {text}", privilege, a0=NOWHERE)
    epc = NOWHERE if text == "jr a0" else code["here"]
    assert hart.trap == ("m", cause, epc, NOWHERE + address)


def test_the_end_of_ram(hart: Bench) -> None:
    last = RAM_BASE + hart.core.plan.ram_bytes
    hart.execute("ld a1, -8(a0)", a0=last)
    assert hart.trap is None
    code = hart.execute("here: ld a1, -4(a0)", a0=last)
    assert hart.trap == ("m", LOAD_ACCESS, code["here"], last)


@pytest.mark.parametrize("size", ["h", "w", "d"])
def test_misaligned_accesses_work(hart: Bench, size: str) -> None:
    count = {"h": 2, "w": 4, "d": 8}[size]
    hart.execute(f"li a1, 0x8182838485868788; s{size} a1, 1(a0); l{size} a2, 1(a0); lbu a3, 1(a0)", a0=DATA + 4091)
    value = 0x8182_8384_8586_8788 & (1 << 8 * count) - 1
    assert hart.trap is None
    assert hart.x("a2") == (value - (1 << 8 * count)) & MASK64 and hart.x("a3") == 0x88


@pytest.mark.parametrize(
    ("text", "cause"),
    [("lr.w a1, (a0)", LOAD_ACCESS), ("lr.d a1, (a0)", LOAD_ACCESS), ("sc.w a1, a1, (a0)", STORE_ACCESS),
     ("amoswap.w a1, a1, (a0)", STORE_ACCESS), ("amomaxu.d a1, a1, (a0)", STORE_ACCESS)],
)
def test_misaligned_atomics_fault(hart: Bench, text: str, cause: int) -> None:
    code = hart.execute(f"here: {text}", a0=DATA + 2)
    assert hart.trap == ("m", cause, code["here"], DATA + 2)


@pytest.mark.parametrize(
    "text",
    [".word 0", ".word 0xffffffff", ".half 0x8002", ".half 0x9c41", ".word 0x0000707f", ".word 0x08003033",
     ".word 0xfe001013", ".word 0x00002fff", "csrr a0, 0x7ff", "csrw mhartid, a0", "csrw cycle, a0"],
)
def test_illegal_instructions_show_their_bits(hart: Bench, text: str) -> None:
    code = hart.execute(f"here: {text}")
    bits = word(text)
    assert hart.trap == ("m", ILLEGAL, code["here"], bits if bits & 3 == 3 else bits & 0xFFFF)


@pytest.mark.parametrize(
    ("privilege", "text"),
    [(U, "csrr a0, sstatus"), (U, "csrr a0, mstatus"), (S, "csrr a0, mstatus"), (S, "csrw mepc, a0"), (U, "sret"),
     (U, "mret"), (S, "mret"), (U, "wfi"), (U, "sfence.vma zero, zero"), (U, "sinval.vma zero, zero"),
     (U, "sfence.w.inval"), (U, "sfence.inval.ir"), (U, "csrr a0, cycle"), (S, "csrr a0, time"), (U, "csrr a0, time"),
     (S, "csrr a0, stimecmp"), (U, "cbo.zero (a0)"), (S, "cbo.clean (a0)"), (S, "cbo.flush (a0)"),
     (S, "cbo.inval (a0)")],
)
def test_not_with_this_privilege(hart: Bench, privilege: int, text: str) -> None:
    hart.csr_set("menvcfg", 0)
    hart.csr_set("mcounteren", 0)
    code = hart.execute(f"here: {text}", privilege, a0=DATA)
    assert hart.trap == ("m", ILLEGAL, code["here"], word(text))


@pytest.mark.parametrize("text", ["fadd.s fa0, fa0, fa0", "flw fa0, 0(a0)", "csrr a1, fcsr", "fmv.x.d a0, fa0"])
def test_floating_point_that_is_off(hart: Bench, text: str) -> None:
    hart.csr_set("mstatus", 0)
    code = hart.execute(f"here: {text}", a0=DATA)
    assert hart.trap == ("m", ILLEGAL, code["here"], word(text))
    hart.csr_set("mstatus", 1 << 13)
    hart.execute("fmv.w.x fa0, a0")
    assert hart.trap is None and hart.csr("mstatus") & (FS | 1 << 63) == FS | 1 << 63, "dirty, and SD says so"


@pytest.mark.parametrize("text", ["fadd.s fa0, fa0, fa0, 5", "fadd.d fa0, fa0, fa0, 6", "fadd.s fa0, fa0, fa0, 7"])
def test_reserved_rounding_modes(hart: Bench, text: str) -> None:
    hart.csr_set("mstatus", FS)
    hart.csr_set("frm", 5)
    code = hart.execute(f"here: {text}")
    assert hart.trap == ("m", ILLEGAL, code["here"], word(text))


def test_a_trap_changes_no_register(hart: Bench) -> None:
    hart.execute("ld a1, 0(a1)", a1=NOWHERE)
    assert hart.trap and hart.x("a1") == NOWHERE


def test_retired_instructions_are_counted(hart: Bench) -> None:
    hart.execute("csrr a0, minstret; nop; nop; csrr a1, minstret; ecall")
    assert hart.x("a1") - hart.x("a0") == 3
    hart.execute("csrwi minstret, 10; csrr a0, minstret; csrr a1, instret; csrr a2, mcycle")
    assert (hart.x("a0"), hart.x("a1")) == (10, 11)
    hart.execute("csrwi mcountinhibit, 4; csrr a0, minstret; nop; csrr a1, minstret; csrwi mcountinhibit, 0")
    assert hart.x("a0") == hart.x("a1")


@pytest.mark.parametrize("imm", [16, -512, 496, -16])
def test_stack_adjustment(hart: Bench, imm: int) -> None:
    bits = sum((imm >> bit & 1) << at for bit, at in ((9, 12), (4, 6), (6, 5), (8, 4), (7, 3), (5, 2)))
    hart.execute(f".half {0x6101 | bits}  # c.addi16sp", sp=0x1000)
    assert hart.x("sp") == 0x1000 + imm


# --- delegation and return --------------------------------------------------------


@pytest.mark.parametrize("privilege", [U, S, M])
def test_delegated_exceptions_go_to_s_but_not_from_m(hart: Bench, privilege: int) -> None:
    hart.csr_set("medeleg", 1 << BREAKPOINT)
    hart.csr_set("mstatus", SIE | MIE)
    code = hart.execute("here: ebreak", privilege)
    status = hart.csr("mstatus")
    if privilege == M:
        assert hart.trap == ("m", BREAKPOINT, code["here"], code["here"])
        assert status & (MIE | MPIE | MPP | SIE) == MPIE | MPP | SIE
    else:
        assert hart.trap == ("s", BREAKPOINT, code["here"], code["here"])
        assert status & (SIE | SPIE | SPP | MIE) == SPIE | MIE | (SPP if privilege == S else 0)
        assert get(hart.core, "Hart.privilege") == S


def test_medeleg_holds_what_can_be_delegated(hart: Bench) -> None:
    hart.csr_set("medeleg", MASK64)
    assert hart.csr("medeleg") == 0xB3FF
    hart.csr_set("mideleg", MASK64)
    assert hart.csr("mideleg") == 0x222, "SSI, STI, SEI"


@pytest.mark.parametrize("to", [U, S, M])
def test_mret(hart: Bench, to: int) -> None:
    hart.csr_set("mstatus", to << 11 | MPIE | MPRV)
    hart.csr_set("mepc", DATA)
    hart.load("nop", DATA)
    hart.load("mret", hart.CODE)
    hart.start(hart.CODE, M)
    hart.step()
    status = hart.csr("mstatus")
    assert hart.pc == DATA and get(hart.core, "Hart.privilege") == to
    assert status & (MIE | MPIE | MPP) == MIE | MPIE, "MPP is the least privileged mode afterwards"
    assert bool(status & MPRV) == (to == M)


@pytest.mark.parametrize("to", [U, S])
def test_sret(hart: Bench, to: int) -> None:
    hart.csr_set("mstatus", (SPP if to == S else 0) | SIE | MPRV)
    hart.csr_set("sepc", DATA)
    hart.load("sret", hart.CODE)
    hart.start(hart.CODE, S)
    hart.step()
    assert hart.pc == DATA and get(hart.core, "Hart.privilege") == to
    assert hart.csr("mstatus") & (SIE | SPIE | SPP | MPRV) == SPIE, "SIE is what SPIE was"


@pytest.mark.parametrize(
    ("bit", "text"),
    [(TVM, "csrr a0, satp"), (TVM, "csrw satp, zero"), (TVM, "sfence.vma zero, zero"), (TVM, "sinval.vma a0, a1"),
     (TW, "wfi"), (TSR, "sret")],
)
def test_what_m_mode_keeps_from_s_mode(hart: Bench, bit: int, text: str) -> None:
    hart.csr_set("sepc", hart.S_HANDLER)
    hart.csr_set("mstatus", bit)
    code = hart.execute(f"here: {text}", S)
    assert hart.trap == ("m", ILLEGAL, code["here"], word(text))
    hart.csr_set("mstatus", 0)
    code = hart.execute(f"here: {text}", S)
    assert hart.pc == (hart.S_HANDLER if text == "sret" else code["end"])


def test_counters_by_enable_bits(hart: Bench) -> None:
    for machine, supervisor, user, permitted in ((7, 0, S, True), (7, 0, U, False), (7, 7, U, True), (0, 7, U, False)):
        hart.csr_set("mcounteren", machine)
        hart.csr_set("scounteren", supervisor)
        hart.execute("csrr a0, cycle; csrr a1, instret; csrr a2, time", user)
        assert (hart.trap is None) == permitted


def test_cache_block_operations(hart: Bench) -> None:
    hart.csr_set("menvcfg", 1 << 7 | 1 << 6 | 3 << 4)
    hart.execute("sd a1, 64(a0); sd a1, 56(a0); cbo.zero (a2); ld a3, 64(a0); ld a4, 56(a0); cbo.clean (a2)\n"
                 "cbo.flush (a2); cbo.inval (a2); fence", S, a0=DATA, a1=7, a2=DATA + 100)
    assert hart.trap is None and (hart.x("a3"), hart.x("a4")) == (0, 7)
    code = hart.execute("here: cbo.zero (a0)", S, a0=NOWHERE + 5)
    assert hart.trap == ("m", STORE_ACCESS, code["here"], NOWHERE + 5)


def test_a_handler_that_is_not_there_stops_the_machine(hart: Bench) -> None:
    hart.csr_set("mtvec", NOWHERE)
    hart.load("ecall")
    hart.start()
    assert hart.step(10) == CONSTANTS["RUN_STOPPED"]
    assert get(hart.core, "Machine.stop_reason") == CONSTANTS["STOP_CRASH"]


# --- WARL ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "written", "read"),
    [("mtvec", MASK64, MASK64 - 2), ("stvec", 0x1003, 0x1001), ("mepc", 0x1235, 0x1234), ("sepc", 0x1235, 0x1234),
     ("misa", 0, None), ("mhartid", 5, 0), ("fflags", MASK64, 31), ("frm", MASK64, 7), ("fcsr", MASK64, 255),
     ("mie", MASK64, 0xAAA), ("mcounteren", MASK64, 0xFFFF_FFFF), ("mscratch", MASK64, MASK64)],
)
def test_fields_hold_legal_values_only(hart: Bench, name: str, written: int, read: int | None) -> None:
    before = hart.csr(name)
    hart.csr_set(name, written)
    assert hart.csr(name) == (before if read is None else read)


def test_mpp_has_no_hypervisor_mode(hart: Bench) -> None:
    hart.csr_set("mstatus", S << 11)
    hart.csr_set("mstatus", 2 << 11)
    assert hart.csr("mstatus") & MPP == S << 11


def test_misa_names_rv64gc(hart: Bench) -> None:
    misa = hart.csr("misa")
    assert misa >> 62 == 2 and all(misa >> ord(letter) - 65 & 1 for letter in "IMAFDCSU")
