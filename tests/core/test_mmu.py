"""Address translation.  Privileged spec 4.3 to 4.5, Svade, Svadu, Svinval."""

from __future__ import annotations

from itertools import product

import pytest

from hartwell.layout import CONSTANTS, RAM_BASE
from tests.core.bench import MASK64, Bench, ram_read, ram_write
from tests.core.paging import LEAF, PAGE, USER, A, D, G, R, Space, V, W, X

U, S, M = Bench.U, Bench.S, Bench.M
FETCH_ACCESS, BREAKPOINT, LOAD_ACCESS, STORE_ACCESS, FETCH_PAGE, LOAD_PAGE, STORE_PAGE = 1, 3, 5, 7, 12, 13, 15
SUM, MXR, MPRV = 1 << 18, 1 << 19, 1 << 17
ADUE = 1 << 61
VA, DATA = 0x10_0000, Bench.DATA
MODES = pytest.mark.parametrize("mode", [8, 9], ids=["Sv39", "Sv48"])
LOAD, STORE, FETCH = "ld a1, 0(a0)", "sd a1, 0(a0)", "jr a0"
FAULTS = {LOAD: LOAD_PAGE, STORE: STORE_PAGE, FETCH: FETCH_PAGE}
DONE = {LOAD: None, STORE: None, FETCH: BREAKPOINT}  # what is fetched is an ebreak
EBREAK = (0x0010_0073).to_bytes(8, "little")


@pytest.fixture
def space(hart: Bench) -> Space:
    ram_write(hart.core, DATA, EBREAK)
    space = Space(hart)
    space.use()
    return space


# --- permission ----------------------------------------------------------------


def permitted(text: str, flags: int, privilege: int, status: int) -> bool:
    """The rules of 4.3.2, written down once more."""
    if privilege == U and not flags & USER:
        return False
    if privilege == S and flags & USER and (text == FETCH or not status & SUM):
        return False
    readable = flags & R or (flags & X and status & MXR)
    return bool({LOAD: readable, STORE: flags & W, FETCH: flags & X}[text])


@MODES
@pytest.mark.parametrize("text", [LOAD, STORE, FETCH], ids=["load", "store", "fetch"])
def test_permission_bits(hart: Bench, mode: int, text: str) -> None:
    ram_write(hart.core, DATA, EBREAK)
    space = Space(hart, mode)
    space.use()
    combinations = list(product((R, X, R | W, R | X, R | W | X), (0, USER), (U, S), (0, SUM, MXR, SUM | MXR)))
    for number, (rwx, user, privilege, status) in enumerate(combinations):
        va = VA + number * PAGE
        space.map(va, DATA, LEAF | rwx | user)
        hart.csr_set("mstatus", status)
        wanted = DONE[text] if permitted(text, rwx | user, privilege, status) else FAULTS[text]
        got = space.execute(text, privilege, a0=va, a1=int.from_bytes(EBREAK, "little"))
        assert got == wanted, f"pte flags {rwx | user:#x}, privilege {privilege}, mstatus {status:#x}"
        if wanted is not None:
            assert hart.trap and hart.trap[3] == va


@pytest.mark.parametrize("text", [LOAD, STORE, "lr.d a1, (a0)", "sc.d a1, a1, (a0)", "amoadd.w a1, a1, (a0)",
                                  "cbo.zero (a0)", "cbo.flush (a0)"])
def test_the_fault_says_load_or_store(hart: Bench, space: Space, text: str) -> None:
    hart.csr_set("menvcfg", ADUE | 0xF0)
    assert space.execute(text, a0=VA + 8) == (LOAD_PAGE if text[:2] in ("ld", "lr") else STORE_PAGE)
    assert hart.trap and hart.trap[3] == VA + 8


def test_status_bits_act_at_once(hart: Bench, space: Space) -> None:
    space.map(VA, DATA, LEAF | X | USER)
    text = "csrs sstatus, a2; ld a1, 0(a0); csrc sstatus, a3; here: ld a4, 0(a0)"
    for clear in (SUM, MXR):
        hart.csr_set("mstatus", 0)
        assert space.execute(text, a0=VA, a2=SUM | MXR, a3=clear, a1=0, a4=1) == LOAD_PAGE
        assert hart.x("a1") == int.from_bytes(EBREAK, "little") and hart.x("a4") == 1


# --- entries ---------------------------------------------------------------------


