"""Names for the guest: its questions go to this host's own resolver.

The guest asks 10.0.2.3.  Questions get an identifier of our own, which nobody
else can guess, on their way; only answers to one that is open come back.
Names of Hartwell's own are answered here.
RFC 1035 (the message's first two bytes are its identifier).
"""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import socket as sockets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

from hartwell.network.packets import UDP, Ipv4, udp_frame

OPEN_QUESTIONS = 256
LONGEST = 4096  # bytes of a message by UDP
PORT = 53
_A_IN = b"\0\1\0\1"  # type A, class IN
_SECONDS = 60  # that an answer of ours holds


def resolvers(file: Path = Path("/etc/resolv.conf")) -> list[str]:
    """This host's name servers, as resolv.conf(5) names them."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    found = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
    return [address for address in found if _is_address(address)] or ["127.0.0.1"]


class Forwarder:
    """Asks `server` for a guest; `send` takes the frames with the answers.
    `names` are those that are known here, with their IPv4 addresses."""

    def __init__(
        self, server: tuple[str, int], send: Callable[[bytes], None], names: Mapping[str, str] | None = None
    ) -> None:
        self._names = {_wire(name): ipaddress.IPv4Address(address).packed for name, address in (names or {}).items()}
        family = sockets.AF_INET6 if ":" in server[0] else sockets.AF_INET
        self._socket = sockets.socket(family, sockets.SOCK_DGRAM)
        self._socket.connect(server)  # from nobody else is anything taken
        self._send = send
        self._open: OrderedDict[int, tuple[Ipv4, bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._answers, name="dns", daemon=True)
        self._thread.start()

    def ask(self, packet: Ipv4) -> None:
        """A question: a UDP datagram to port 53.  What is none is dropped."""
        message = packet.payload[8:]
        if packet.protocol != UDP or not 12 <= len(message) <= LONGEST:
            return
        if (known := self._known(message)) is not None:
            self._give(packet, known)
            return
        with self._lock:
            while (number := secrets.randbelow(65536)) in self._open:
                pass
            self._open[number] = packet, message[:2]
            if len(self._open) > OPEN_QUESTIONS:
                self._open.popitem(last=False)
        try:
            self._socket.send(number.to_bytes(2, "big") + message[2:])
        except OSError:
            return  # the guest asks again

    def close(self) -> None:
        """Ends it; open questions get no answer."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(sockets.SHUT_RDWR)
        self._socket.close()
        self._thread.join(2)

    def _answers(self) -> None:
        while True:
            try:
                answer = self._socket.recv(65535)
            except ConnectionRefusedError:
                continue  # the resolver is away; it may come back
            except OSError:
                return
            if len(answer) < 12:
                if not answer:
                    return
                continue
            with self._lock:
                packet, number = self._open.pop(int.from_bytes(answer[:2], "big"), (None, b""))
            if packet is not None and not self._give(packet, number + answer[2:]):
                return

    def _give(self, packet: Ipv4, answer: bytes) -> bool:
        """The answer to a question, on its way to the guest; False when nobody takes it any more."""
        frame = packet.frame
        if packet.source_port is None:
            return True
        try:
            self._send(udp_frame(frame[6:12], frame[0:6], (packet.target, PORT), (packet.source, packet.source_port), answer))
        except OSError:
            return False
        return True

    def _known(self, message: bytes) -> bytes | None:
        """The answer to a question for one of our own names, else None (RFC 1035, 4.1)."""
        end = message.find(b"\0", 12) + 5
        question = message[12:end]
        address = self._names.get(question[:-4].lower())
        if message[2] & 0x80 or int.from_bytes(message[4:6], "big") != 1 or len(question) < 6 or address is None:
            return None
        found = question[-4:] == _A_IN
        flags = bytes([0x84 | message[2] & 1, 0x80])  # an answer, of authority; recursion as was asked for, and to be had
        counts = b"\0\1" + bytes([0, found]) + bytes(4)
        record = b"\xc0\x0c" + _A_IN + _SECONDS.to_bytes(4, "big") + b"\0\4" + address if found else b""
        return message[:2] + flags + counts + question + record


def _wire(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in name.encode().split(b".")) + b"\0"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
