"""The full Debian in Chromium: packages by the relay, a compiler, python3.  Takes minutes, and needs the image:
`hartwell image build debian`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, serving
from tests.e2e.tab import Tab
from tests.e2e.test_storage import run_in_node
from tests.suites.archive import from_suite, whole_suite

pytestmark = pytest.mark.slow

BOOT_SECONDS, STEP_SECONDS = 900, 1500
IMAGE = ROOT / "static/images/debian/disk.bin"


def run(tab: Tab, command: str) -> str:
    """What a command in the guest prints; it must succeed."""
    result = tab.python(f"r = await machine.run({command!r}, timeout={STEP_SECONDS}); [r.returncode, r.stdout, r.stderr]")
    assert result[0] == 0, f"{command}: {result}"
    return str(result[1])


def patient(tab: Tab) -> Tab:
    """Opened, without a machine, and with time for what Debian takes."""
    tab.page.set_default_timeout(STEP_SECONDS * 1000)
    tab.open("?boot=no")
    return tab


@pytest.fixture(scope="module")
def debian(new_tab: Callable[..., Tab]) -> Iterator[Tab]:
    """A machine of that image on the relay, whose changes are forgotten."""
    if not IMAGE.is_file():
        pytest.skip("there is no debian image; `hartwell image build debian` makes it")
    with serving() as address:
        tab = patient(new_tab(address))
        tab.python("machine = await Machine.boot('debian', network='relay', overlay=None, memory='1G')")
        tab.expect("root@debian:~# ", BOOT_SECONDS)
        yield tab
        assert tab.errors == []
        tab.page.close()


def test_a_package_is_installed_with_apt(debian: Tab) -> None:
    suite = whole_suite()
    [status] = debian.python("machine.network.status")
    if status["state"] == "failed":
        pytest.skip(f"no relay on this machine: {status['error']}")
    run(debian, "for i in $(seq 300); do ip -4 addr show eth0 | grep -q inet && exit; sleep 0.2; done; exit 1")
    run(debian, from_suite(suite))
    run(debian, "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends hello")
    assert run(debian, "hello") == "Hello, world!\n"
    assert "10.0.2.4" in run(debian, "getent ahostsv4 debian.hartwell")
    assert run(debian, "/usr/sbin/archive-proxy http://debian.hartwell/debian") == "DIRECT\n"


def test_a_program_is_compiled_and_run(debian: Tab) -> None:
    source = '#include <stdio.h>\n#include <math.h>\n'
    source += 'int main(int count, char **words) { printf("%.3f %s\\n", sqrt(count + 1.0), *words); }\n'
    debian.python(f"await machine.files.write('/tmp/a.c', {source!r}.encode())")
    assert run(debian, "cd /tmp && gcc -O2 -Wall -o a a.c -lm && ./a") == "1.414 ./a\n"


def test_python_runs_scripts(debian: Tab) -> None:
    script = "import json, sqlite3, sys; print(json.dumps({'sum': sum(range(100)), 'version': sys.version_info[0]}))"
    assert run(debian, f'python3 -c "{script}"') == '{"sum": 4950, "version": 3}\n'


FRAMES = """
import re, struct, subprocess
found = []
for _ in range(2):
    one = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    one.stdin.write(b"x"); one.stdin.flush(); one.stdout.read(1)
    maps = open(f"/proc/{one.pid}/maps").read()
    start = int(re.search(r"^([0-9a-f]+)-.* r-xp .*/libc.so.6$", maps, re.M)[1], 16)
    with open(f"/proc/{one.pid}/pagemap", "rb") as file:
        file.seek(start // 4096 * 8)
        pages = struct.unpack("<256Q", file.read(2048))
    found.append([page & (1 << 55) - 1 if page >> 63 else 0 for page in pages])
both = [(a, b) for a, b in zip(*found) if a and b]
print(sum(a == b for a, b in both), sum(a != b for a, b in both))
"""


def test_a_shared_library_is_in_memory_once(debian: Tab) -> None:
    """Two processes have the same page frames of the C library's code (/proc/PID/pagemap)."""
    debian.python(f"await machine.files.write('/tmp/frames.py', {FRAMES!r}.encode())")
    same, other = map(int, run(debian, "python3 /tmp/frames.py").split())
    assert same > 10 and other == 0


def test_all_units_are_up(debian: Tab) -> None:
    assert run(debian, "systemctl is-system-running --wait").strip() == "running"


def test_the_machine_that_was_booted_ahead_keeps_what_it_writes(new_tab: Callable[..., Tab]) -> None:
    """It wakes without a boot, and its disk is the one that the image boots with from then on."""
    if not (ROOT / "static/snapshots/debian.hartwell").is_file():
        pytest.skip("there is no debian that was booted ahead; `hartwell image build debian` leaves one")
    with serving() as address:
        tab = patient(new_tab(address))
        tab.python("machine = await Machine.open('debian')")
        boot = run(tab, "cat /proc/sys/kernel/random/boot_id")
        run(tab, "echo kept >/root/kept; sync; sync")
        tab.python("await machine.close()\nmachine = await Machine.open('debian')")
        tab.expect("root@debian:~# ", BOOT_SECONDS)
        assert run(tab, "cat /root/kept") == "kept\n"
        assert run(tab, "cat /proc/sys/kernel/random/boot_id") != boot
        assert tab.errors == []
        tab.page.close()


RUNNING = """
import json
machine = await Machine.boot("debian", overlay="kept", network=None, share=None, show=False)
await machine.console.expect("root@debian:~# ", timeout=1500)
await machine.run("echo kept >/root/kept", timeout=1500)
await machine.disks.export(0, FOLDER + "/running.raw")
done = await machine.run("echo later >/root/later; sync; cat /root/kept", timeout=1500)
await machine.close()
print(json.dumps(done.stdout))
"""


def test_the_disk_of_a_running_machine_is_whole_when_it_is_written(tmp_path: Path) -> None:
    """The agent freezes the file systems for the moment in which it is taken: there is not even a journal to replay."""
    checker = shutil.which("e2fsck", path="/usr/sbin:/sbin:/usr/bin")
    if checker is None or not IMAGE.is_file():
        pytest.skip("there is no debian image, or no e2fsck on this machine")
    assert run_in_node(f"FOLDER = {str(tmp_path)!r}\n" + RUNNING, tmp_path / "store", BOOT_SECONDS + STEP_SECONDS) == "kept\n"
    checked = subprocess.run([checker, "-fn", tmp_path / "running.raw"], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert "recover" not in checked.stdout
