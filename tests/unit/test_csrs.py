"""Names of CSRs: all that cpu/hart/csr.c has, and none besides."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hartwell.isa.csrs import CSRS, NAMES

TEXT = (Path(__file__).parents[2] / "cpu" / "hart" / "csr.c").read_text()


def numbers() -> dict[str, int]:
    """The enum of csr.c."""
    enum = TEXT[TEXT.index("enum {") : TEXT.index("};")]
    return {name: int(number, 16) for name, number in re.findall(r"\b([A-Z]\w*) = (0x[0-9a-f]+)", enum)}


def implemented() -> set[int]:
    """What csr_get answers: its cases, and the ranges of its default."""
    known = numbers()
    start = TEXT.index("bool csr_get(")
    body = TEXT[start : TEXT.index("return false;", start)]
    found = {known[name] for name in re.findall(r"case ([A-Z]\w*):", body)}
    ranges = re.findall(r"number >= ([A-Z]\w*) && number <= ([A-Z]\w*)( && number % 2 == 0)?", body)
    assert len(ranges) == body.count("number >=")
    for first, last, even in ranges:
        found |= set(range(known[first], known[last] + 1, 2 if even else 1))
    return found


def test_every_csr_of_the_hart_has_a_name() -> None:
    assert len(implemented()) > 200
    assert implemented() == set(CSRS.values())


def test_numbers_of_the_same_name_are_the_same() -> None:
    for name, number in numbers().items():
        alike = {"PMPCFG15": "pmpcfg14"}.get(name, name.lower())
        if name == "PMPCFG15":  # the end of a range whose odd members RV64 has not
            number -= 1
        assert CSRS[alike] == number


def test_a_number_has_one_name() -> None:
    assert len(NAMES) == len(CSRS)


@pytest.mark.parametrize(
    ("name", "number"),
    [("satp", 0x180), ("mstatus", 0x300), ("time", 0xC01), ("pmpaddr63", 0x3EF), ("hpmcounter31", 0xC1F),
     ("mhpmevent3", 0x323), ("stimecmp", 0x14D), ("tdata1", 0x7A1)],
)
def test_numbers_of_the_specification(name: str, number: int) -> None:
    assert CSRS[name] == number
