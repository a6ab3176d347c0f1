"""Sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hartwell.errors import BadConfiguration
from hartwell.sizes import parse_size, show_size

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("512M", 512 << 20), ("512m", 512 << 20), (" 1 G ", 1 << 30), ("1.5G", 3 << 29), ("64KiB", 65536),
        ("64kb", 65536), ("4096", 4096), ("4096B", 4096), ("0", 0), (65536, 65536), ("0.5K", 512),
    ],
)
def test_what_is_a_size(text: str | int, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "M", "-1M", "1e9", "512T", "1,5G", ".5G", "1.G", "0x100", "512 M M", "nan"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(BadConfiguration, match=r"disk: .* is not a size; write a number with K, M or G"):
        parse_size(text, "disk")


@pytest.mark.parametrize("value", [True, None, 1j, b"512M"])
def test_what_is_no_text(value: str) -> None:
    with pytest.raises(BadConfiguration):
        parse_size(value)


def test_very_long_numbers_are_no_size() -> None:
    with pytest.raises(BadConfiguration):
        parse_size("9" * 5000)
    with pytest.raises(BadConfiguration):
        parse_size("1." + "9" * 5000)


def test_large_numbers_are_exact() -> None:
    assert parse_size("9007199254740993") == 9007199254740993


@given(st.integers(0, 1 << 60))
def test_a_shown_size_is_read_back(count: int) -> None:
    assert parse_size(show_size(count)) == count


@given(st.integers(0, 1 << 20), st.sampled_from(sorted(UNITS)))
def test_a_number_and_its_unit(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number * UNITS[unit]


@given(st.text(max_size=30))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        count = parse_size(text)
    except BadConfiguration:
        return
    assert count >= 0
    assert any(letter.isdigit() for letter in text)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (1000, "1000"), (1024, "1K"), (1 << 20, "1M"), (3 << 29, "1536M"), (1 << 30, "1G")]
)
def test_how_a_size_is_shown(count: int, text: str) -> None:
    assert show_size(count) == text
