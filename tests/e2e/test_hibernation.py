"""Sleep and wake in Chromium, over exits and kills of the browser."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Playwright

from tests.e2e.conftest import chromium
from tests.e2e.tab import PROMPT, PythonError, Tab
from tests.e2e.test_storage import CHUNK_KEYS, whole_chunks

Launch = Callable[[], BrowserContext]


@pytest.fixture
def launch(playwright: Playwright, tmp_path: Path) -> Iterator[Launch]:
    """Starts Chromium on one profile, again and again."""
    contexts: list[BrowserContext] = []

    def start() -> BrowserContext:
        contexts.append(chromium(playwright, tmp_path / "profile"))
        return contexts[-1]

    yield start
    for context in contexts:
        try:
            context.close()
        except Exception:  # noqa: BLE001 - it was killed
            continue


def _kill(profile: Path) -> None:
    """kill -9 of the browser process of this profile, which takes the others with it."""
    wanted = f"--user-data-dir={profile}"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted.encode() in words and not any(word.startswith(b"--type=") for word in words):
            os.kill(int(entry.name), signal.SIGKILL)


def _keep_counting(tab: Tab, seconds: float) -> None:
    """In the guest, from now on, once every `seconds`; the file has a number at any moment."""
    tab.run(f"(i=0; while sleep {seconds}; do i=$((i+1)); echo $i > /tmp/next; mv /tmp/next /tmp/count; done) > /dev/null 2>&1 &")


def _count(tab: Tab) -> int:
    return int(tab.run("cat /tmp/count"))


def _counts_on(tab: Tab, before: int) -> None:
    """Sooner or later the guest has counted beyond this."""
    tab.run(f"while [ $(cat /tmp/count) -le {before} ]; do sleep 0.1; done")


def test_sleeps_over_an_exit_of_the_browser(launch: Launch, server: str) -> None:
    """A process that counts, an editor with unsaved text, a pipe, a timer and two busy harts."""
    context = launch()
    tab = Tab(context.new_page(), server).boot("?harts=2")
    _keep_counting(tab, 0.1)
    tab.run("(sleep 20; echo fired >> /tmp/timer) > /dev/null 2>&1 &")
    tab.run("(i=0; while sleep 0.1; do i=$((i+1)); echo $i; done | while read n; do echo $n >> /tmp/got; done) >&- 2>&- &")
    busy = tab.run("for hart in 0 1; do (while :; do :; done) > /dev/null 2>&1 & echo $!; done").split()
    tab.type("vi /tmp/text\n")
    tab.wait_for_screen("\n- /tmp/text")  # its last line, before it takes commands
    tab.type("iunsaved words")
    tab.wait_for_screen("unsaved words")
    before = _count(tab)
    tab.press("Sleep")
    tab.wait_for_state("asleep")
    errors = tab.errors
    context.close()
    assert errors == []

    tab = Tab(launch().new_page(), server)
    tab.open()
    tab.wait_for_state("running")
    assert "unsaved words" in tab.wait_for_screen("unsaved words")
    first = _count(tab)
    assert first >= before
    _counts_on(tab, first)
    tab.page.keyboard.press("Escape")
    tab.wait_for_screen("\n- /tmp/text")  # what is typed before would be the rest of a key's name for vi
    tab.type(":wq\n")
    tab.expect(PROMPT)
    assert tab.run("cat /tmp/text") == "unsaved words\n"
    through = [int(word) for word in tab.run("cat /tmp/got").split()]
    assert through == list(range(1, len(through) + 1)), "nothing was lost in the pipe or came twice"
    tab.run(f"while [ $(wc -l < /tmp/got) -le {len(through)} ]; do sleep 0.1; done")
    for _ in range(400):
        if timer := tab.run("cat /tmp/timer 2>/dev/null || true"):
            break
        tab.page.wait_for_timeout(500)
    assert timer == "fired\n", "the timer fired once"
    for process in busy:  # gets processor time, in ticks
        ticks = f"$(cut -d ' ' -f 14 /proc/{process}/stat)"
        tab.run(f"before={ticks}; while [ {ticks} -le $before ]; do sleep 0.1; done")
    assert tab.errors == []


# Does it have a disk, and does Python wake it, or the page before Python is up?
WAYS = pytest.mark.parametrize(
    ("disk", "early"), [(True, False), (False, True), (True, True)],
    ids=["with a disk, by Python", "without, before Python is up", "with a disk, before Python is up"])


@WAYS
def test_a_killed_browser_wakes_from_the_last_checkpoint(
    launch: Launch, server: str, tmp_path: Path, disk: bool, early: bool
) -> None:
    _killed_and_woken(launch, server, tmp_path / "profile", 2, disk, early)


@pytest.mark.slow
@WAYS
def test_a_hundred_kills(launch: Launch, server: str, tmp_path: Path, disk: bool, early: bool) -> None:
    _killed_and_woken(launch, server, tmp_path / "profile", 100, disk, early)


def _killed_and_woken(launch: Launch, server: str, profile: Path, times: int, disk: bool, early: bool) -> None:
    """Kills the browser again and again while it saves every two seconds, memory and a disk in use."""
    interval = 2
    tab = Tab(launch().new_page(), server)
    tab.open("?boot=no")
    disks = "[Disk(size='64M', overlay='data', cache='16M')]" if disk else "[]"
    tab.python(
        f"Machine.checkpoint_seconds = {interval}\nfrom hartwell.disks import Disk\n"
        f"machine = await Machine.boot('shell', harts=1, disks={disks})"
    )
    places = ["/tmp"]
    if disk:
        tab.run("modprobe ext4; mke2fs /dev/vda > /dev/null 2>&1; mount -t ext4 /dev/vda /mnt")
        places.append("/mnt")
    # Memory and the disk are written on and on; the numbers are in place at once, so that nobody reads half of one.
    for place in places:
        tab.run(f"cd {place}; dd if=/dev/urandom of=file bs=1k count=500 2>/dev/null; md5sum file > sum; sync")
        tab.run(
            f"(cd {place}; while sleep 0.2; do date +%s > next; mv next now; head -c 300000 /dev/urandom > noise; done)"
            " > /dev/null 2>&1 & echo $! > /tmp/writer; sleep 1"
        )
    while not tab.python("machine.name"):
        tab.page.wait_for_timeout(500)
    for attempt in range(times):
        tab.page.wait_for_timeout(2500 + 700 * (attempt * 7 % 5))
        seen = int(tab.run("cat /tmp/now"))
        killed = time.time()
        _kill(profile)
        tab = Tab(launch().new_page(), server)
        if early:
            tab.open()
            tab.python(f"Machine.checkpoint_seconds = {interval}")
            assert tab.page.evaluate("hartwell.ready.then(({ adopted }) => adopted === true)")
        else:
            tab.open("?boot=no")
            tab.python(f"Machine.checkpoint_seconds = {interval}")
            shelf = tab.python("[[one.name, one.time] for one in await Machine.snapshots()]")
            assert len(shelf) == 1
            # Two intervals, and what a busy host takes to write one.
            assert killed - shelf[0][1] < 2 * interval + 60
            tab.python(f"machine = await Machine.wake({shelf[0][0]!r})")
        if disk:  # what is on it, not what the guest's kernel remembers of it
            tab.run("echo 3 > /proc/sys/vm/drop_caches")
        for place in places:
            assert tab.run(f"cd {place}; md5sum -c sum") == "file: OK\n"
            assert int(tab.run(f"cat {place}/now")) >= seen - 2 * interval - 60
        assert tab.run("dmesg | grep -i 'ext4-fs error\\|I/O error' || true") == ""
    if disk:
        tab.run("kill $(cat /tmp/writer); sleep 1; umount /mnt && mount -t ext4 /dev/vda /mnt")
        assert tab.run("cd /mnt; md5sum -c sum") == "file: OK\n"
    assert tab.errors == []


def test_a_store_keeps_what_is_needed_and_nothing_else(launch: Launch, server: str) -> None:
    """A snapshot is deleted under a machine that runs; checkpoints replace each other."""
    tab = Tab(launch().new_page(), server).boot("?harts=1")
    tab.python("Machine.checkpoint_seconds = None\nimport hartwell.snapshot.saver as saver\nsaver.GARBAGE_BYTES = 1 << 20")
    tab.python(
        "await machine.checkpoint('desk')\n"
        "for one in await Machine.snapshots(): await Machine.delete_snapshot(one.name)"
    )
    assert tab.page.evaluate(CHUNK_KEYS) == []
    for _ in range(3):
        tab.run("head -c 3000000 /dev/urandom > /tmp/noise")
        tab.python("await machine.checkpoint('desk')")
    tab.run("md5sum /tmp/noise > /tmp/sum")
    tab.python("await machine.hibernate('desk')")
    tab.python("machine = await Machine.wake('desk')")
    assert tab.run("md5sum -c /tmp/sum") == "/tmp/noise: OK\n"
    refs = tab.python(
        "from hartwell.snapshot.manifest import parse\nfrom hartwell import platform\nstore = platform.current().store\n"
        "machine._saver.stream and await machine._saver.stream\n"
        "len(parse(await store.get_record('snapshot', 'desk'), '').refs()) // 32"
    )
    for _ in range(100):  # what follows a wake may still be noting what it touched
        tab.python("await store.collect()")
        if (kept := len(whole_chunks(tab.page.evaluate(CHUNK_KEYS)))) == refs:
            break
        tab.page.wait_for_timeout(200)
    assert kept == refs
    assert tab.errors == []


def test_two_tabs_never_run_one_machine(launch: Launch, server: str) -> None:
    context = launch()
    one = Tab(context.new_page(), server).boot("?harts=1")
    one.run("echo of-the-first > /tmp/who")
    one.python("await machine.hibernate('desk')")
    one.wait_for_state("asleep")
    one.press("Wake")
    one.wait_for_state("running")
    two = Tab(context.new_page(), server)
    two.open("?boot=no")
    with pytest.raises(PythonError, match=r"MachineInUse.*another tab.*fork=True"):
        two.python("await Machine.wake('desk')")
    two.python("machine = await Machine.wake('desk', fork=True)")
    assert two.run("cat /tmp/who") == "of-the-first\n"
    seeds = {tab.run("head -c 16 /dev/urandom | od -An -x") for tab in (one, two)}
    assert len(seeds) == 2
    with pytest.raises(PythonError, match="another machine sleeps as 'desk'"):
        two.python("await machine.checkpoint('desk')")
    one.page.close()
    two.python("import asyncio\nwhile await Machine.in_use('desk'): await asyncio.sleep(0.1)")
    two.python("await Machine.wake('desk', show=False, platform=None)\nNone")
    assert two.errors == []


def test_moves_to_another_tab_while_it_runs(launch: Launch, server: str) -> None:
    context = launch()
    one = Tab(context.new_page(), server).boot("?harts=2")
    _keep_counting(one, 0.02)
    one.run("(while :; do head -c 3000000 /dev/urandom > /tmp/noise; done) > /dev/null 2>&1 &")
    one.type("echo typed-$((40+1))\n")
    one.wait_for_screen("typed-41")
    one.python("await machine.checkpoint('desk')")
    two = Tab(context.new_page(), server)
    two.open("?boot=no")
    before = _count(one)
    two.page.on("dialog", lambda dialog: dialog.accept())
    two.page.get_by_role("button", name="Shelf").click()
    two.page.locator("hw-shelf-panel").get_by_role("button", name="Wake desk").click()
    two.wait_for_state("running")
    one.wait_for_state("asleep")
    assert "typed-41" in two.wait_for_screen("typed-41")
    assert _count(two) >= before
    assert two.python("0 < machine._saver.asleep_seconds < 60") is True
    _counts_on(two, _count(two))
    # And back, by name.
    one.python("machine = await Machine.wake('desk', move=True)")
    two.wait_for_state("asleep")
    assert _count(one) > before
    with pytest.raises(PythonError, match="SnapshotNotFound"):
        two.python("await Machine.wake('nobody', move=True)")
    print("stood still for", one.python("machine._saver.asleep_seconds"), "s")
    assert one.errors == two.errors == []


def test_shelf(launch: Launch, server: str, tmp_path: Path) -> None:
    """Save, rename, export, delete, import, wake: by the panel's buttons."""
    page = launch().new_page()
    tab = Tab(page, server).boot("?harts=1")
    # A boot that took long was saved on its way, or is just being saved.
    tab.python(
        "Machine.checkpoint_seconds = None\nasync with machine._saver.naming: machine.name = None\n"
        "for one in await Machine.snapshots(): await Machine.delete_snapshot(one.name)"
    )
    page.on("dialog", lambda dialog: dialog.accept("renamed" if dialog.type == "prompt" else ""))
    page.get_by_role("button", name="Shelf").click()
    panel = page.locator("hw-shelf-panel")
    panel.get_by_label("Name", exact=True).fill("first name")
    panel.get_by_role("button", name="Save and go on").click()
    panel.get_by_role("heading", name="first name").wait_for()
    assert "root@" in panel.locator("pre").inner_text()
    tab.type("echo only-$((40+1)) in the terminal\n")
    tab.wait_for_screen("only-41")
    tab.press("Sleep")
    tab.wait_for_state("asleep")
    page.get_by_role("button", name="Close Shelf").click()
    page.get_by_role("button", name="Shelf").click()
    panel.get_by_role("button", name="Rename first name").click()
    panel.get_by_role("heading", name="renamed").wait_for()
    with page.expect_download() as download:
        panel.get_by_role("button", name="Export renamed").click()
    file = tmp_path / "machine.hartwell"
    download.value.save_as(file)
    panel.get_by_role("button", name="Delete renamed").click()
    panel.get_by_text("No machine sleeps here yet.").wait_for()
    panel.locator('input[type="file"]').set_input_files(file)
    panel.get_by_role("heading", name="renamed").wait_for()
    panel.get_by_role("button", name="Wake renamed").click()
    tab.wait_for_state("running")
    tab.wait_for_screen("only-41")
    assert tab.run("echo alive") == "alive\n"
    tab.press("Sleep")
    tab.wait_for_state("asleep")
    # What is typed before the machine is up is for it.
    page.goto(server)
    page.wait_for_function("window.hartwell !== undefined")
    tab.type("echo early-$((40+2))\n")
    tab.wait_for_screen("early-42")
    assert tab.errors == []