@pytest.mark.parametrize("text", [LOAD, STORE, FETCH])
@pytest.mark.parametrize(
    "entry",
    [DATA >> 2 | LEAF & ~V | R | W | X, DATA >> 2 | LEAF | W, DATA >> 2 | LEAF | W | X,
     *(DATA >> 2 | LEAF | R | W | X | 1 << bit for bit in range(54, 64)), DATA >> 2 | V],
    ids=["invalid", "W", "WX", *(f"bit{bit}" for bit in range(54, 64)), "table-in-the-last-level"],
)
def test_entries_that_are_no_pages(space: Space, text: str, entry: int) -> None:
    space.write(space.entry(VA), entry)
    assert space.execute(text, a0=VA) == FAULTS[text]


@pytest.mark.parametrize("flag", [USER, A, D], ids=["U", "A", "D"])
def test_reserved_bits_of_a_table_entry(space: Space, flag: int) -> None:
    space.map(VA, DATA, LEAF | R)
    assert space.execute(LOAD, a0=VA) is None
    va = VA + (1 << 30)
    space.map(va, DATA, LEAF | R)
    at = space.entry(va, 2)
    space.write(at, space.read(at) | flag)
    assert space.execute(LOAD, a0=va) == LOAD_PAGE


@pytest.mark.parametrize(("text", "cause"), [(LOAD, LOAD_ACCESS), (STORE, STORE_ACCESS), (FETCH, FETCH_ACCESS)])
def test_tables_and_pages_outside_memory(space: Space, text: str, cause: int) -> None:
    space.write(space.entry(VA, 1), 0x4000_0000 >> 2 | V)
    assert space.execute(text, a0=VA) == cause
    space.map(VA + (1 << 21), 0x4000_0000, LEAF | R | W | X)
    assert space.execute(text, a0=VA + (1 << 21)) == cause


@MODES
@pytest.mark.parametrize("text", [LOAD, STORE, FETCH])
def test_superpages(hart: Bench, mode: int, text: str) -> None:
    ram_write(hart.core, DATA, EBREAK)
    space = Space(hart, mode)
    space.use()
    for level in range(1, space.levels):
        span = PAGE << 9 * level
        va = 3 * span
        space.map(va, DATA & -span, LEAF | R | W | X, level)
        assert space.execute(text, a0=va + DATA % span, a1=int.from_bytes(EBREAK, "little")) == DONE[text]
        hart.csr_set("mstatus", 0)
        space.map(5 * span, (DATA & -span) + PAGE, LEAF | R | W | X, level)
        assert space.execute(text, a0=5 * span) == FAULTS[text], "a superpage that is not aligned"


@MODES
@pytest.mark.parametrize("text", [LOAD, STORE, FETCH])
def test_addresses_that_are_not_canonical(hart: Bench, mode: int, text: str) -> None:
    space = Space(hart, mode)
    space.use()
    top = 12 + 9 * space.levels - 1
    ram_write(hart.core, DATA, EBREAK)
    space.map(0, DATA, LEAF | R | W | X)
    high = MASK64 + 1 - (1 << top)
    space.map(high, DATA, LEAF | R | W | X)
    assert space.execute(text, a0=0, a1=int.from_bytes(EBREAK, "little")) == DONE[text]
    assert space.execute(text, a0=high, a1=int.from_bytes(EBREAK, "little")) == DONE[text]
    for va in (1 << top, 1 << 63, 1 << top + 1, high - 8, 1 << 62 | VA):
        assert space.execute(text, a0=va) == FAULTS[text], f"{va:#x}"
        assert hart.trap and hart.trap[3] == va


# --- accessed and dirty -------------------------------------------------------------


@pytest.mark.parametrize(("text", "bits"), [(LOAD, A), (STORE, A | D), (FETCH, A), ("lr.d a1, (a0)", A),
                                            ("amoor.d a1, zero, (a0)", A | D)])
def test_accessed_and_dirty_by_hardware(hart: Bench, space: Space, text: str, bits: int) -> None:
    hart.csr_set("menvcfg", ADUE)
    at = space.map(VA, DATA, V | R | W | X)
    assert space.execute(text, a0=VA, a1=int.from_bytes(EBREAK, "little")) == DONE.get(text)
    assert space.read(at) & (A | D) == bits
    flags = hart.core.plan.values["page_flags_offset"] + (at - RAM_BASE) // PAGE
    assert hart.core.read(flags, 1)[0] & CONSTANTS["PAGE_DIRTY"], "the table's page was written"


