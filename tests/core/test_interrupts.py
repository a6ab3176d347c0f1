"""Interrupts: who is interrupted, by what, in which order; WFI.
Privileged spec 3.1.9, 3.3.3, 4.1.3; Sstc."""

from __future__ import annotations

import pytest

from hartwell.devices.board import ACLINT
from hartwell.layout import CONSTANTS
from tests.core.bench import MASK64, Bench
from tests.core.virtio_driver import bus_write

U, S, M = Bench.U, Bench.S, Bench.M
SIE, MIE = 1 << 1, 1 << 3
SSI, MSI, STI, MTI, SEI, MEI = 1, 3, 5, 7, 9, 11
INTERRUPT = 1 << 63
ECALL_M = 11


def raise_line(hart: Bench, number: int) -> None:
    """Makes an interrupt pending, by its device or by mip."""
    if number == MSI:
        bus_write(hart.core, ACLINT, 1)
    elif number == MTI:
        bus_write(hart.core, ACLINT + 0x4000, 0, 8)
    elif number == MEI:
        hart.core.or_(hart.word("mip"), 1 << MEI)
    else:
        hart.csr_set("mip", hart.csr("mip") | 1 << number)


def wait_here(hart: Bench, privilege: int, *, vectored: bool = False) -> int:
    """Runs two instructions of a nop slide; the address of the first."""
    hart.load("\n".join(["nop"] * 16), hart.CODE)
    for mode in "ms":
        hart.csr_set(f"{mode}tvec", hart.csr(f"{mode}tvec") | vectored)
    hart.start(hart.CODE, privilege)
    hart.step(2)
    return hart.CODE


@pytest.mark.parametrize("number", [SSI, MSI, STI, MTI, SEI, MEI])
def test_each_interrupt(hart: Bench, number: int) -> None:
    raise_line(hart, number)
    hart.csr_set("mie", 1 << number)
    hart.csr_set("mstatus", MIE)
    here = wait_here(hart, M)
    assert hart.csr("mip") >> number & 1
    assert hart.trap == ("m", INTERRUPT | number, here, 0)


@pytest.mark.parametrize(
    ("pending", "delegated", "first"),
    [((MEI, MSI, MTI, SEI, SSI, STI), (), MEI), ((MSI, MTI, SEI, SSI, STI), (), MSI), ((MTI, SEI, SSI), (), MTI),
     ((SEI, SSI, STI), (), SEI), ((SSI, STI), (), SSI), ((STI,), (), STI), ((SEI, STI), (SEI,), STI),
     ((MTI, SEI), (SEI,), MTI)],
)
def test_the_most_urgent_comes_first(
    hart: Bench, pending: tuple[int, ...], delegated: tuple[int, ...], first: int
) -> None:
    for number in pending:
        raise_line(hart, number)
    hart.csr_set("mie", MASK64)
    hart.csr_set("mideleg", sum(1 << number for number in delegated))
    hart.csr_set("mstatus", MIE | SIE)
    wait_here(hart, S)
    assert hart.csr("mcause") == INTERRUPT | first


@pytest.mark.parametrize(
    ("privilege", "status", "delegated", "mode"),
    [(M, 0, False, None), (M, MIE, False, "m"), (S, 0, False, "m"), (U, 0, False, "m"), (M, MIE | SIE, True, None),
     (S, 0, True, None), (S, SIE, True, "s"), (U, 0, True, "s")],
)
def test_who_is_interrupted(hart: Bench, privilege: int, status: int, delegated: bool, mode: str | None) -> None:
    raise_line(hart, SSI)
    hart.csr_set("mie", 1 << SSI)
    hart.csr_set("mideleg", delegated << SSI)
    hart.csr_set("mstatus", status)
    here = wait_here(hart, privilege)
    assert hart.trap == (None if mode is None else (mode, INTERRUPT | SSI, here, 0))


