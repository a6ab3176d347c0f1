"""The platform in a browser worker and in Node: Pyodide on the JavaScript glue.

The glue is web/core.mjs (a machine's memory and workers) and a host object
that web/supervisor.mjs or web/node/host.mjs makes; this module gives them the
shape of `hartwell.platform`.  Only this room knows JavaScript.

Costs shape it: a call of a bound JavaScript function takes under a
microsecond, a typed array made for Python takes five, so small reads and
writes go through one staging buffer in Python's heap and large ones through a
view of the machine's memory.  Kernels and disks never enter Python's heap.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

from pyodide.ffi import JsException, create_proxy, to_js  # type: ignore[import-not-found]

from hartwell.errors import HartwellError, MachineStopped, NotSupported
from hartwell.gdb.server import Server
from hartwell.layout import CONSTANTS, MAX_HARTS, STACK_BASE, STACK_SIZE, field
from hartwell.memory_plan import MemoryPlan
from hartwell.platform import Blob, Core, Early, NetworkWorker, javascript_gdb
from hartwell.platform.javascript_store import JavaScriptStore, done, streamed, taken
from hartwell.platform.store import Store, Streamed
from hartwell.snapshot.recipe import stream_places

STAGE_BYTES = 16384
HART_BUDGET = 100_000  # instructions between two returns of hart_run


class JavaScriptBlob:
    """Bytes that JavaScript holds."""

    def __init__(self, host_blob: Any) -> None:
        self.host_blob = host_blob
        self.size = int(host_blob.size)

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`; shorter at the end."""
        return bytes(self.host_blob.slice(offset, count).to_bytes())

    def __del__(self) -> None:
        self.host_blob.free()


class PythonBlob:
    """Bytes that Python already has."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.size = len(data)

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`; shorter at the end."""
        return self.data[offset : offset + count].tobytes()


def _gone(*_: Any) -> NoReturn:
    raise MachineStopped("this machine was closed or fell asleep, and its memory was given back; boot or wake one")