@pytest.mark.parametrize(("text", "missing"), [(LOAD, A), (STORE, A), (STORE, D), (FETCH, A)])
def test_accessed_and_dirty_by_software(hart: Bench, space: Space, text: str, missing: int) -> None:
    hart.csr_set("menvcfg", 0)
    at = space.map(VA, DATA, (LEAF | R | W | X) & ~missing)
    before = space.read(at)
    assert space.execute(text, a0=VA) == FAULTS[text]
    assert space.read(at) == before
    space.map(VA + PAGE, DATA, (LEAF | R | W | X) & ~(D if text != STORE else 0))
    assert space.execute(text, a0=VA + PAGE, a1=int.from_bytes(EBREAK, "little")) == DONE[text]


def test_what_is_refused_is_not_accessed(hart: Bench, space: Space) -> None:
    hart.csr_set("menvcfg", ADUE)
    at = space.map(VA, DATA, V | R)
    assert space.execute(STORE, a0=VA) == STORE_PAGE
    assert space.read(at) & (A | D) == 0


def test_a_read_does_not_let_a_write_by_unseen(hart: Bench, space: Space) -> None:
    hart.csr_set("menvcfg", ADUE)
    at = space.map(VA, DATA, V | R | W)
    assert space.execute("ld a1, 0(a0); ld a2, 8(a0); sd a1, 0(a0)", a0=VA) is None
    assert space.read(at) & (A | D) == A | D


# --- fences ---------------------------------------------------------------------------

FENCES = ["sfence.vma zero, zero", "sfence.vma a0, zero", "sfence.vma zero, a2", "sfence.vma a0, a2",
          "sfence.w.inval; sinval.vma a0, zero; sfence.inval.ir", "sinval.vma zero, a2"]


@pytest.mark.parametrize(("mode", "level"), [(8, 0), (8, 1), (8, 2), (9, 3)])
@pytest.mark.parametrize("fence", FENCES)
def test_a_fence_shows_the_new_mapping(hart: Bench, fence: str, mode: int, level: int) -> None:
    space = Space(hart, mode)
    space.use()
    span = PAGE << 9 * level
    offset = DATA % span
    ram_write(hart.core, DATA, (11).to_bytes(8, "little"))
    va = 7 << 39 if level == 3 else 7 << 30
    at = space.map(va, DATA - offset, LEAF | R | W, level)
    space.map(VA, at & -PAGE, LEAF | R | W)  # by which the program reaches the entry
    # Past the fence the page is gone (superpages) or another one (pages).
    new = 0 if level else (DATA + PAGE) >> 2 | LEAF | R
    ram_write(hart.core, DATA + PAGE, (22).to_bytes(8, "little"))
    text = f"ld a1, 0(a4); sd a1, 8(a4); sd a5, 0(a3); {fence}; ld a6, 0(a4); sd a1, 0(a4)"
    cause = space.execute(text, a0=va, a2=0, a3=VA + at % PAGE, a4=va + offset, a5=new, a6=1)
    assert hart.x("a1") == 11
    assert (cause, hart.x("a6")) == ((LOAD_PAGE, 1) if level else (STORE_PAGE, 22))


def test_fetches_obey_fences(hart: Bench, space: Space) -> None:
    hart.load("li a1, 1; jr ra", DATA)
    hart.load("li a1, 2; jr ra", DATA + PAGE)
    at = space.map(VA, DATA, LEAF | R | X)
    space.map(VA + PAGE, at & -PAGE, LEAF | R | W)
    text = "jalr ra, 0(a0); mv a6, a1; sd a5, 0(a3); sfence.vma a0, zero; jalr ra, 0(a0)"
    space.execute(text, a0=VA, a3=VA + PAGE + at % PAGE, a5=(DATA + PAGE) >> 2 | LEAF | X)
    for _ in range(8):
        hart.step()
    assert (hart.x("a6"), hart.x("a1")) == (1, 2)


def test_address_spaces_are_apart(hart: Bench) -> None:
    spaces = [Space(hart, tables=DATA + (2 + number << 18)) for number in range(2)]
    for number, space in enumerate(spaces):
        ram_write(hart.core, DATA + number * PAGE, (11 * (number + 1)).to_bytes(8, "little"))
        space.map(VA, DATA + number * PAGE, LEAF | R)
        space.map(hart.free, hart.free, LEAF | R | X)
    spaces[0].use(asid=1)
    text = "ld a1, 0(a0); csrw satp, a2; ld a3, 0(a0); csrw satp, a4; ld a5, 0(a0)"
    assert spaces[0].execute(text, a0=VA, a2=spaces[1].satp(2), a4=spaces[0].satp(1)) is None
    assert [hart.x(name) for name in ("a1", "a3", "a5")] == [11, 22, 11]


