"""A page's machine runs before Python is up, and Python adopts it, in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Playwright, Route

from tests.e2e.conftest import chromium
from tests.e2e.tab import PythonError, Tab

# Changes what sleeps in IndexedDB: `change` gets the database's stores and the manifest's text.
CHANGE = """async (change) => {
    const settled = (request) => new Promise((yes) => { request.onsuccess = () => yes(request.result); });
    const database = await settled(indexedDB.open("hartwell"));
    const stores = database.transaction(["records", "chunks"], "readwrite");
    const [records, chunks] = ["records", "chunks"].map((name) => stores.objectStore(name));
    const key = ["snapshot", "desk"];
    const record = await settled(records.get(key));
    await eval(change)({ settled, records, chunks, key, record });
    database.close();
}"""
OTHERWISE = """async ({ settled, records, key, record }) =>
    settled(records.put({ ...record, text: record.text.replace('"bare":false', '"bare":true') }, key))"""
NO_MEMORY = """async ({ settled, chunks, record }) => {
    const areas = JSON.parse(record.text.split("\\n")[1]).areas;
    const names = ({ chunks }) => {
        const bytes = Uint8Array.from(atob(chunks), (letter) => letter.charCodeAt(0));
        const hex = (list) => Array.from(list, (byte) => byte.toString(16).padStart(2, "0")).join("");
        return Array.from({ length: bytes.length / 40 }, (_, i) => hex(bytes.subarray(40 * i + 8, 40 * i + 40)));
    };
    const kept = new Set(names(areas.rings));
    for (const name of names(areas.ram)) if (!kept.has(name)) await settled(chunks.put(new Uint8Array([1, 2, 3]), name));
}"""


@pytest.fixture
def context(playwright: Playwright, tmp_path: Path, server: str) -> Iterator[BrowserContext]:
    """Chromium where a machine sleeps as "desk"."""
    context = chromium(playwright, tmp_path / "profile")
    tab = Tab(context.new_page(), server).boot("?image=shell")
    tab.python("Machine.checkpoint_seconds = None")
    tab.run("echo kept > /tmp/kept")
    tab.python("await machine.hibernate('desk')")
    # Where the boot took long it was saved meanwhile, under a name of its own.
    tab.python("for one in await Machine.snapshots():\n    if one.name != 'desk': await Machine.delete_snapshot(one.name)")
    tab.page.close()
    yield context
    context.close()


def without_python(context: BrowserContext, server: str) -> tuple[Tab, list[Route]]:
    """A page whose Python waits for a file, and the request for that."""
    tab = Tab(context.new_page(), server)
    held: list[Route] = []
    tab.page.route("**/pyodide.asm.wasm", lambda route: held.append(route))
    tab.page.goto(server)
    tab.wait_for_state("running")
    assert tab.page.evaluate("Promise.race([window.hartwell.ready.then(() => 'up'), Promise.resolve('not yet')])") == "not yet"
    return tab, held


def let_python_come(tab: Tab, held: list[Route]) -> None:
    """Gives it the file, which it asks for a moment after the machine runs."""
    for _ in range(2400):
        if held:
            break
        tab.page.wait_for_timeout(100)
    assert len(held) == 1
    held[0].continue_()


def test_it_runs_before_python_and_is_adopted(context: BrowserContext, server: str) -> None:
    tab, held = without_python(context, server)
    tab.type("echo be''fore; n=1\n")
    tab.wait_for_screen("\nbefore")
    # Work that goes on over the handover, and keys of which some come before it and some after.
    tab.type("while sleep 0.05; do echo $n > /tmp/m; mv /tmp/m /tmp/n; n=$((n+1)); done &\n")
    tab.type("cat > /tmp/typed\n")
    let_python_come(tab, held)
    words = [f"word{number}" for number in range(60)]
    for word in words:
        tab.type(f"{word}\n")
    tab.page.evaluate("window.hartwell.ready")
    tab.page.keyboard.press("Control+d")
    assert tab.run("while ! grep -q word59 /tmp/typed; do sleep 0.1; done; cat /tmp/typed").split() == words
    assert tab.run("cat /tmp/kept") == "kept\n"
    assert int(tab.run("cat /tmp/n")) > 0
    assert tab.python("[machine.name, machine.state, Machine.shown is machine]") == ["desk", "running", True]
    # Python's console knows what came before it, and so does the terminal, once.
    assert tab.python(r"machine.console.transcript.replay().decode().count('\nbefore')") == 1
    assert tab.screen().count("\nbefore") == 1
    with pytest.raises(PythonError, match="MachineInUse"):
        tab.python("await Machine.wake('desk', show=False)")
    # Its devices are Python's now: the shared folder, entropy, a socket.
    assert tab.run("echo shared > /mnt/host/file && cat /mnt/host/file") == "shared\n"
    assert tab.run("head -c 8 /dev/hwrng | wc -c") == "8\n"
    for _ in range(60):  # its clock is set behind the handover
        before, now = tab.python("import time; time.time()"), int(tab.run("sleep 1; date +%s"))
        if right := before - 5 < now < tab.python("time.time()") + 5:
            break
    assert right
    assert tab.errors == []

    # It sleeps and wakes as any other: that it was adopted is not seen in what is kept.
    tab.python("await machine.checkpoint()")
    count = int(tab.run("cat /tmp/n"))
    tab.python("await machine.hibernate()")
    tab.page.close()
    tab, held = without_python(context, server)
    tab.type("echo ag''ain\n")
    tab.wait_for_screen("\nagain")
    let_python_come(tab, held)
    assert int(tab.run("cat /tmp/n")) >= count
    assert tab.run("cat /tmp/kept") == "kept\n"
    # By Python alone it is the same machine.
    tab.python("await machine.hibernate()")
    tab.python("machine = await Machine.wake('desk', lazy=False)")
    assert int(tab.run("cat /tmp/n")) >= count
    assert tab.errors == []


def woken_by_python(context: BrowserContext, server: str) -> Tab:
    """A page whose machine did not wake before Python was up."""
    tab = Tab(context.new_page(), server)
    tab.open()
    tab.wait_for_state("running")
    assert tab.page.evaluate("hartwell.ready.then(({ adopted }) => adopted)") is False
    return tab


def with_disks(context: BrowserContext, server: str, disks: str) -> Tab:
    """A page with a machine that has them, and no other."""
    tab = Tab(context.new_page(), server)
    tab.open("?boot=no")
    tab.python(
        "for one in await Machine.snapshots(): await Machine.delete_snapshot(one.name)\n"
        "from hartwell.disks import Disk\nMachine.checkpoint_seconds = None\n"
        f"machine = await Machine.boot('shell', harts=1, disks={disks})")
    return tab


def test_its_disk_is_served_before_python(context: BrowserContext, server: str) -> None:
    tab = with_disks(context, server, "[Disk(size='64M', overlay='data', cache='16M'), bytes(range(256)) * 16]")
    tab.run("modprobe ext4; mkdir /disk; mke2fs /dev/vda > /dev/null 2>&1; mount -t ext4 /dev/vda /disk")
    tab.run("head -c 9000000 /dev/urandom > /disk/noise; md5sum /disk/noise > /tmp/sum")
    tab.run("dd if=/dev/zero of=/dev/vdb bs=512 count=1")
    tab.run("echo slept > /disk/then; sync; echo 3 > /proc/sys/vm/drop_caches")
    tab.python("await machine.checkpoint('desk')")
    tab.run("echo undone > /disk/then; sync")  # after the snapshot: memory and disk are of one moment
    tab.page.close()

    tab, held = without_python(context, server)
    tab.type("cat /disk/then; md5sum -c /tmp/sum; hexdump -n 514 -s 510 -C /dev/vdb | head -n 1; echo ea''rly\n")
    shown = tab.wait_for_screen("\nearly")
    assert "\nslept" in shown and "noise: OK" in shown and "00 00 00 01 02 03" in shown, "read from the disks"
    tab.type("head -c 5000000 /dev/urandom > /disk/new; md5sum /disk/new > /disk/sum; sync\n")
    tab.type("echo 3 > /proc/sys/vm/drop_caches; echo fl''ushed\n")
    tab.wait_for_screen("\nflushed")
    let_python_come(tab, held)
    assert tab.run("md5sum -c /disk/sum; md5sum -c /tmp/sum") == "/disk/new: OK\n/disk/noise: OK\n"
    assert tab.python("await machine.disks.commit()\nawait machine.disks.errors()") == [None]
    assert tab.python("(await machine.disks.export(0)).size") == 64 << 20
    # Nobody else writes it meanwhile.
    other = Tab(context.new_page(), server)
    other.open("?boot=no")
    with pytest.raises(PythonError, match="DiskInUse"):
        other.python(
            "from hartwell.disks import Disk\n"
            "await Machine.boot('shell', disks=[Disk(size='64M', overlay='data')], show=False)")
    other.page.close()
    tab.python("await machine.hibernate()")
    # By Python, and the other way again.
    tab.python("machine = await Machine.wake('desk')")
    assert tab.run("echo 3 > /proc/sys/vm/drop_caches; md5sum -c /disk/sum; cat /disk/then") == "/disk/new: OK\nslept\n"
    tab.python("await machine.hibernate()")
    tab.page.close()
    tab, held = without_python(context, server)
    let_python_come(tab, held)
    assert tab.run("umount /disk && mount -t ext4 /dev/vda /disk") == ""
    assert tab.run("md5sum -c /disk/sum && cat /disk/then") == "/disk/new: OK\nslept\n"
    assert tab.run("dmesg | grep -i 'ext4-fs error\\|I/O error' || true") == ""
    assert tab.errors == []


def test_a_disk_that_another_machine_has_changed_is_left_to_python(context: BrowserContext, server: str) -> None:
    tab = with_disks(context, server, "[Disk(size='64M', overlay='data')]")
    tab.run("echo first | dd of=/dev/vda conv=sync")
    tab.python("await machine.hibernate('desk')")
    tab.python("machine = await Machine.boot('shell', harts=1, disks=[Disk(size='64M', overlay='data')])")
    tab.run("echo second | dd of=/dev/vda conv=sync,fsync")
    tab.python("await machine.close()")
    tab.page.close()
    tab = woken_by_python(context, server)
    assert tab.run("head -n 1 /dev/vda") == "first\n"
    assert "are kept as 'data 2'" in tab.wait_for_screen("data 2")
    assert tab.errors == []


def test_who_does_not_know_what_a_recipe_needs_leaves_it_to_python(context: BrowserContext, server: str) -> None:
    tab = with_disks(context, server, "[Disk(size='64M', overlay='data')]")
    tab.run("echo kept | dd of=/dev/vda conv=sync")
    tab.python("await machine.hibernate('desk')")
    needs = tab.python(
        "from hartwell.snapshot.manifest import parse\n"
        "store = machine._platform.store\n"
        "manifest = parse(await store.get_record('snapshot', 'desk'), '')\n"
        "was = [manifest.recipe['needs'][:], 'layout' in manifest.recipe]\n"
        "manifest.recipe['needs'].append('more')\n"
        "await store.put_record('snapshot', 'desk', about=manifest.about(), text=manifest.text(), refs=manifest.refs())\n"
        "was")
    assert needs == [["disks"], False], "readers that know of no needs look for the layout"
    tab.page.close()
    tab = woken_by_python(context, server)
    assert tab.run("head -n 1 /dev/vda") == "kept\n"
    assert tab.errors == []


def test_another_tab_is_told(context: BrowserContext, server: str) -> None:
    tab, held = without_python(context, server)
    let_python_come(tab, held)
    other = Tab(context.new_page(), server)
    other.open("?boot=no")
    with pytest.raises(PythonError, match="runs already"):
        other.python("await Machine.wake('desk')")
    assert other.python("(await Machine.wake('desk', fork=True, show=False)).state") == "running"
    assert tab.run("cat /tmp/kept") == "kept\n"


def test_a_machine_that_stops_before_python_is_up(context: BrowserContext, server: str) -> None:
    tab, held = without_python(context, server)
    tab.type("echo last''words; poweroff -f\n")
    tab.wait_for_screen("\nlastwords")
    tab.page.wait_for_timeout(1000)
    let_python_come(tab, held)
    tab.wait_for_state("stopped")
    for _ in range(1200):  # there is no state to come back to
        if not (shelf := tab.python("[one.name for one in await Machine.snapshots()]")):
            break
        tab.page.wait_for_timeout(100)
    assert shelf == []


@pytest.mark.parametrize(("change", "said"), [(OTHERWISE, "its manifest is damaged"), (NO_MEMORY, "damaged")])
def test_damage_is_named(context: BrowserContext, server: str, change: str, said: str) -> None:
    page = context.new_page()
    page.goto(server + "?boot=no")
    page.evaluate(CHANGE, f"({change})")
    page.close()
    tab = Tab(context.new_page(), server)
    tab.page.goto(server)
    assert said in tab.wait_for_notice()
    assert "SnapshotCorrupt" in tab.notice()
    assert "desk" in tab.python("[one.name for one in await Machine.snapshots()]")