class JavaScriptCore:
    """A machine's memory and the supervisor's instance of cpu.wasm (`platform.Core`)."""

    def __init__(self, plan: MemoryPlan, host_core: Any, storage: Any, settled: bool = False) -> None:
        self.plan = plan
        self.settled = settled
        self._storage = storage
        self._core = host_core
        self._ended = False
        self._failure: str | None = None
        self._stage = bytearray(STAGE_BYTES)
        self._staged = memoryview(self._stage)
        self._proxy = create_proxy(self._stage)
        host_core.stageWith(self._proxy)
        # Bound once: looking a method up costs more than calling it.
        self._pull, self._push, self._view = host_core.pull, host_core.push, host_core.view
        self._call, self._wait, self._block = host_core.call, host_core.wait, host_core.block
        self.load = host_core.load
        self.or_ = getattr(host_core, "or")
        self.and_ = getattr(host_core, "and")
        self.store = host_core.store
        self.notify = host_core.notify
        self.fill = host_core.fill

    @property
    def host_core(self) -> Any:
        """The glue's object.  MachineStopped once it is ended."""
        return _gone() if self._ended else self._core

    @property
    def failure(self) -> str | None:
        """Why a hart's worker ended by itself (a trap in cpu.wasm), else None."""
        if self._ended:
            return self._failure
        text = self._core.failure
        return None if text is None else str(text)

    def read(self, offset: int, count: int) -> bytes:
        """Bytes of linear memory; BadAddress is the caller's business, outside is an IndexError."""
        self._check(offset, count)
        if count <= STAGE_BYTES:
            self._pull(offset, count)
            return self._staged[:count].tobytes()
        return bytes(self._view(offset, count).to_bytes())

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Copies `data` into linear memory at `offset`."""
        count = len(data)
        self._check(offset, count)
        if count <= STAGE_BYTES:
            self._stage[:count] = data
            self._push(offset, count)
        else:
            self._view(offset, count).assign(data)

    def place(self, blob: Blob, source: int, offset: int, count: int) -> None:
        """Copies blob[source:source+count] to linear memory at `offset`."""
        self._check(offset, count)
        if source < 0 or source + count > blob.size:
            raise IndexError(f"bytes {source} to {source + count} of a blob of {blob.size} bytes")
        if isinstance(blob, JavaScriptBlob):
            self.host_core.place(blob.host_blob, source, offset, count)
        else:
            self.write(offset, blob.read(source, count))

    def call(self, export: str, *arguments: float) -> int:
        """Calls an export of cpu.wasm on this thread."""
        try:
            return int(self._call(export, *arguments))
        except JsException as error:
            raise HartwellError(f"{export}{arguments} in cpu.wasm: {error}") from None

    def prepare_harts(self) -> None:
        """Begins to start the harts' workers."""
        self.host_core.prepareHarts()

    async def start_harts(self) -> None:
        """One worker per hart, each in hart_run till the machine stops.  May be
        called again after a stop: workers that live are used again."""
        try:
            await self.host_core.startHarts()
        except JsException as error:
            raise HartwellError(f"a hart's worker did not start: {error}") from None

    async def wait(self, offset: int, value: int, timeout: float) -> None:
        """Awaits until the word differs from `value`, `timeout` seconds at most."""
        await self._wait(offset, value, timeout * 1000)

    def block(self, offset: int, value: int, timeout: float) -> bool:
        """As `wait`, but this thread sleeps: for the few milliseconds that a
        pause takes.  True when the word differs from `value`."""
        return bool(self._block(offset, value, timeout * 1000))

    async def open_disks(self, plan: Mapping[str, Any]) -> int:
        """Begins to serve disks; a number for the calls below."""
        opening = self._storage.openDisks(self.host_core, json.dumps(dict(plan)))
        return int(await taken(opening, lambda number: self.close_disks(int(number))))

    async def commit_disks(self, number: int) -> list[int]:
        """Returns when all that was written is kept: the overlays' generations."""
        return [int(each) for each in await done(self._storage.commitDisks(number))]

    async def settle_disks(self, number: int) -> None:
        """After a wake: the overlays' records become what the disks are."""
        await done(self._storage.settleDisks(number))

    async def disk_errors(self, number: int) -> list[str | None]:
        """What went wrong last with each disk."""
        found: list[str | None] = json.loads(await done(self._storage.diskErrors(number)))
        return found

    async def pack_disk(self, number: int, index: int, folder: str) -> dict[str, Any]:
        """Node: writes a disk's chunks as an image."""
        facts: dict[str, Any] = json.loads(await done(self._storage.packDisk(number, index, folder)))
        return facts

    async def close_disks(self, number: int) -> None:
        """Commits and ends."""
        await done(self._storage.closeDisks(number))

    async def join(self) -> None:
        """Until every hart's worker has left hart_run."""
        await self.host_core.join()

    def terminate(self) -> None:
        """Ends all workers at once and lets the memory go; the second time does nothing."""
        if self._ended:
            return
        self._ended = True
        self._failure = self.failure
        self._core.terminate()
        # A person may keep the Machine, and what is in a cycle waits long for Python's collector:
        # the engine frees the memory only when nothing here names it.
        self._core = None
        self._pull = self._push = self._view = self._call = self._wait = self._block = _gone
        self.load = self.or_ = self.and_ = self.store = self.notify = self.fill = _gone
        self._proxy.destroy()

    def __del__(self) -> None:
        self.terminate()

    def _check(self, offset: int, count: int) -> None:
        if offset < 0 or count < 0 or offset + count > self.plan.total_bytes:
            raise IndexError(
                f"bytes {offset:#x} to {offset + count:#x} are outside the machine's "
                f"{self.plan.total_bytes:#x} bytes of linear memory"
            )