def test_vectored_handlers(hart: Bench) -> None:
    raise_line(hart, MSI)
    hart.csr_set("mie", 1 << MSI)
    hart.load("\n".join(["nop"] * 16), hart.M_HANDLER)
    wait_here(hart, U, vectored=True)
    assert hart.csr("mcause") == INTERRUPT | MSI
    assert hart.pc - hart.M_HANDLER in range(4 * MSI, 4 * MSI + 12)


def test_exceptions_are_not_vectored(hart: Bench) -> None:
    hart.csr_set("mtvec", hart.M_HANDLER | 1)
    hart.execute("ecall")
    assert hart.trap and hart.trap[1] == ECALL_M


def test_sip_shows_and_changes_delegated_bits_only(hart: Bench) -> None:
    hart.execute("csrsi sip, 2; csrr a0, sip", S)
    assert hart.x("a0") == 0 and hart.csr("mip") == 0
    hart.csr_set("mideleg", 1 << SSI | 1 << STI)
    hart.execute("csrsi sip, 2; csrr a0, sip; csrs sip, a1; csrr a2, sip; csrci sip, 2; csrr a3, sip", S, a1=1 << STI)
    assert (hart.x("a0"), hart.x("a2"), hart.x("a3")) == (2, 2, 0), "STIP is not S mode's to set"


def test_sstc_drives_stip(hart: Bench) -> None:
    hart.csr_set("menvcfg", 1 << 63)
    hart.csr_set("mcounteren", 2)
    hart.csr_set("mideleg", 1 << STI)
    hart.csr_set("mip", 1 << STI)
    assert not hart.csr("mip") >> STI & 1, "software does not drive it then"
    hart.csr_set("mie", 1 << STI)
    hart.csr_set("mstatus", SIE)
    hart.execute("csrw stimecmp, zero; here: nop; nop", S)
    assert hart.trap and hart.trap[:2] == ("s", INTERRUPT | STI)
    hart.csr_set("stimecmp", MASK64)
    assert not hart.csr("mip") >> STI & 1


def test_software_interrupts_of_the_next_instruction(hart: Bench) -> None:
    hart.csr_set("mie", 1 << SSI)
    hart.csr_set("mstatus", MIE)
    code = hart.execute("csrsi mip, 2; here: nop; nop; nop")
    assert hart.trap == ("m", INTERRUPT | SSI, code["here"], 0)
    hart.csr_set("mstatus", 0)
    code = hart.execute("csrsi mstatus, 8; here: nop; nop; nop")
    assert hart.trap == ("m", INTERRUPT | SSI, code["here"], 0), "enabling them lets them in at once"


def test_wfi_waits_for_an_enabled_interrupt(hart: Bench) -> None:
    code = hart.load("again: wfi; j again")
    hart.start()
    hart.csr_set("mie", 1 << MSI)
    assert hart.step(100) == CONSTANTS["RUN_WFI"] and hart.pc == code["again"] + 4
    hart.csr_set("mip", 1 << SSI)  # pending but not enabled
    assert hart.step(100) == CONSTANTS["RUN_WFI"]
    raise_line(hart, MSI)
    assert hart.step(100) == CONSTANTS["RUN_BUDGET"], "MIE is off, so it goes on without a trap"
    assert hart.trap is None


def test_wfi_does_not_wait_when_something_is_pending(hart: Bench) -> None:
    raise_line(hart, MSI)
    hart.csr_set("mie", 1 << MSI)
    hart.execute("wfi; li a0, 5")
    assert hart.x("a0") == 5


def test_an_interrupt_out_of_wfi_returns_behind_it(hart: Bench) -> None:
    code = hart.load("wfi; after: nop; end: j end")
    hart.csr_set("mie", 1 << MSI)
    hart.csr_set("mstatus", MIE)
    hart.start()
    hart.step()
    raise_line(hart, MSI)
    hart.step(3)
    assert hart.trap == ("m", INTERRUPT | MSI, code["after"], 0)
