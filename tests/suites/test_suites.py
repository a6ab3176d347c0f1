"""fio with verify, iperf3, dd with checksums, git over 9p, thirty of python3's test modules, stress-ng --verify.

    python3 -m tests -m slow tests/suites                      # in Node, then in Chromium
    python3 -m tests -m slow tests/suites -k "node and fio"

Needs the image (`hartwell image build debian`), a Debian archive, and for iperf3 that program on this computer.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT
from tests.suites import guest as guests
from tests.suites.archive import from_suite, whole_suite
from tests.suites.guest import Guest

pytestmark = pytest.mark.slow

IMAGE = ROOT / "static/images/debian/disk.bin"
STRESS_SECONDS = int(os.environ.get("HARTWELL_STRESS_SECONDS", "600"))
LONG = 3600.0
PACKAGES = "fio iperf3 stress-ng git"

# Thirty that lean on the processor (numbers, floating point), the kernel
# (processes, signals, threads, files, sockets, memory) and libraries in C.
MODULES = (
    "array atexit binascii bisect bytes bz2 cmath complex decimal fcntl float fork1 fractions hashlib heapq int json "
    "long lzma math mmap os pickle poll queue random re select signal sqlite3 statistics struct subprocess thread "
    "threading time zlib"
).split()
CHOSEN = [f"test_{name}" for name in MODULES if name not in ("atexit", "bisect", "heapq", "queue", "binascii", "poll", "random")]
assert len(CHOSEN) == 30

# What leans on instructions, floating point, atomics, memory and its mappings,
# futexes, signals, pipes, sockets, files, processes.  Versions differ in what they have.
STRESSORS = (
    "atomic besselmath bitonicsort bitops branch brk bsearch clone context copy-file cpu crypt ctrig dekker dir dup "
    "eventfd expmath factor fault fifo flock fma fork fp fp-error fp-misc fp-subnormal fpunch funccall funcret futex gamma "
    "getrandom hash hdd heapsort hsearch hyperbolic icache insertionsort intmath itimer jpeg judy link list lockmix "
    "logmath longjmp lsearch madvise malloc matrix matrix-3d mcontend membarrier memcpy memfd memrate mergesort misaligned "
    "mlock mmap mmapcow mmapfork monte-carlo mpfr mprotect mremap msg msync mutex nanosleep opcode peterson pipe poll "
    "powmath prime ptrace pthread ptr-chase qsort radixsort randlist regs remap rename rseq sem sem-sysv sendfile "
    "shellsort shm shm-sysv sigabrt sigbus sigfd sigfpe signal sigq sigrt sigsegv sigtrap skiplist sock sockpair "
    "sparsematrix spinmem stack str stream switch sysbadaddr tee timer timerfd tlb-shootdown tree trig tsearch udp "
    "userfaultfd vdso veccmp vecfp vecmath vecshuf vecwide vfork vm vm-addr vm-rw vm-segv vma wait wcs yield zlib"
).split()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of iperf3's server on this computer, 0 where there is none."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    program = shutil.which("iperf3")
    if program is None:
        yield 0
        return
    server = subprocess.Popen([program, "--server", "--bind", "127.0.0.1", "--port", str(number)], stdout=subprocess.DEVNULL)
    yield number
    server.terminate()
    server.wait(10)


@pytest.fixture(scope="module", params=["node", "chromium"])
def debian(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Guest]:
    """A machine with the suites installed by its own apt."""
    if not IMAGE.is_file():
        pytest.skip("there is no debian image; `hartwell image build debian` makes it")
    suite, allow = whole_suite(), f"127.0.0.1:{port or 9}"
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "node":
        if guests.node_version() < 24:
            pytest.skip("Node.js before 24 stops translating after some thousand pages of code: this would take a day")
        # Kept for the next run, with what was installed.
        os.environ.setdefault("HARTWELL_DATA", str(folder / "data"))
        made = guests.node(folder, allow)
    else:
        made = guests.chromium(Path(os.environ.get("HARTWELL_SUITES_PROFILE", folder)), allow)
    with made as guest:
        guest.run("systemctl is-system-running --wait || systemctl --failed", 900)
        guest.run("for i in $(seq 300); do ip -4 addr show eth0 | grep -q inet && exit; sleep 0.2; done; exit 1", 300)
        if guest.execute(f"dpkg -s {PACKAGES} && ls -d /usr/lib/python3*/test/test_long.py", 300)[0]:
            guest.run(from_suite(suite), LONG)
            tests = "$(apt-cache depends python3 | sed -n 's/.*Depends: \\(python3\\.[0-9]*\\)$/lib\\1-testsuite/p' | head -1)"
            guest.run(
                f"DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends {PACKAGES} {tests}", 2 * LONG)
        yield guest
        words = "bug|oops|rcu|lockup|error|corrupt|panic"
        assert guest.run(f"dmesg --level=emerg,alert,crit,err,warn | grep -Ei '{words}' || true") == ""
        assert guest.problems() == ""


def test_fio_verifies_a_disk(debian: Guest) -> None:
    """Random and sequential writes with a checksum in each block, past the page
    cache and through it, then read again."""
    for words in ("--rw=randrw --bs=4k --direct=1 --ioengine=libaio --iodepth=16 --fsync=64",
                  "--rw=write --bs=256k --direct=1 --ioengine=libaio --iodepth=4",
                  "--rw=randwrite --bsrange=512-64k --ioengine=psync --fdatasync=32",
                  "--rw=randwrite --bs=4k --ioengine=mmap"):
        text = debian.run(
            "fio --name=verify --filename=/var/tmp/fio --size=64M --verify=crc32c --verify_fatal=1 --do_verify=1 "
            f"--verify_state_save=0 --randseed=7 --end_fsync=1 --output-format=json {words}", LONG)
        job = json.loads(text[text.index("{") : text.rindex("}") + 1])["jobs"][0]
        assert job["error"] == 0, words
        assert job["read"]["total_ios"] >= 64 << 20 >> 18
    debian.run("rm /var/tmp/fio")


def test_fio_verifies_the_shared_folder(debian: Guest) -> None:
    text = debian.run(
        "cd /mnt/host && fio --name=verify --filename=fio --size=8M --rw=randwrite --bs=16k --ioengine=psync --verify=sha256 "
        "--verify_fatal=1 --do_verify=1 --verify_state_save=0 --output-format=json; status=$?; rm -f fio; exit $status", LONG)
    assert json.loads(text[text.index("{") : text.rindex("}") + 1])["jobs"][0]["error"] == 0


def test_dd_with_checksums(debian: Guest) -> None:
    """Random bytes to the disk, copied past the page cache, to the shared folder and back."""
    debian.run("dd if=/dev/urandom of=/var/tmp/a bs=1M count=96 conv=fsync", LONG)
    first = debian.run("sha256sum < /var/tmp/a", LONG)
    debian.run("echo 3 > /proc/sys/vm/drop_caches; dd if=/var/tmp/a of=/var/tmp/b bs=64k iflag=direct oflag=direct", LONG)
    debian.run("dd if=/var/tmp/b of=/mnt/host/c bs=128k count=128 conv=fsync; cmp -n 16777216 /var/tmp/a /mnt/host/c", LONG)
    debian.run("dd if=/var/tmp/b of=/var/tmp/a bs=3k conv=notrunc,fsync; echo 3 > /proc/sys/vm/drop_caches", LONG)
    assert debian.run("sha256sum < /var/tmp/a", LONG) == first == debian.run("sha256sum < /var/tmp/b", LONG)
    debian.run("rm /var/tmp/a /var/tmp/b /mnt/host/c")


def test_git_clones_over_the_shared_folder(debian: Guest) -> None:
    """From the disk to 9p, within 9p, and back: each clone is whole and the same."""
    debian.run("rm -rf /var/tmp/git /mnt/host/git; mkdir -p /var/tmp/git/one /mnt/host/git")
    debian.run("git config --global --add safe.directory '*'")
    debian.run(
        "cd /var/tmp/git/one && git init -q && git config user.name a && git config user.email a@example.org && "
        "cp -r $(ls -d /usr/share/perl/5*/unicore | tail -1) lib && cp -r /usr/share/doc/git/ doc && git add . && "
        "git commit -qm first && "
        "for i in 1 2 3 4 5; do date +%N > time; git add . ; git commit -qm $i; done; git gc -q", LONG)
    debian.run("cd /mnt/host/git && git clone -q --no-hardlinks /var/tmp/git/one two && git -C two fsck --full --strict", LONG)
    debian.run("cd /mnt/host/git && git clone -q --bare two three && git -C three fsck --full", LONG)
    debian.run("cd /var/tmp/git && git clone -q file:///mnt/host/git/three four && git -C four fsck --full", LONG)
    debian.run("cd /mnt/host/git/two && date > more && git add more && git -c user.name=a -c user.email=b commit -qm more", LONG)
    debian.run("cd /var/tmp/git/four && git pull -q /mnt/host/git/two && git status --porcelain", LONG)
    debian.run("diff -r --no-dereference -x .git /mnt/host/git/two /var/tmp/git/four", LONG)
    assert debian.run("git -C /mnt/host/git/two status --porcelain", LONG) == ""
    heads = debian.run("git -C /mnt/host/git/two rev-parse HEAD; git -C /var/tmp/git/four rev-parse HEAD").split()
    assert heads[0] == heads[1]
    debian.run("rm -rf /var/tmp/git /mnt/host/git", LONG)


@pytest.mark.parametrize("words", ["", "--reverse", "--parallel 4", "--udp --bitrate 10M --length 1200", "--bidir"])
def test_iperf3_to_the_host(debian: Guest, port: int, words: str) -> None:
    if not port:
        pytest.skip("there is no iperf3 on this computer")
    text = debian.run(f"iperf3 --client 10.0.2.2 --port {port} --time 5 --json {words}", 300)
    end = json.loads(text[text.index("{") : text.rindex("}") + 1])["end"]
    if "udp" in words:
        assert end["sum"]["lost_percent"] < 5  # a busy computer may drop datagrams
    else:
        assert end["sum_sent"]["bytes"] > 1 << 20
        assert end["sum_received"]["bytes"] > 1 << 20


def test_thirty_of_pythons_modules(debian: Guest) -> None:
    """With a time limit that an interpreter on an interpreter keeps; -u none leaves out what wants gigabytes or the internet."""
    version = debian.run("ls -d /usr/lib/python3*/test/test_long.py").split("/")[-3]
    status, text = debian.execute(
        f"cd /tmp && TERM=dumb {version} -m test -u none --timeout 1800 -j2 {' '.join(CHOSEN)}", 3 * LONG)
    tail = text[-6000:]
    assert status == 0, tail
    assert re.search(r"Result: SUCCESS", tail)


def test_stress_ng_verifies(debian: Guest) -> None:
    """Ten minutes over all stressors, two of each at a time."""
    known = set(debian.run("stress-ng --stressors").split())
    chosen = [name for name in STRESSORS if name in known]
    assert len(chosen) > 80
    each = max(2, STRESS_SECONDS // len(chosen))
    debian.run("mkdir -p /var/tmp/stress")
    status, text = debian.execute(
        f"cd /var/tmp/stress && stress-ng --verify --seq 2 --with {','.join(chosen)} --timeout {each}s --vm-bytes 64M "
        "--hdd-bytes 32M --mmap-bytes 32M --shm-bytes 4M --temp-path /var/tmp/stress --metrics-brief", STRESS_SECONDS * 6 + 600)
    assert status == 0, text[-8000:]
    assert not re.search(r"fail:|failed: [1-9]|untrustworthy: [1-9]", text), text[-8000:]
