"""The parts of bench/ that a benchmark stands on; nothing is timed."""

from __future__ import annotations

import json
import math
import os
import stat
import struct
from pathlib import Path

import pytest

from bench import memory, prepare, results
from hartwell.layout import RAM_OFFSET


def test_geometric_mean() -> None:
    assert results.geometric_mean([1, 4, 16]) == pytest.approx(4)
    assert math.isnan(results.geometric_mean([]))


def test_table() -> None:
    text = results.table(["kernel", "ms"], [["sieve", 1.234], ["fib", None]])
    assert text.splitlines() == ["| kernel | ms |", "|---|---:|", "| sieve | 1.23 |", "| fib | - |"]


def test_bars_are_well_formed() -> None:
    from xml.etree import ElementTree

    plot = results.bars("Title", {"sieve": {"qemu": 8.0, "v86": None}, "fib": {"qemu": 0.5, "v86": 30.0}}, "x")
    root = ElementTree.fromstring(plot)
    titles = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["sieve, qemu: 8x", "fib, qemu: 0.5x", "fib, v86: 30x"]


def test_results_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    results.write("some", {"figure": 1}, "| a |", "<svg/>")
    figures = json.loads((tmp_path / "some.json").read_text())
    assert figures["figure"] == 1 and figures["machine"]["cores"] == os.cpu_count()
    assert "| a |" in (tmp_path / "some.md").read_text() and (tmp_path / "some.svg").read_text() == "<svg/>"


def test_overhead_counts_all_but_guest_ram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of 301 MiB, of which the machine has one page of tables and three of guest RAM."""
    tables, start = 40 << 20, 0x10000000
    total = memory.RAM + tables
    (tmp_path / "smaps").write_text(
        f"{start:x}-{start + total:x} rw-p 00000000 00:00 0 \nRss: 20 kB\n"
        "7f0000000000-7f0000100000 rwxp 00000000 00:00 0 \nRss: 1024 kB\n"
    )
    (tmp_path / "smaps_rollup").write_text("Rss: 409600 kB\nPss: 307200 kB\nPss_Dirty: 1 kB\n")
    (tmp_path / "status").write_text("VmRSS: 400000 kB\nRssAnon: 307200 kB\nVmSwap: 1024 kB\n")
    own, zero = 1 << 63 | 1 << 56, 1 << 63
    first = RAM_OFFSET // memory.PAGE
    last = first + memory.RAM // memory.PAGE - 1
    with (tmp_path / "pagemap").open("wb") as pagemap:
        pagemap.truncate((start + total) // memory.PAGE * 8)
        for page, entry in [(5, own), (first, own), (first + 1, zero), (first + 2, own), (last, own)]:
            pagemap.seek((start // memory.PAGE + page) * 8)
            pagemap.write(struct.pack("<Q", entry))
    monkeypatch.setattr(memory, "_tabs", lambda browser: [tmp_path])
    resident = memory.machine_tab(1, total)
    assert vars(resident) == {
        "footprint": 301 << 20, "pss": 300 << 20, "ram": 3 * memory.PAGE, "machine": memory.PAGE, "code": 1 << 20, "most": 0,
    }
    assert resident.overhead == (301 << 20) - 3 * memory.PAGE


def test_an_archive_after_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "FOLDER", tmp_path)
    (tmp_path / "kernels-riscv64").write_bytes(b"program")
    prepare._append("initrd", b"first", "riscv64", b"text")
    data = (tmp_path / "initrd").read_bytes()
    assert data.startswith(b"first070701") and b"bench/kernels\0" in data
    assert b"%08X" % (stat.S_IFREG | 0o755) in data
