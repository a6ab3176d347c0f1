"""Rates and round trips of network and shared folder, for bench/io.py.

The guest is the shell image in all; all traffic goes to a server on loopback.
A figure is the best of three, since other work on the machine only ever slows
it down.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import selectors
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[1]
BOOT_SECONDS, STEP_SECONDS = 180, 300
TRIES = 3
SMALL = 100  # requests for the round trip, files for the small ones


class Pages(http.server.BaseHTTPRequestHandler):
    """/N gives N bytes; what is posted is read and thrown away."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        count = int(self.path[1:])
        self.answer(bytes(count))

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        while left > 0:
            left -= len(self.rfile.read(min(left, 1 << 18)))
        self.answer(b"")

    def answer(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


class Runs(Protocol):
    """What is measured: a shell that runs commands."""

    def run(self, command: str) -> object:
        """A command that must succeed."""


class Guest:
    """A guest's shell, on the standard streams of a process."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT
        )
        self.said = b""
        self.expect(rb"[#$] $", BOOT_SECONDS)

    def expect(self, pattern: bytes, seconds: float) -> re.Match[bytes]:
        assert self.process.stdout is not None
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not (found := re.search(pattern, self.said)):
                if time.monotonic() > end or not (selector.select(1) or self.process.poll() is None):
                    last = self.said[-2000:].decode(errors="replace")
                    raise SystemExit(f"the guest did not say {pattern!r}; it said last:\n{last}")
                if selector.select(0):
                    self.said += os.read(self.process.stdout.fileno(), 1 << 16)
        self.said = self.said[found.end() :]
        return found

    def run(self, command: str) -> None:
        """Runs a command that must succeed."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}; echo EN''D $?\n".encode())
        self.process.stdin.flush()
        status = self.expect(rb"END (\d+)", STEP_SECONDS)[1]
        if status != b"0":
            raise SystemExit(f"{command}: status {status.decode()}")

    def close(self) -> None:
        self.process.terminate()  # not kill: the command ends its machine then
        self.process.wait()


def _seconds(guest: Runs, command: str) -> float:
    """The least that it took, by the host's clock, of some tries."""
    taken = []
    for _ in range(TRIES):
        began = time.perf_counter()
        guest.run(command)
        taken.append(time.perf_counter() - began)
    return min(taken)


def measure(guest: Runs, port: int, count: int, mounted: str) -> dict[str, float]:
    """Figures of one guest; `mounted` is where the shared folder is."""
    guest.run("for i in $(seq 100); do ip addr show eth0 | grep -q 'inet ' && break; sleep 0.2; done")
    site = f"http://10.0.2.2:{port}"
    nothing = _seconds(guest, "true")
    figures = {
        "to the guest, Mbit/s": count * 8e-6 / (_seconds(guest, f"wget -q -O /dev/null {site}/{count}") - nothing),
    }
    # No zeros: busybox's wget posts a file up to its first one.
    guest.run(f"head -c {count} /dev/zero | tr '\\0' x >/tmp/sent")
    figures["from the guest, Mbit/s"] = count * 8e-6 / (
        _seconds(guest, f"wget -q -O /dev/null --post-file /tmp/sent {site}/") - nothing
    )
    loop = f"for i in $(seq {SMALL}); do wget -q -O /dev/null {site}/0 || break; done"
    bare = f"for i in $(seq {SMALL}); do wget -q -O /dev/null http://127.0.0.1:1/ 2>/dev/null; done; true"
    # Starting wget costs more than the round trips; that part is taken off.
    figures["a request and its answer, ms"] = max(0.0, _seconds(guest, loop) - _seconds(guest, bare)) * 1000 / SMALL
    megabytes = count / 1e6
    figures["9p write, MB/s"] = megabytes / (_seconds(guest, f"dd if=/tmp/sent of={mounted}/big bs=500k 2>/dev/null") - nothing)
    figures["9p read, MB/s"] = megabytes / (_seconds(guest, f"dd if={mounted}/big of=/dev/null bs=500k 2>/dev/null") - nothing)
    many = f"for i in $(seq {SMALL}); do echo x >{mounted}/small$i; done; rm {mounted}/small*"
    figures["9p small files made and removed, per s"] = SMALL / (_seconds(guest, many) - nothing)
    return figures


@contextlib.contextmanager
def hartwell(port: int, folder: str) -> Iterator[Guest]:
    command = [str(ROOT / ".venv/bin/hartwell"), "run", "--net", "--allow", f"127.0.0.1:{port}", "--share", folder]
    guest = Guest(command)
    try:
        guest.run("for i in $(seq 100); do grep -q /mnt/host /proc/mounts && break; sleep 0.2; done")
        yield guest
    finally:
        guest.close()


@contextlib.contextmanager
def qemu(folder: str) -> Iterator[Guest]:
    image = ROOT / "static/images/shell"
    append = json.loads((image / "image.json").read_text())["append"]
    guest = Guest([
        "qemu-system-riscv64", "-M", "virt", "-m", "512M", "-nographic", "-kernel", str(image / "Image"), "-initrd",
        str(image / "initrd"), "-append", append, "-global", "virtio-mmio.force-legacy=false",
        "-netdev", "user,id=n", "-device", "virtio-net-device,netdev=n",
        "-fsdev", f"local,id=f,path={folder},security_model=none", "-device", "virtio-9p-device,fsdev=f,mount_tag=host",
    ])
    try:
        guest.run("for i in $(seq 100); do grep -q /mnt/host /proc/mounts && break; sleep 0.2; done")
        yield guest
    finally:
        guest.close()