@pytest.mark.parametrize("shared", [0, G], ids=["own code", "global code"])
def test_code_of_address_spaces_is_apart(hart: Bench, shared: int) -> None:
    """S mode's code at VA differs between two spaces; what calls it lies in both, perhaps as a global page."""
    hart.load("li a1, 1; jr ra", DATA)
    hart.load("li a1, 2; jr ra", DATA + PAGE)
    spaces = [Space(hart, tables=DATA + (2 + number << 18)) for number in range(2)]
    for number, space in enumerate(spaces):
        space.map(VA, DATA + number * PAGE, LEAF | R | X)
        space.map(hart.free, hart.free, LEAF | R | X | shared)
    spaces[0].use(asid=1)
    at = hart.free
    code = hart.load("jalr ra, 0(a0); mv a6, a1; csrw satp, a2; jalr ra, 0(a0); mv a7, a1; csrw satp, a4; jalr ra, 0(a0)\n"
                     "end: j end", at)
    hart.start(at, S)
    for name, value in {"a0": VA, "a2": spaces[1].satp(2), "a4": spaces[0].satp(1)}.items():
        hart.x_set(name, value)
    hart.step(14)
    assert hart.pc == code["end"]
    assert [hart.x(name) for name in ("a6", "a7", "a1")] == [1, 2, 1]


def test_global_pages_go_by_a_fence_of_everything(hart: Bench, space: Space) -> None:
    for number in range(2):
        ram_write(hart.core, DATA + number * PAGE, (11 * (number + 1)).to_bytes(8, "little"))
    at = space.map(VA, DATA, LEAF | R | G)
    space.map(VA + PAGE, at & -PAGE, LEAF | R | W)
    text = ("ld a1, 0(a0); sd a5, 0(a3); sfence.vma zero, zero; ld a6, 0(a0)\n"
            "sd a7, 0(a3); sfence.vma a0, zero; ld a2, 0(a0)")
    flags = LEAF | R | G
    space.execute(text, a0=VA, a3=VA + PAGE + at % PAGE, a5=(DATA + PAGE) >> 2 | flags, a7=DATA >> 2 | flags)
    assert [hart.x(name) for name in ("a1", "a6", "a2")] == [11, 22, 11]


def test_a_fence_for_one_address_covers_a_global_superpage_after_a_change_of_spaces(hart: Bench, space: Space) -> None:
    """In the lower half too, where kernels that map themselves where they lie keep theirs (4.2.1)."""
    for number in range(2):
        ram_write(hart.core, DATA + number * PAGE, (11 * (number + 1)).to_bytes(8, "little"))
    va = 7 << 30
    at = space.map(va, DATA, LEAF | R | G, 1)
    space.map(VA, at & -PAGE, LEAF | R | W)
    text = "ld a1, 0(a0); csrw satp, a2; sd zero, 0(a3); sfence.vma a4, zero; ld a6, 0(a0)"
    cause = space.execute(text, a0=va, a2=space.satp(5), a3=VA + at % PAGE, a4=va + PAGE, a6=1)
    assert (hart.x("a1"), cause, hart.x("a6")) == (11, LOAD_PAGE, 1)


def test_a_fence_after_more_pages_than_the_journal_holds(hart: Bench, space: Space) -> None:
    count = CONSTANTS["JOURNAL_ENTRIES"] // 512 + 1
    for number in range(2):
        ram_write(hart.core, DATA + number * PAGE, (11 * (number + 1)).to_bytes(8, "little"))
    for page in range(512):
        space.map(1 << 30 | page << 12, DATA, LEAF | R)
    table = space.entry(1 << 30)
    for block in range(1, count):
        space.write(space.entry(1 << 30 | block << 21, 1), table >> 2 | V)
    space.map(VA, table, LEAF | R | W)
    touch = "mv a1, a0; loop{0}: ld a2, 0(a1); add a3, a3, a2; add a1, a1, a4; bltu a1, a5, loop{0}\n"
    code = hart.load(touch.format(0) + "sd a6, 8(a7); sfence.vma zero, zero; mv s2, a3; li a3, 0\n"
                     + touch.format(1) + "end: j end")
    space.map(code.base, code.base, LEAF | R | X)
    hart.start(code.base, S)
    for name, value in {"a0": 1 << 30, "a3": 0, "a4": PAGE, "a5": (1 << 30) + (count << 21), "a7": VA,
                        "a6": (DATA + PAGE) >> 2 | LEAF | R}.items():
        hart.x_set(name, value)
    hart.step(50_000)
    assert hart.pc == code["end"]
    assert hart.x("s2") == 11 * 512 * count
    assert hart.x("a3") == (11 * 511 + 22) * count


# --- accesses over the end of a page ----------------------------------------------------


