"""Web servers of guests, at an origin of their own: http://PORT-NAME.guest.localhost:N/.

A page of this server's opens a WebSocket and says a NAME that nobody can guess;
requests to that name's hosts go to the page, which asks its guest, and answers.
Browsers take names below localhost for this machine, so the guest's pages are
a foreign origin to Hartwell's, and no other site can address them.

A message is its head's length (4 bytes, big-endian), the head in JSON, and a
body.  To the page: {id, port, method, path, headers}; back: {id, status,
headers} or {id, error}.  The text "ready" comes first.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
from dataclasses import dataclass, field

from hartwell.setup.websocket import Endpoint, WebSocket

PATH = "/ws/guest"
HOST = re.compile(r"(\d{1,5})-([0-9a-f]{32})\.guest\.localhost")
LARGEST = 64 << 20  # bytes of a message
LARGEST_BODY = 16 << 20  # of a request
SECONDS = 130.0
_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass
class Answer:
    """What the guest's server said, or why nothing."""

    status: int = 502
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


class Guests:
    """The pages that are there, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: dict[str, _Page] = {}

    def endpoint(self) -> Endpoint:
        return Endpoint(self.serve, largest=LARGEST)

    def serve(self, socket: WebSocket) -> None:
        """One page, until it goes."""
        name = socket.query.get("name", "")
        page = _Page(socket)
        with self._lock:
            before = self._pages.get(name)  # a page that comes back is here before its old line's thread has ended
            if not _NAME.fullmatch(name) or before is not None and before.open:
                socket.close(1008, "a name of 32 hexadecimal digits that is not taken is expected")
                return
            self._pages[name] = page
        try:
            socket.send("ready")  # requests may come before a browser knows that the line is open
            while (message := socket.receive()) is not None:
                page.heard(message)
        finally:
            with self._lock:
                if self._pages.get(name) is page:
                    del self._pages[name]
            page.gone()

    def ask(self, name: str, port: int, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> Answer:
        """Puts a request to the page's guest and waits for the answer."""
        with self._lock:
            page = self._pages.get(name)
        if page is None:
            return _words(503, "The machine's page is closed, or was never open.")
        return page.ask({"port": port, "method": method, "path": path, "headers": headers}, body)


class _Page:
    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[threading.Event, list[Answer]]] = {}

    @property
    def open(self) -> bool:
        """Is its line whole?"""
        return self._socket.open

    def ask(self, head: dict[str, object], body: bytes) -> Answer:
        came, answers = threading.Event(), list[Answer]()
        number = next(self._numbers)
        with self._lock:
            self._waiting[number] = came, answers
        text = json.dumps({"id": number, **head}).encode()
        try:
            self._socket.send(len(text).to_bytes(4, "big") + text + body)
            came.wait(SECONDS)
        except (ConnectionError, OSError):
            return _words(503, "The machine's page has closed.")
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        return answers[0] if answers else _words(504, "The guest has not answered.")

    def heard(self, message: bytes | str) -> None:
        """An answer; what is none is dropped."""
        if isinstance(message, str) or len(message) < 4:
            return
        count = int.from_bytes(message[:4], "big")
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            head = json.loads(message[4 : 4 + count])
            if "error" in head:
                answer = _words(502, str(head["error"]))
            else:
                pairs = [(str(name), str(value)) for name, value in head["headers"]]
                answer = Answer(int(head["status"]), pairs, message[4 + count :])
            self._give(int(head["id"]), answer)

    def gone(self) -> None:
        with self._lock:
            numbers = list(self._waiting)
        for number in numbers:
            self._give(number, _words(503, "The machine's page has closed."))

    def _give(self, number: int, answer: Answer) -> None:
        with self._lock:
            came, answers = self._waiting.get(number, (None, []))
        if came and not answers:
            answers.append(answer)
            came.set()


def _words(status: int, text: str) -> Answer:
    return Answer(status, [("Content-Type", "text/plain; charset=utf-8")], f"{text}\n".encode())
