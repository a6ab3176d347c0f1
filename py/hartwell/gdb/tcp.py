"""gdb over TCP in CPython.  Loopback only: whoever reaches the port owns the machine."""

from __future__ import annotations

import asyncio

from hartwell.gdb.server import Server

HOST = "127.0.0.1"
READ_BYTES = 65536


async def listen(server: Server, port: int = 0) -> asyncio.Server:
    """Serves gdb on 127.0.0.1:`port`; 0 takes a free one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = server.connect(writer.write)
        try:
            while session and not session.closed and (data := await reader.read(READ_BYTES)):
                session.receive(data)
        except ConnectionError:
            pass
        finally:
            if session:
                session.close()
            writer.close()

    return await asyncio.start_server(serve, HOST, port)
