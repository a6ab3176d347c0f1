"""`machine.network`: the guest's network cards, and what they are plugged into.

    "relay"         through serve.py to the internet (and where --allow leads)
    "switch"        machines of the same origin, in this page or others
    "switch:NAME"   the same, a switch of that name

The cards' frames pass through a worker of their own (web/network/); here is
what is decided: which card, into what, and who gets which address.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hartwell.devices.net import MTU, NetCard
from hartwell.errors import BadConfiguration, NotSupported
from hartwell.layout import MAX_VIRTIO, NET_CARDS, STACK_BASE, STACK_SIZE
from hartwell.network import dhcp
from hartwell.platform import Core, NetworkWorker, Platform

FIRST_SLOT = MAX_VIRTIO - 3  # and down from there
STACK = 15  # the last of the threads' stacks is the worker's


@dataclass(frozen=True)
class Segment:
    """What a card is plugged into."""

    kind: str
    name: str = ""

    @property
    def word(self) -> str:
        """As Machine.boot's argument says it."""
        return "relay" if self.kind == "relay" else f"switch:{self.name}"


def parse_segments(network: str | Sequence[str] | None) -> list[Segment]:
    """One for each card; none for None and "none".  BadConfiguration names what is not known."""
    if not isinstance(network, (str, list, tuple, type(None))) or any(not isinstance(word, str) for word in network or ()):
        raise BadConfiguration(f"network: {network!r}; a word, or a list of them, is expected")
    words = [] if network is None or network == "none" else [network] if isinstance(network, str) else list(network)
    if len(words) > NET_CARDS:
        raise BadConfiguration(f"network: {len(words)} cards asked for, a machine has at most {NET_CARDS}")
    return [_parse(word) for word in words]


def _parse(word: str) -> Segment:
    kind, _, name = word.partition(":")
    if kind == "switch" and len(name) <= 64:
        return Segment("switch", name or "main")
    if word == "relay":
        return Segment("relay")
    raise BadConfiguration(f'network: {word!r} is not known; there are "relay", "switch" and "switch:NAME"')


class Network:
    """The cards of one machine, `segments[i]` for card i."""

    def __init__(self, core: Core, place: Platform, segments: Sequence[Segment]) -> None:
        # 02: locally administered, for one card.
        self._cards = [
            NetCard(core, FIRST_SLOT - number, number, b"\x02W" + os.urandom(4)) for number in range(len(segments))
        ]
        self._segments = list(segments)
        self._status: list[dict[str, Any]] = [{"state": "unplugged"} for _ in segments]
        self._core, self._place = core, place
        self._worker: NetworkWorker | None = None

    @property
    def slots(self) -> list[int]:
        return [card.slot for card in self._cards]

    @property
    def status(self) -> list[dict[str, Any]]:
        """Of each card: number, mac, segment, state ("unplugged", "connecting",
        "connected", "failed"), reaches, forwards, error."""
        return [
            {"number": card.number, "mac": card.mac.hex(":"), "segment": segment.word, **status}
            for card, segment, status in zip(self._cards, self._segments, self._status, strict=True)
        ]

    def start(self) -> None:
        """Begins to carry frames, once; the machine calls it."""
        if self._worker is not None or not self._cards:
            return
        for card in self._cards:
            card.refresh()
        cards = [{"number": card.number, "slot": card.slot, "area": card.area} for card in self._cards]
        stack_top = STACK_BASE + (STACK + 1) * STACK_SIZE
        self._worker = self._place.network(self._core, {"stackTop": stack_top, "cards": cards}, self._heard)
        if self._worker is None:
            return  # a place without workers: the cards are there, unplugged
        for number, segment in enumerate(self._segments):
            self._plug(number, segment)

    def connect(self, network: str, card: int = 0) -> None:
        """Plugs a card into something else, or once more into the same.

        A machine has the cards that it was booted with.  Raises BadConfiguration.
        """
        segment = _parse(network)
        self._need(card)
        self._segments[card] = segment
        self._plug(card, segment)

    def disconnect(self, card: int = 0) -> None:
        """Pulls a card's cable."""
        self._need(card).post({"type": "disconnect", "number": card})

    def renew(self) -> None:
        """Pulls all cables for a moment and puts them back, so that the guest asks
        for its addresses again: what a machine needs that slept."""
        if self._worker is not None:
            self._worker.post({"type": "renew"})

    def close(self) -> None:
        """Ends the worker, and with it every connection."""
        if self._worker is not None:
            self._worker.terminate()
            self._worker = None

    def _need(self, card: int) -> NetworkWorker:
        if not 0 <= card < len(self._cards):
            raise BadConfiguration(
                f"network card {card}: the machine has {len(self._cards)}; boot it with network=\"relay\" or \"switch\""
            )
        if self._worker is None:
            raise NotSupported("this place has no worker that carries frames")
        return self._worker

    def _plug(self, number: int, segment: Segment) -> None:
        if segment.kind == "relay":
            url = self._place.relay
            if not url:
                self._status[number] = {"state": "failed", "error": "there is no relay here"}
                return
            wanted: dict[str, Any] = {"kind": "relay", "url": url}
        else:
            wanted = {"kind": "switch", "name": segment.name, "mac": list(self._cards[number].mac)}
        self._status[number] = {"state": "connecting"}
        self._need(number).post({"type": "connect", "number": number, "segment": wanted})

    def _heard(self, message: dict[str, Any], frame: bytes) -> None:
        number = message.get("number")
        if not isinstance(number, int) or not 0 <= number < len(self._cards) or self._worker is None:
            return
        if message["type"] == "status":
            self._status[number] = {key: value for key, value in message.items() if key not in ("type", "number")}
        elif message["type"] == "dhcp" and (reply := dhcp.answer(frame, MTU)):
            self._worker.post({"type": "frame", "number": number}, reply)
