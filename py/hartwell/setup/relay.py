"""The relay: Ethernet frames of a page's machine to a user-mode network stack.

One WebSocket is one machine's cable.  Behind it stands a passt of its own,
which ends with it.  Each binary message is a frame; text messages are JSON
from here: {"ready": {...}} once there is a network, {"error": words} before
the end if there is none.  Every frame from the guest meets the policy first.

passt speaks frames with a 4-byte big-endian length before each, as QEMU's
stream sockets do (passt(1)).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket as sockets
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hartwell.errors import BadConfiguration
from hartwell.network import dns
from hartwell.network.dns import Forwarder
from hartwell.network.policy import ARCHIVE, DNS, GATEWAY, GUEST, NETMASK, Policy, Rule, dns_question, parse_rule
from hartwell.network.redirect import Redirect
from hartwell.network.windows import Windows
from hartwell.setup import archive, passt
from hartwell.setup.mirror import find_mirrors
from hartwell.setup.server import Server
from hartwell.setup.steps import SetupError
from hartwell.setup.websocket import Endpoint, WebSocket

PATH = "/ws/network"
LARGEST_FRAME = 65536
CONNECTIONS = 8  # at a time
START_SECONDS = 5.0
_BLOCK = 1 << 20
_ROOM = 4 << 20  # of the stream from passt, where the host allows that much
_SHARES = 2  # of that room, for a connection each


@dataclass(frozen=True)
class Forward:
    """A port of this host's loopback that leads to one of the guest's."""

    host: int
    guest: int


def parse_forward(text: str) -> Forward:
    """HOST:GUEST.  BadConfiguration for what is not two ports."""
    host, colon, guest = text.partition(":")
    if not colon or not all(part.isdecimal() and 0 < int(part) < 65536 for part in (host, guest)):
        raise BadConfiguration(f"--forward {text}: two ports are expected, this host's and the guest's, such as 8022:22")
    return Forward(int(host), int(guest))


def own_addresses(table: Path = Path("/proc/net/fib_trie")) -> set[str]:
    """This host's IPv4 addresses (Linux)."""
    found: set[str] = set()
    last = ""
    with contextlib.suppress(OSError):
        for line in table.read_text().splitlines():
            words = line.split()
            if words[:1] == ["|--"]:
                last = words[1]
            elif words[:2] == ["/32", "host"] and words[2:] == ["LOCAL"]:
                found.add(last)
    return found


