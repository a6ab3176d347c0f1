"""The supervisor worker's Python: one lasting namespace, and the keys of the page.

web/supervisor.mjs calls `start` once and then the rest as messages come.
"""

from __future__ import annotations

import ast
import inspect
import json
import linecache
from types import CodeType
from typing import Any

from hartwell import files, hibernation, moving, platform
from hartwell.errors import MachineStopped
from hartwell.http import client
from hartwell.machine import Machine
from hartwell.ninep.backend import Folder
from hartwell.platform import Platform

namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
_count = 0
_early: bytearray | None = bytearray()  # typed before the page's first machine was there
_EARLY_BYTES = 4096


def start(place: Platform) -> None:
    """Makes `place` the platform of machines, and the namespace ready."""
    platform.use(place)
    namespace.update(Machine=Machine, machine=None)
    moving.listen(Machine, place)


async def adopt() -> bool:
    """Takes over the machine that the page woke meanwhile; was there one?"""
    machine = await hibernation.adopt(Machine)
    if machine is not None:
        namespace["machine"] = machine
    return machine is not None


async def run(code: str) -> str:
    """Runs Python with top-level await; the last expression's value as JSON.

    What JSON does not know (bytes, objects) is given by its repr.
    """
    value = await evaluate(code)
    _give_early()
    try:
        return json.dumps(value, default=repr, allow_nan=False)
    except (ValueError, TypeError):  # NaN, keys that are no strings, circles
        return json.dumps(repr(value))


async def show(code: str) -> str:
    """As `run`, but JSON of what Python's own console would print: the value's
    repr, and nothing for None.  The value is in `_` afterwards."""
    value = await evaluate(code)
    if value is None:
        return json.dumps("")
    namespace["_"] = value
    return json.dumps(repr(value))


async def evaluate(code: str) -> Any:
    """Runs `code` in the namespace; the value of its last expression, else None."""
    global _count
    _count += 1
    filename = f"<console {_count}>"
    # Tracebacks show the lines that were typed.
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    tree = compile(code, filename, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(tree, ast.Module)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    value = None
    if tree.body:
        await _execute(compile(tree, filename, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
    if isinstance(last, ast.Expr):
        expression = ast.Expression(last.value)
        value = await _execute(compile(expression, filename, "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
    return value


async def _execute(code: CodeType) -> Any:
    # Text that a person typed into their own computer's Python is what this is for.
    value = eval(code, namespace)
    return await value if code.co_flags & inspect.CO_COROUTINE else value


def write(data: bytes) -> None:
    """Keys of the page's console, for the machine that has it; before the first
    one is there they wait for it."""
    if Machine.shown is not None and Machine.shown.alive:
        _give_early()
        Machine.shown.console.write(data)
    elif Machine.shown is None and _early is not None and len(_early) + len(data) <= _EARLY_BYTES:
        _early.extend(data)


def _give_early() -> None:
    """The page's first machine is there: it gets what was typed for it."""
    global _early
    machine = Machine.shown
    if _early is not None and machine is not None and machine.alive:
        early, _early = bytes(_early), None
        machine.console.write(early)


def resize(cols: int, rows: int) -> None:
    """The page's console has another size."""
    Machine.console_size = (cols, rows)
    if Machine.shown is not None:
        Machine.shown.console.resize(cols, rows)


def attach(name: str, folder: Folder) -> None:
    """The page gives a folder: all its machines see it as /mnt/host/NAME."""
    if shared := files.shared():
        shared.attach(name, folder)


async def upload(path: str, data: bytes) -> str:
    """A file that was dropped on the page; JSON of the path it got."""
    return json.dumps(await _shown().files.upload(path, data))


async def download(path: str) -> bytes:
    """A file for the person, or a folder as a tar archive."""
    return await _shown().files.download(path)


async def http(request: str, body: bytes) -> tuple[str, bytes]:
    """The page asks a web server of the guest's: JSON of port, method, path,
    headers; JSON of status and headers comes back, and the body."""
    asked = json.loads(request)
    answer = await client.request(
        _shown().vsock, int(asked["port"]), asked["method"], asked["path"], [(n, v) for n, v in asked["headers"]], body
    )
    return json.dumps({"status": answer.status, "headers": answer.headers}), answer.body


def _shown() -> Machine:
    if Machine.shown is None:
        raise MachineStopped("there is no machine; boot one first")
    return Machine.shown
