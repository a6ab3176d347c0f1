"""Networks of the guest, in a real browser: the relay, and machines among themselves.

All traffic goes to servers on loopback that the tests start.
"""

from __future__ import annotations

import hashlib
import http.server
import os
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import serving
from tests.e2e.tab import Tab

DATA = os.urandom(1_000_000)
LEASE = "for i in $(seq 600); do ip addr show eth0 | grep -q 'inet ' && exit; sleep 0.2; done; ip addr; exit 1"


class Pages(http.server.BaseHTTPRequestHandler):
    """DATA at /data; takes what is put and says its digest."""

    def do_GET(self) -> None:
        self.answer(DATA)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(hashlib.sha256(body).hexdigest().encode())

    def answer(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def pages() -> Iterator[int]:
    """The port of a web server on loopback."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def run(tab: Tab, command: str, machine: str = "machine") -> str:
    """What a command in the guest prints; it must succeed."""
    result = tab.python(f"r = await {machine}.run({command!r}, timeout=240); [r.returncode, r.stdout, r.stderr]")
    assert result[0] == 0, f"{command}: {result}"
    return str(result[1])


@pytest.fixture(scope="module")
def forwarded() -> int:
    return free_port()


@pytest.fixture(scope="module")
def relayed(pages: int, forwarded: int, new_tab: Callable[..., Tab]) -> Iterator[Tab]:
    """A machine on the relay of a server that allows the test's pages, and nothing else of this host."""
    with serving("--allow", f"127.0.0.1:{pages}", "--forward", f"{forwarded}:8000") as address:
        tab = new_tab(address).boot("?network=relay")
        for _ in range(1200):
            [status] = tab.python("machine.network.status")
            if status["state"] != "connecting":
                break
            tab.page.wait_for_timeout(100)
        if status["state"] == "failed":
            pytest.skip(f"no relay on this machine: {status['error']}")
        run(tab, LEASE)
        yield tab
        assert tab.errors == []
        tab.page.close()


def test_the_guest_has_an_address_a_way_out_and_a_name_server(relayed: Tab) -> None:
    assert "10.0.2.15/24" in run(relayed, "ip addr show eth0")
    assert "default via 10.0.2.2" in run(relayed, "ip route")
    assert "nameserver 10.0.2.3" in run(relayed, "cat /etc/resolv.conf")
    [status] = relayed.python("machine.network.status")
    assert status["reaches"].startswith("the internet, and 127.0.0.1/32:")


def test_a_file_by_http_through_the_relay(relayed: Tab, pages: int) -> None:
    got = run(relayed, f"wget -q -O - http://10.0.2.2:{pages}/data | sha256sum")
    assert got.split()[0] == hashlib.sha256(DATA).hexdigest()
    command = f"""head -c 300000 /dev/urandom | base64 >/tmp/sent; sha256sum </tmp/sent
        wget -q -O - --post-file /tmp/sent http://10.0.2.2:{pages}/"""
    there, here = run(relayed, command).split(" ", 1)
    assert here.split()[-1] == there


def test_what_is_not_allowed_is_refused_at_once(relayed: Tab, pages: int) -> None:
    with socket.socket() as listening:  # so that only the policy can be why
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        for address in (f"10.0.2.2:{port}", f"10.0.2.2:{pages ^ 1}", f"192.168.77.1:{port}", f"172.16.0.9:{port}"):
            said = run(relayed, f"wget -T 200 -O - http://{address}/ 2>&1 && echo reached; true")
            assert "No route to host" in said
            assert "reached" not in said
        listening.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listening.accept()


def test_a_port_leads_into_the_guest(relayed: Tab, forwarded: int) -> None:
    run(relayed, "mkdir -p /tmp/www && echo from the guest >/tmp/www/index.html && httpd -p 8000 -h /tmp/www")
    with urllib.request.urlopen(f"http://127.0.0.1:{forwarded}/", timeout=240) as answer:
        assert answer.read() == b"from the guest\n"


def test_links_go_down_and_up(relayed: Tab, pages: int) -> None:
    changes = "cat /sys/class/net/eth0/carrier_changes"
    before = int(run(relayed, changes))
    relayed.python("machine.network.renew()")
    for _ in range(600):
        if int(run(relayed, changes)) >= before + 2:
            break
        relayed.page.wait_for_timeout(100)
    assert int(run(relayed, changes)) >= before + 2
    assert run(relayed, f"wget -q -O - http://10.0.2.2:{pages}/data | wc -c").strip() == str(len(DATA))
    relayed.python("machine.network.disconnect()")
    for _ in range(1200):
        if (state := relayed.python("machine.network.status[0]['state']")) == "unplugged":
            break
        relayed.page.wait_for_timeout(100)
    assert state == "unplugged"
    run(relayed, "until [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do sleep 0.1; done")


def test_two_machines_ping_each_other_and_move_a_file(new_tab: Callable[..., Tab]) -> None:
    tab = new_tab().boot("?network=switch:test&memory=256M")
    tab.python("other = await Machine.boot(network='switch:test', memory='256M', show=False)")
    addresses = {}
    for name in ("machine", "other"):
        run(tab, LEASE, name)
        addresses[name] = run(tab, "ip -4 addr show eth0 | sed -n 's/.*inet \\([0-9.]*\\).*/\\1/p'", name).strip()
        assert addresses[name].startswith("10.77.")
    assert addresses["machine"] != addresses["other"]
    for one, two in (("machine", "other"), ("other", "machine")):
        assert "3 packets received" in run(tab, f"ping -c 3 -W 20 {addresses[two]}", one)
    run(tab, "mkdir /tmp/www; head -c 2000000 /dev/urandom >/tmp/www/file; httpd -p 8000 -h /tmp/www", "other")
    moved = run(tab, f"wget -q -O - http://{addresses['other']}:8000/file | sha256sum")
    assert moved == run(tab, "sha256sum </tmp/www/file", "other")
    tab.python("await other.close()")
    assert tab.errors == []
    tab.page.close()