class Relay:
    """All cables of a server.  `mirror`: Debian's archive for the guests, where not that of this machine's apt."""

    def __init__(
        self, allowed: Sequence[Rule] = (), forwards: Sequence[Forward] = (), mirror: str | None = None
    ) -> None:
        self._allowed, self._forwards, self.mirror = allowed, forwards, mirror
        self._archive: archive.ArchiveServer | None = None
        self._archive_lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        self._forwarding = threading.Lock()

    def archive_port(self) -> int | None:
        """Where the archive is on loopback, from the first cable on; None where no mirror is known."""
        with self._archive_lock:
            if self._archive is None:
                try:
                    find_mirrors(self.mirror)
                except SetupError:
                    return None
                self._archive = archive.ArchiveServer(self.mirror)
            return self._archive.port

    def endpoint(self) -> Endpoint:
        return Endpoint(self.serve, largest=LARGEST_FRAME)

    def serve(self, socket: WebSocket) -> None:
        """One machine's cable, until either side ends it."""
        if not self._slots.acquire(blocking=False):
            _tell(socket, error=f"{CONNECTIONS} machines are on the relay already; close one")
            return
        # A forwarded port can lead to one machine only: the first that comes.
        forwards = self._forwarding.acquire(blocking=False) if self._forwards else False
        try:
            self._serve(socket, self._forwards if forwards else ())
        finally:
            if forwards:
                self._forwarding.release()
            self._slots.release()

    def _serve(self, socket: WebSocket, forwards: Sequence[Forward]) -> None:
        program, why = passt.find()
        if program is None:
            _tell(socket, error=f"no relay to the internet: {why}")
            return
        port = self.archive_port()
        policy = Policy(
            self._allowed, own_addresses(), [forward.guest for forward in forwards], [] if port is None else [port]
        )
        redirect = None if port is None else Redirect((ARCHIVE, 80), (GATEWAY, port))
        with tempfile.TemporaryDirectory(prefix="hartwell-") as folder:
            # passt gives its rights up before it opens the log.
            Path(folder).chmod(0o711)
            log = Path(folder) / "log"
            log.touch(0o666)
            log.chmod(0o666)
            ours, theirs = sockets.socketpair()
            theirs.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, _ROOM)
            # The kernel doubles what was asked for, to hold its own books in as well (socket(7)).
            room = theirs.getsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF) // 2
            with ours, (Path(folder) / "errors").open("wb") as errors:
                with theirs:
                    command = [str(program), *_arguments(policy, forwards, log), "--fd", str(theirs.fileno())]
                    try:
                        child = subprocess.Popen(
                            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=errors, start_new_session=True,
                        )
                    except OSError as error:
                        _tell(socket, error=f"no relay to the internet: {program} does not start ({error})")
                        return
                try:
                    _Cable(socket, ours, child, policy, forwards, log, Windows(room // _SHARES), redirect).run()
                finally:
                    child.kill()
                    child.wait()


def _arguments(policy: Policy, forwards: Sequence[Forward], log: Path) -> list[str]:
    words = [
        "--foreground", "--quiet", "--ipv4-only", "--address", GUEST, "--netmask", NETMASK, "--gateway", GATEWAY,
        "--dns", DNS, "--log-file", str(log), "--log-size", "65536",
    ]
    if not policy.reaches_host:
        words.append("--no-map-gw")
    for forward in forwards:
        words += ["--tcp-ports", f"127.0.0.1/{forward.host}:{forward.guest}"]
    return words


class _Cable:
    """Between one WebSocket and one passt."""

    def __init__(
        self, socket: WebSocket, stack: sockets.socket, child: subprocess.Popen[bytes], policy: Policy,
        forwards: Sequence[Forward], log: Path, windows: Windows, redirect: Redirect | None,
    ) -> None:
        self._socket, self._stack, self._child, self._policy, self._log = socket, stack, child, policy, log
        self._windows, self._redirect = windows, redirect
        self._forwards = forwards
        names = {archive.HOST: ARCHIVE} if redirect else {}
        self._dns = Forwarder((dns.resolvers()[0], dns.PORT), socket.send, names)

    def run(self) -> None:
        try:
            self._run()
        finally:
            self._dns.close()

    def _run(self) -> None:
        try:
            status = self._child.wait(0.3)  # one that can't run says so at once
        except subprocess.TimeoutExpired:
            pass
        else:
            _tell(self._socket, error=f"no relay to the internet: passt ended with status {status} ({self._words()})")
            return
        _tell(self._socket, ready={
            "reaches": self._policy.describe(), "forwards": [f"{f.host}:{f.guest}" for f in self._forwards],
        })
        # passt does not take its output piling up for an error, so this may block.
        thread = threading.Thread(target=self._inwards, name="relay", daemon=True)
        thread.start()
        try:
            self._outwards()
        finally:
            with contextlib.suppress(OSError):
                self._stack.shutdown(sockets.SHUT_RDWR)
            thread.join(5)

    def _outwards(self) -> None:
        """From the guest, past the policy."""
        while (message := self._socket.receive()) is not None:
            if isinstance(message, str) or len(message) < 14:
                continue
            frame = self._redirect.outwards(message) if self._redirect else message
            passes, answer = self._policy.check(frame)
            try:
                if passes and (question := dns_question(frame)):
                    self._dns.ask(question)
                elif passes:
                    frame = self._windows.narrow(frame)
                    self._stack.sendall(len(frame).to_bytes(4, "big") + frame)
                elif answer:
                    self._socket.send(answer)
            except OSError:
                return

    def _inwards(self) -> None:
        """To the guest."""
        pending = bytearray()
        with contextlib.suppress(OSError):
            while data := self._stack.recv(_BLOCK):
                pending += data
                at = 0
                while len(pending) - at >= 4:
                    count = int.from_bytes(pending[at : at + 4], "big")
                    if len(pending) - at - 4 < count:
                        break
                    frame = bytes(memoryview(pending)[at + 4 : at + 4 + count])
                    self._socket.send(self._redirect.inwards(frame) if self._redirect else frame)
                    at += 4 + count
                del pending[:at]
        self._socket.close(1001, "the network stack has ended")

    def _words(self) -> str:
        """What passt said last."""
        said = "\n".join(file.read_text(errors="replace") for file in (self._log, self._log.with_name("errors")))
        lines = [line.strip() for line in said.splitlines() if line.strip() and "syslog" not in line]
        return lines[-1] if lines else "it did not say why"


def _tell(socket: WebSocket, **message: object) -> None:
    with contextlib.suppress(ConnectionError, OSError):
        socket.send(json.dumps(message))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options about where a guest may go, and who gets to it."""
    parser.add_argument(
        "--allow", action="append", default=[], metavar="ADDRESS[:PORT]", help="let the guest reach this IPv4 address or "
        "network too, such as 192.168.1.0/24; 127.0.0.1:8080 is this machine's own, at 10.0.2.2:8080 in the guest",
    )
    parser.add_argument(
        "--forward", action="append", default=[], metavar="HOST:GUEST",
        help="lead a port of this machine's loopback to one of the guest's, such as 8022:22",
    )


def from_options(options: argparse.Namespace) -> Relay:
    """BadConfiguration for what is wrong with them."""
    allowed, forwards = [parse_rule(text) for text in options.allow], [parse_forward(text) for text in options.forward]
    return Relay(allowed, forwards, getattr(options, "mirror", None))


@contextlib.contextmanager
def local(relay: Relay) -> Iterator[str]:
    """A relay for this process alone; its address, which has a secret in it."""
    with tempfile.TemporaryDirectory() as nothing, Server(port=0, web=Path(nothing), static=Path(nothing)) as server:
        server.endpoints[PATH] = relay.endpoint()
        threading.Thread(target=server.serve_forever, args=[0.2], daemon=True).start()
        try:
            yield f"ws://127.0.0.1:{server.port}{PATH}?token={server.token}"
        finally:
            server.shutdown()