@pytest.mark.parametrize("offset", range(1, 8))
def test_accesses_over_two_pages(hart: Bench, space: Space, offset: int) -> None:
    ram_write(hart.core, DATA + PAGE - 8, b"abcdefgh")
    ram_write(hart.core, DATA + 5 * PAGE, b"ABCDEFGH")
    space.map(VA, DATA, LEAF | R | W)
    space.map(VA + PAGE, DATA + 5 * PAGE, LEAF | R | W)
    assert space.execute(LOAD, a0=VA + PAGE - 8 + offset) is None
    assert hart.x("a1").to_bytes(8, "little") == b"abcdefghABCDEFGH"[offset : offset + 8]
    assert space.execute(STORE, a0=VA + PAGE - 8 + offset, a1=0) is None
    got = b"".join(ram_read(hart.core, pa).to_bytes(8, "little") for pa in (DATA + PAGE - 8, DATA + 5 * PAGE))
    assert got == b"abcdefgh"[:offset] + bytes(8) + b"ABCDEFGH"[offset:]


@pytest.mark.parametrize("text", [LOAD, STORE])
@pytest.mark.parametrize("missing", [0, 1])
def test_half_of_an_access_is_none(hart: Bench, space: Space, text: str, missing: int) -> None:
    ram_write(hart.core, DATA + PAGE - 8, b"abcdefgh")
    space.map(VA + (1 - missing) * PAGE, DATA, LEAF | R | W)
    assert space.execute(text, a0=VA + PAGE - 4, a1=0) == FAULTS[text]
    assert hart.trap and hart.trap[3] == (VA + PAGE if missing else VA + PAGE - 4)
    assert ram_read(hart.core, DATA + PAGE - 8).to_bytes(8, "little") == b"abcdefgh"


def test_an_instruction_over_two_pages(hart: Bench, space: Space) -> None:
    space.map(VA, DATA, LEAF | X)
    ram_write(hart.core, DATA + PAGE - 2, (0x0010_0073).to_bytes(4, "little")[:2])
    assert space.execute(FETCH, a0=VA + PAGE - 2) == FETCH_PAGE
    assert hart.trap and hart.trap[2:] == (VA + PAGE - 2, VA + PAGE), "epc: the instruction; tval: the part"
    space.map(VA + PAGE, DATA + 7 * PAGE, LEAF | X)
    ram_write(hart.core, DATA + 7 * PAGE, (0x0010_0073).to_bytes(4, "little")[2:])
    assert space.execute(FETCH, a0=VA + PAGE - 2) == BREAKPOINT


# --- satp, mprv, translate ------------------------------------------------------------------


def test_satp_holds_modes_that_exist(hart: Bench) -> None:
    for mode in (8, 9):
        value = mode << 60 | 0xABCD << 44 | 0x8_0000
        hart.csr_set("satp", value)
        assert hart.csr("satp") == value
    for mode in (1, 7, 10, 11, 15):
        hart.csr_set("satp", mode << 60 | 1)
        assert hart.csr("satp") == 9 << 60 | 0xABCD << 44 | 0x8_0000, "a write of another mode has no effect"
    hart.csr_set("satp", 0)
    assert hart.csr("satp") == 0


@pytest.mark.parametrize(
    ("mpp", "user", "cause"), [(S, 0, None), (S, USER, LOAD_PAGE), (U, USER, None), (U, 0, LOAD_PAGE)]
)
def test_mprv_is_for_loads_and_stores(hart: Bench, space: Space, mpp: int, user: int, cause: int | None) -> None:
    ram_write(hart.core, DATA, (11).to_bytes(8, "little"))
    space.map(VA, DATA, LEAF | R | user)
    hart.csr_set("mstatus", MPRV | mpp << 11)
    hart.execute("ld a1, 0(a0)", M, a0=VA)
    assert (hart.trap[1] if hart.trap else None) == cause
    if cause is None:
        assert hart.x("a1") == 11
    hart.csr_set("mstatus", MPRV | M << 11)
    hart.execute("ld a1, 0(a0)", M, a0=DATA)
    assert hart.trap is None and hart.x("a1") == 11


def test_translate_looks_without_touching(hart: Bench, space: Space) -> None:
    at = space.map(VA, DATA, V | R | X)
    hart.start(hart.CODE, S)
    assert hart.core.call("translate", 0, VA + 5, 0) == DATA + 5
    assert hart.core.call("translate", 0, VA + 5, 2) == DATA + 5
    assert hart.core.call("translate", 0, VA + 5, 1) & MASK64 == MASK64
    assert hart.core.call("translate", 0, VA + PAGE, 0) & MASK64 == MASK64
    assert space.read(at) == DATA >> 2 | V | R | X