class JavaScriptPlatform:
    """The place itself (`platform.Platform`); `host` is the glue's object."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.name = str(host.name)
        self.relay = str(host.relay or "")
        self.mirror = str(host.mirror or "")
        self.request = self._request if host.request else None
        self.store: Store | None = JavaScriptStore(host.store)
        self.shown_bytes = 0

    def expect_harts(self, count: int, translations: str = "") -> None:
        """Their workers may start, and the browser may have its translations from an earlier visit."""
        self.host.expectHarts(count, translations)

    async def create(self, plan: MemoryPlan, translations: str = "") -> Core:
        """A fresh zeroed memory and an instance of cpu.wasm on it."""
        try:
            return JavaScriptCore(plan, await self.host.create(json.dumps(_numbers(plan)), translations), self.host.store)
        except JsException as error:
            raise NotSupported(str(error.message)) from None

    def numbers(self, plan: MemoryPlan) -> dict[str, Any] | None:
        """What JavaScript needs to make such a memory and to fill it."""
        return {"core": _numbers(plan), "places": stream_places(plan)}

    async def early(self) -> Early | None:
        """The machine that woke before Python was up, once."""
        found = await self.host.early()
        return None if found is None else JavaScriptEarly(found, self.host.store)

    async def _request(self, method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> JavaScriptResponse:
        try:
            return JavaScriptResponse(await self.host.request(method, url, json.dumps(headers), to_js(body)))
        except JsException as error:
            raise HartwellError(
                f"{url}: the browser could not fetch it ({error.message}); it may not exist, or not allow other sites (CORS)"
            ) from None

    async def fetch(self, source: str) -> Blob:
        """A name below ``static/``, a path (Node) or a URL, with progress."""
        try:
            found = await self.host.fetch(source)
        except JsException as error:
            raise HartwellError(f"{source} could not be read: {error.message}") from None
        if found is None:
            raise FileNotFoundError(f"{source}: not found")
        return JavaScriptBlob(found)

    async def terminal(self) -> tuple[int, str, str] | None:
        """What the page's terminal shows; see `platform.Platform`."""
        answer = json.loads(await self.host.terminal())
        return (int(answer["position"]), str(answer["text"]), str(answer["screen"])) if answer else None

    def address(self, name: str) -> str:
        """The URL, or path, of a name below ``static/``."""
        return str(self.host.address(name))

    async def listen_for_gdb(self, port: int, server: Server) -> int:
        """Opens a port of this computer for gdb; which one it is."""
        try:
            return int(await self.host.gdb(port, create_proxy(lambda send: javascript_gdb.connect(server, send))))
        except JsException as error:
            raise NotSupported(str(error.message)) from None

    async def locate(self, source: str) -> tuple[str, int]:
        """Where ranges of a source can be read, and its size."""
        try:
            found = await self.host.locate(source)
        except JsException as error:
            raise HartwellError(f"{source} could not be read: {error.message}") from None
        if found is None:
            raise FileNotFoundError(f"{source}: not found")
        return str(found.url), int(found.size)

    def blob(self, data: bytes) -> Blob:
        """A blob of bytes that Python already has."""
        return PythonBlob(data)

    def network(
        self, core: Core, plan: Mapping[str, Any], heard: Callable[[dict[str, Any], bytes], None]
    ) -> NetworkWorker | None:
        """Starts the worker that carries a machine's frames."""
        assert isinstance(core, JavaScriptCore)
        return JavaScriptNetwork(self.host, core, plan, heard)

    def channel(self, heard: Callable[[Mapping[str, Any]], None]) -> Callable[[Mapping[str, Any]], None] | None:
        """What pages of this origin tell each other."""
        if self.host.channel is None:
            return None
        send = self.host.channel(create_proxy(lambda text: heard(json.loads(text))))  # for as long as the page lives
        return lambda message: send(json.dumps(dict(message)))

    def emit(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Tells the page (or the terminal) of an event."""
        if kind == "console":
            self.shown_bytes += len(payload["data"])
            self.host.console(to_js(payload["data"]), bool(payload.get("quiet")))
        else:
            self.host.emit(kind, json.dumps(dict(payload)))


def _numbers(plan: MemoryPlan) -> dict[str, int]:
    """web/core.mjs's Plan."""
    return {
        "pages": plan.wasm_pages, "harts": plan.harts, "stackBase": STACK_BASE, "stackSize": STACK_SIZE,
        "supervisorThread": MAX_HARTS, "budget": HART_BUDGET,
        "again": CONSTANTS["RUN_BUDGET"], "crash": CONSTANTS["STOP_CRASH"],
        "aheadTable": plan.values["jit_ahead_offset"], "aheadBytes": field("Machine.jit.ahead_bytes").offset,
    }


class JavaScriptEarly:
    """A machine of web/early.mjs (`platform.Early`)."""

    def __init__(self, early: Any, storage: Any) -> None:
        self._early, self._storage = early, storage
        self.name, self.text = str(early.name), str(early.text)
        self.woke, self.identity = float(early.woke), str(early.identity)
        self.disks: Mapping[str, Any] = json.loads(early.disks)

    def core(self, plan: MemoryPlan) -> Core:
        """Its memory."""
        return JavaScriptCore(plan, self._early.core, self._storage, settled=True)

    async def take_over(self) -> tuple[bytes, bytes, bytes]:
        """The page's terminal is Python's from here on."""
        had = await self._early.takeOver()
        return had.shown.to_bytes(), had.output.to_bytes(), had.keys.to_bytes()

    async def streamed(self) -> Streamed:
        """Until all memory is there."""
        return streamed(await done(self._early.streamed()))

    async def drop(self) -> None:
        """Ends it."""
        await self._early.drop()


class JavaScriptNetwork:
    """A machine's network worker (`platform.NetworkWorker`)."""

    def __init__(
        self, host: Any, core: JavaScriptCore, plan: Mapping[str, Any], heard: Callable[[dict[str, Any], bytes], None]
    ) -> None:
        self._heard = create_proxy(lambda text, frame: heard(json.loads(text), bytes(frame.to_bytes())))
        self._worker = host.network(core.host_core, json.dumps(dict(plan)), self._heard)

    def post(self, message: Mapping[str, Any], frame: bytes = b"") -> None:
        """A message to the worker, with a frame or without."""
        self._worker.post(json.dumps(dict(message)), to_js(frame))

    def terminate(self) -> None:
        """Ends it at once."""
        self._worker.terminate()
        self._heard.destroy()


class JavaScriptResponse:
    """What the browser's fetch gave (`http.proxy.Response`)."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self.status, self.url = int(response.status), str(response.url)
        self.headers = [(name, value) for name, value in json.loads(response.headers)]

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end."""
        try:
            return bytes((await self._response.read()).to_bytes())
        except JsException as error:
            raise ConnectionResetError(str(error.message)) from None


class HostFolder:
    """A folder of web/folders.mjs, in the shape that ninep.handles wants."""

    def __init__(self, folder: Any) -> None:
        self._call = folder.call

    async def call(self, method: str, path: str, *arguments: Any) -> Any:
        """What folders.mjs answers: a dict, or bytes."""
        given = [to_js(each) if isinstance(each, (bytes, bytearray)) else each for each in arguments]
        answer = await self._call(method, path, *given)
        return answer.to_bytes() if hasattr(answer, "to_bytes") else answer.to_py()


class Answers:
    """Runs the page's Python, one task per question, and puts every end in JSON:
    ``{"json": ...}`` or ``{"name", "message", "traceback"}``."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def ask(self, run: Callable[[str], Awaitable[str]], code: str) -> str:
        """`run(code)`'s text, or the error it ended with.  Nothing is raised."""
        task = asyncio.ensure_future(self._answer(run, code))
        self._tasks.add(task)
        try:
            return await task
        except asyncio.CancelledError as error:  # before its first step
            return json.dumps(in_words(error))
        finally:
            self._tasks.discard(task)

    async def _answer(self, run: Callable[[str], Awaitable[str]], code: str) -> str:
        try:
            return json.dumps({"json": await run(code)})
        except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt past a task reaches the event loop
            return json.dumps(in_words(error))

    async def file(self, work: Awaitable[bytes | str | tuple[str, bytes]]) -> Any:
        """As `ask`, for bytes: a JavaScript array of the JSON and the bytes."""
        try:
            value = await work
        except BaseException as error:  # noqa: BLE001 - as above
            return to_js([json.dumps(in_words(error)), b""])
        if isinstance(value, str):
            return to_js([json.dumps({"json": value}), b""])
        if isinstance(value, tuple):
            return to_js([json.dumps({"json": value[0]}), value[1]])
        return to_js([json.dumps({}), value])

    def cancel(self) -> None:
        """Ends all that is asked now, where it awaits."""
        for task in self._tasks:
            task.cancel()


async def value_of(work: Awaitable[Any]) -> Any:
    """A JavaScript object with the value, which may be JavaScript's own, or the error in words."""
    try:
        return _object({"value": await work})
    except BaseException as error:  # noqa: BLE001 - the page shows it
        return _object({"error": in_words(error)})


def _object(mapping: dict[str, Any]) -> Any:
    from js import Object  # type: ignore[import-not-found]

    return to_js(mapping, dict_converter=Object.fromEntries)


def in_words(error: BaseException) -> dict[str, str]:
    """Name, message and traceback of an error; the glue's own frames are left out."""
    frames = traceback.extract_tb(error.__traceback__)
    while frames and "<console " not in frames[0].filename and any("<console " in f.filename for f in frames):
        del frames[0]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
    lines += traceback.format_exception_only(error)
    return {"name": type(error).__name__, "message": str(error), "traceback": "".join(lines)}
