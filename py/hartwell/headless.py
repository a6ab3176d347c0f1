"""A machine on a terminal: what `hartwell run` does in Node, on the page's own glue."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from hartwell import platform
from hartwell.errors import HartwellError
from hartwell.machine import Machine
from hartwell.ninep.folder import OsFolder
from hartwell.platform import Platform

CRASHED = 70  # EX_SOFTWARE of sysexits.h
REFUSED = 2
SHARE = "/shared"  # web/node/host.mjs

_early = bytearray()  # typed before the machine was there


async def main(place: Platform, options: dict[str, Any]) -> int:
    """Boots with `options` (arguments of Machine.boot; "resize": [cols, rows];
    "share": {"writable": bool} of the folder that the glue has mounted; "gdb":
    a port for gdb), or with "wake" wakes a machine, and stays until the machine
    stops; the process's exit status.

    With "script" there is no machine at first: that Python is run, with
    top-level await and with `Machine` in its names, as on the page; "arguments"
    are its sys.argv.
    """
    platform.use(place)
    options = dict(options)
    gdb = options.pop("gdb", None)
    if (script := options.pop("script", None)) is not None:
        return await _script(place, str(script), options.pop("arguments", None) or [""])
    if size := options.pop("resize", None):
        Machine.console_size = (int(size[0]), int(size[1]))
    options.pop("relay", None)  # the glue's
    if shared := options.pop("share", None):
        options["share"] = OsFolder(SHARE, writable=bool(shared["writable"]))
    wake = options.pop("wake", None)
    try:
        machine = await (Machine.boot(**options) if wake is None else Machine.wake(str(wake)))
    except (HartwellError, FileNotFoundError) as error:
        print(f"hartwell: {type(error).__name__}: {error}", file=sys.stderr)
        return REFUSED
    if gdb is not None:
        try:
            print(f"hartwell: for gdb: {await machine.gdb(gdb)}", file=sys.stderr, flush=True)
        except HartwellError as error:
            print(f"hartwell: --gdb {gdb}: {error}", file=sys.stderr)
            return REFUSED
    machine.console.write(bytes(_early))
    _early.clear()
    code = await machine.wait()
    if machine.state == "crashed":
        print(f"hartwell: the machine crashed: {machine.error}", file=sys.stderr)
        return CRASHED
    return code


async def sleep() -> None:
    """Sends the machine to sleep, which ends main()."""
    if Machine.shown is not None and Machine.shown.alive:
        try:
            await Machine.shown.hibernate()
        except HartwellError as error:
            print(f"hartwell: {type(error).__name__}: {error}", file=sys.stderr)
        else:
            print("\r\nhartwell: asleep; `hartwell snapshot list` names it", file=sys.stderr)


async def _script(place: Platform, code: str, arguments: list[str]) -> int:
    from hartwell import supervisor

    supervisor.start(place)
    sys.argv = list(arguments)
    try:
        await supervisor.evaluate(code)
    except SystemExit as leave:
        if leave.code is None or isinstance(leave.code, int):
            return leave.code or 0
        print(leave.code, file=sys.stderr)
        return 1
    except Exception:  # noqa: BLE001 - it is the script's, to be shown as Python shows it
        traceback.print_exc()
        return 1
    return 0


def write(data: bytes) -> None:
    """Keys of the terminal."""
    if Machine.shown is None:
        _early.extend(data)
    elif Machine.shown.alive:
        Machine.shown.console.write(data)


def resize(cols: int, rows: int) -> None:
    """The terminal has another size."""
    Machine.console_size = (cols, rows)
    if Machine.shown is not None:
        Machine.shown.console.resize(cols, rows)
