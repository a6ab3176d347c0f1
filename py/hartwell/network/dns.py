"""Names for the guest: its questions go to this host's own resolver.

The guest asks 10.0.2.3.  Questions get an identifier of our own, which nobody
else can guess, on their way; only answers to one that is open come back.
RFC 1035 (the message's first two bytes are its identifier).
"""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import socket as sockets
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from hartwell.network.packets import UDP, Ipv4, udp_frame

OPEN_QUESTIONS = 256
LONGEST = 4096  # bytes of a message by UDP
PORT = 53


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
    """Asks `server` for a guest; `send` takes the frames with the answers."""

    def __init__(self, server: tuple[str, int], send: Callable[[bytes], None]) -> None:
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
            if packet is None or packet.source_port is None:
                continue
            frame = packet.frame
            try:
                self._send(udp_frame(
                    frame[6:12], frame[0:6], (packet.target, PORT), (packet.source, packet.source_port), number + answer[2:]
                ))
            except OSError:
                return


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
