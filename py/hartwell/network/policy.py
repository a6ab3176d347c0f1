"""Where a guest's packets may go: the internet, and what was allowed by name.

Not: this host, private ranges, and what else is not of the public internet
(IANA's special-purpose registries, RFC 6890).  IPv4 only; IPv6 frames do not
pass, so there is no second way round.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from hartwell.errors import BadConfiguration
from hartwell.network.packets import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ICMP,
    TCP,
    UDP,
    Ipv4,
    ethertype,
    prohibited,
    read_ipv4,
)

# The addresses that the guest's side of the relay has, as in QEMU's user network.
GUEST, GATEWAY, DNS, NETMASK = "10.0.2.15", "10.0.2.2", "10.0.2.3", "255.255.255.0"
ARCHIVE = "10.0.2.4"  # Debian's, from this host's mirror (setup/archive.py)
DHCP_SERVER_PORT, DNS_PORT = 67, 53

_GATEWAY, _DNS = int(ipaddress.IPv4Address(GATEWAY)), int(ipaddress.IPv4Address(DNS))
_EVERYONE = 0xFFFF_FFFF
_SYN, _ACK = 0x02, 0x10

# IANA's special-purpose registry, multicast and what is reserved.  Not by
# ipaddress.is_global, which has meant different things in different Pythons.
_SPECIAL = tuple(ipaddress.IPv4Network(text) for text in (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
    "192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 "
    "203.0.113.0/24 224.0.0.0/3"
).split())


@dataclass(frozen=True)
class Rule:
    """Addresses, and one port of them or all."""

    network: ipaddress.IPv4Network
    port: int | None = None

    def matches(self, address: int, port: int | None) -> bool:
        return ipaddress.IPv4Address(address) in self.network and self.port in (None, port)


def parse_rule(text: str) -> Rule:
    """CIDR or address, with :PORT or without.  BadConfiguration for anything else."""
    match = re.fullmatch(r"([0-9./]+|localhost)(?::(\d{1,5}))?", text)
    try:
        if match is None:
            raise ValueError
        network = ipaddress.IPv4Network(match[1].replace("localhost", "127.0.0.1"))
        port = int(match[2]) if match[2] else None
        if port is not None and not 0 < port < 65536:
            raise ValueError
    except ValueError:
        raise BadConfiguration(
            f"--allow {text}: an IPv4 address or network is expected, with or without a port, such as 192.168.1.0/24 "
            "or 127.0.0.1:8080"
        ) from None
    return Rule(network, port)


class Policy:
    """Decides frame by frame.  `own` are this host's addresses, `forwarded` the
    guest's ports that this host's lead to, `services` TCP ports of this host's
    loopback that are there for guests."""

    def __init__(
        self, allowed: Iterable[Rule] = (), own: Iterable[str] = (), forwarded: Iterable[int] = (),
        services: Iterable[int] = (),
    ) -> None:
        self.allowed = tuple(allowed)
        self._services = frozenset(services)
        self._forwarded = frozenset(forwarded)
        self._own = frozenset(int(ipaddress.IPv4Address(address)) for address in own)
        self.refused = 0
        self._may = lru_cache(4096)(self._decide)

    @property
    def reaches_host(self) -> bool:
        """Is any port of this host's loopback allowed?"""
        return bool(self._services) or any(rule.network.overlaps(ipaddress.IPv4Network("127.0.0.0/8")) for rule in self.allowed)

    def check(self, frame: bytes) -> tuple[bool, bytes | None]:
        """May it pass?  If not: the frame to answer with, where an answer helps."""
        kind = ethertype(frame)
        if kind == ETHERTYPE_ARP:
            return True, None  # the relay's own stack answers it
        packet = read_ipv4(frame) if kind == ETHERTYPE_IPV4 else None
        if packet is None:
            return False, None
        if self._may(packet.target, packet.protocol, packet.target_port):
            return True, None
        if packet.target == _GATEWAY and packet.protocol == TCP and packet.source_port in self._forwarded:
            # An answer in a connection that came in by a forwarded port: never the
            # first segment of one, a SYN without an ACK (RFC 9293, 3.1).
            flags = packet.payload[13:14]
            if flags and flags[0] & (_SYN | _ACK) != _SYN:
                return True, None
        self.refused += 1
        multicast = packet.target >> 28 >= 0xE
        return False, None if multicast or packet.fragment else prohibited(packet)

    def _decide(self, target: int, protocol: int, port: int | None) -> bool:
        if protocol not in (ICMP, TCP, UDP):
            return False
        if protocol == UDP and port == DHCP_SERVER_PORT and target in (_EVERYONE, _GATEWAY):
            return True
        if target == _DNS:
            return protocol == UDP and port == DNS_PORT
        if target == _GATEWAY:  # stands for this host's loopback
            if protocol == TCP and port in self._services:
                return True
            return any(rule.matches(int(ipaddress.IPv4Address("127.0.0.1")), port) for rule in self.allowed)
        if any(rule.matches(target, port) for rule in self.allowed):
            return True
        return self.public(target)

    def public(self, address: int) -> bool:
        """Is it of the public internet, and not this host's?"""
        where = ipaddress.IPv4Address(address)
        return not any(where in network for network in _SPECIAL) and address not in self._own

    def describe(self) -> str:
        """In words, for the page."""
        extra = ", ".join(str(r.network) + (f":{r.port}" if r.port else "") for r in self.allowed)
        return "the internet" + (f", and {extra}" if extra else "")


def dns_question(frame: bytes) -> Ipv4 | None:
    """The packet, if it is for the name server that the relay itself is."""
    packet = read_ipv4(frame) if ethertype(frame) == ETHERTYPE_IPV4 else None
    return packet if packet and packet.target == _DNS else None
