"""Disk, network and shared folder: rates in Chromium beside qemu-system-riscv64 with virtio-mmio.

Blocks are read and written past the guest's page cache (O_DIRECT), one request
at a time and 32 of them, of a disk that the cache holds (Hartwell) or the host's
page cache does (QEMU).  Network and 9p are those of bench/net.py, in Chromium and in
Node.  The tab is one that nobody watches (bench/tabs.py).  v86 is left out: it has no
virtio block device to compare with.
"""

from __future__ import annotations

import tempfile
import threading
from typing import Any

from bench import guests, net, prepare, results
from bench.tabs import quiet_tab

REGION = 64 << 20
DISK = 128 << 20
SECONDS = 3
READY = "!!window.hartwell?.ready"
BYTES = 32_000_000  # of a transfer by network
CASES = [
    ("sequential read, MB/s", "read 1048576 sequential", 0, 1048576 / 1e6),
    ("sequential write, MB/s", "write 1048576 sequential", 0, 1048576 / 1e6),
    ("4 KiB random reads per s", "read 4096 random", 0, 1), ("4 KiB random writes per s", "write 4096 random", 0, 1),
    ("4 KiB random reads per s, 32 at a time", "read 4096 random", 32, 1),
    ("4 KiB random writes per s, 32 at a time", "write 4096 random", 32, 1),
]


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    initrd = prepare.guest_initrd("io-initrd", {"bench/blocks": prepare.guest_program(prepare.HERE / "blocks.c")})
    figures: dict[str, dict[str, float]] = {}
    disks = f"[Disk(size={DISK}, cache={DISK})]"
    with guests.served() as address, quiet_tab(f"{address}?boot=no", READY) as tab:
        tab.python("from hartwell.disks import Disk")
        tab.boot(f"'shell', initrd='bench/{initrd.name}', network=None, disks={disks}")
        figures["Hartwell in Chromium"] = _blocks(tab, options.rounds)
    if "qemu" not in missing:
        with tempfile.NamedTemporaryFile() as disk:
            disk.truncate(DISK)
            qemu = guests.Qemu(initrd=initrd, disk=disk.name)
            try:
                qemu.ready()
                figures["QEMU"] = _blocks(qemu, options.rounds)
            finally:
                qemu.close()
    network = _network("qemu" not in missing)
    names = list(figures)
    text = f"Best of {options.rounds}; {REGION >> 20} MiB of a disk that was read before.\n\n"
    rows = [[case, *(round(figures[name][case], 1) for name in names)] for case, *_ in CASES]
    text += results.table(["disk", *names], rows)
    names = list(network)
    rows = [[row, *(round(network[name][row], 1) for name in names)] for row in network[names[0]]]
    text += "\n\nBest of three; a server on loopback. The folder is the host's, in Chromium the page's own in memory.\n\n"
    text += results.table(["network and shared folder", *names], rows)
    text += "".join(f"\n\nLeft out: {peer}: {why}" for peer, why in missing.items() if peer == "qemu")
    results.write("io", {"disk": figures, "network": network, "missing": missing}, text)


def _blocks(guest: Any, rounds: int) -> dict[str, float]:
    """Each case's best figure."""
    # Without a queue that is sorted, as the disks of images have it (guest/disk/init).
    guest.run("modprobe virtio_blk 2>/dev/null; echo none >/sys/block/vda/queue/scheduler")
    for _, words, depth, _ in CASES:  # until the driver's code is translated
        guest.run(f"/bench/blocks /dev/vda {words} 2 {REGION} {depth}")
    guest.run(f"dd if=/dev/zero of=/dev/vda bs=1M count={REGION >> 20} oflag=direct 2>/dev/null")
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, words, depth, unit in CASES:
            count, seconds = guest.run(f"/bench/blocks /dev/vda {words} {SECONDS} {REGION} {depth}").split()[-2:]
            best[name] = max(best.get(name, 0.0), int(count) * unit / float(seconds))
    return best


def _network(qemu: bool) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    with net.Server(("127.0.0.1", 0), net.Pages) as server, tempfile.TemporaryDirectory() as folder:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        port = server.server_address[1]
        allowed = guests.served("--allow", f"127.0.0.1:{port}")
        with allowed as address, quiet_tab(f"{address}?boot=no", READY) as tab:
            tab.boot("'shell', network='relay'")
            found["Hartwell in Chromium"] = net.measure(tab, port, BYTES, "/mnt/host")
        with net.hartwell(port, folder) as guest:
            found["Hartwell in Node"] = net.measure(guest, port, BYTES, "/mnt/host")
        if qemu:
            with net.qemu(folder) as guest:
                found["QEMU"] = net.measure(guest, port, BYTES, "/mnt/host")
        server.shutdown()
    return found
