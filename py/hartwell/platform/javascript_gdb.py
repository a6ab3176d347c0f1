"""gdb's connections as JavaScript hands them on: web/node/gdb.mjs and web/gdb-bridge.mjs."""

from __future__ import annotations

from typing import Any

from pyodide.ffi import to_js  # type: ignore[import-not-found]

from hartwell.gdb.server import Server
from hartwell.gdb.session import Session


class Wire:
    """One connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def receive(self, data: Any) -> bool:
        """Bytes of gdb's; False when the connection is to be closed."""
        self._session.receive(bytes(data.to_bytes()))
        return not self._session.closed

    def close(self) -> None:
        """gdb has gone."""
        self._session.close()


def connect(server: Server, send: Any) -> Wire | None:
    """A new connection; None when it is refused.  `send` takes a Uint8Array."""
    session = server.connect(lambda data: send(to_js(data)))
    return Wire(session) if session else None
