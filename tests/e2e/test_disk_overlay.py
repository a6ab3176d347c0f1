"""Disks whose changes are kept, in Chromium: over a kill of the browser, and of what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import test_hibernation
from tests.e2e.tab import PythonError, Tab

launch = test_hibernation.launch
DISKS = "disks=[hartwell.disks.Disk(size='64M', overlay='data')]"


def boot(tab: Tab) -> None:
    """The shell with a disk of its own; the page boots nothing before."""
    tab.open("?boot=no")
    tab.python("import hartwell.disks")
    tab.python(f"machine = await Machine.boot('shell', harts=2, share=None, network=None, {DISKS})")
    tab.run("modprobe ext4")


def test_what_was_synced_is_there_after_a_kill(launch: test_hibernation.Launch, server: str, tmp_path: Path) -> None:
    tab = Tab(launch().new_page(), server)
    boot(tab)
    # Twice: without a journal Linux writes inodes after a sync's flush; the second one's flush is for them.
    assert tab.run(
        "mke2fs /dev/vda > /dev/null && mount -t ext4 /dev/vda /mnt && cd /mnt && head -c 9000000 /dev/urandom > noise"
        " && md5sum noise > sum && echo first > file && sync && sync && echo synced"
    ) == "synced\n"
    # Two that sync side by side: one's flush comes while the other's commit is at work.
    assert tab.run(
        "cd /mnt; for who in a b; do (for i in 1 2 3 4 5 6 7 8; do echo $i > $who.$i; sync; done) & done; wait;"
        " ls | grep -c '[.]'"
    ) == "16\n"
    assert tab.run("echo second > /mnt/file && sync && sync && cat /mnt/file") == "second\n"
    test_hibernation._kill(tmp_path / "profile")

    tab = Tab(launch().new_page(), server)
    boot(tab)
    assert tab.run("mount -t ext4 /dev/vda /mnt && cd /mnt && md5sum -c sum && cat file a.8 b.8") == "noise: OK\nsecond\n8\n8\n"
    # Another machine's while this one has it.
    with pytest.raises(PythonError, match=r"DiskInUse.*another tab"):
        tab.python(f"await Machine.boot('shell', show=False, share=None, network=None, {DISKS})")
    assert tab.run("umount /mnt && echo gone") == "gone\n"
    assert tab.errors == []


def test_a_killed_browser_wakes_with_its_disk(launch: test_hibernation.Launch, server: str, tmp_path: Path) -> None:
    """Memory and disk of one moment, over IndexedDB; what was synced after the last save is undone."""
    tab = Tab(launch().new_page(), server)
    boot(tab)
    tab.python("Machine.checkpoint_seconds = None")
    tab.run(
        "mke2fs /dev/vda > /dev/null && mount -t ext4 /dev/vda /mnt && cd /mnt && head -c 9000000 /dev/urandom > noise"
        " && md5sum noise > sum && echo first > file"
    )
    tab.python("await machine.checkpoint('desk')")
    assert tab.run("cd /mnt && rm noise && echo second > file && sync && sync && echo synced") == "synced\n"
    test_hibernation._kill(tmp_path / "profile")

    tab = Tab(launch().new_page(), server)
    tab.open()  # a visit wakes what was saved
    tab.wait_for_state("running")
    assert tab.run("sync; echo 3 > /proc/sys/vm/drop_caches; cd /mnt && cat file && md5sum -c sum") == "first\nnoise: OK\n"
    assert tab.run("echo third > /mnt/file && sync && sync && echo synced") == "synced\n"
    assert tab.python("[bool(error) for error in await machine.disks.errors()]") == [False]
    tab.press("Sleep")
    tab.wait_for_state("asleep")
    tab.press("Wake")
    tab.wait_for_state("running")
    assert tab.run("sync; echo 3 > /proc/sys/vm/drop_caches; cat /mnt/file") == "third\n"
    assert tab.errors == []
