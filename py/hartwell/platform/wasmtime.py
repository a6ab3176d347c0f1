"""The platform on CPython: cpu.wasm in wasmtime, harts as threads.

A second, independent engine to hold the core against, without a browser.
wasmtime has no cheap quick tier, so nothing here is fast; every rule of
`hartwell.platform` holds all the same.

Each thread has a store and an instance of its own on the one shared memory.
wasmtime releases the interpreter's lock while Wasm runs, and the clock that
cpu.wasm imports is wasmtime's, so harts never wait for Python.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

from hartwell import translations
from hartwell.errors import HartwellError, NotSupported
from hartwell.gdb import tcp
from hartwell.gdb.server import Server
from hartwell.layout import CONSTANTS, MAX_HARTS, RING_BASE, STACK_BASE, STACK_SIZE, field
from hartwell.memory_plan import MemoryPlan
from hartwell.platform import Blob, Core, NetworkWorker
from hartwell.platform.store import Store
from hartwell.platform.wasmtime_disks import DiskThread

HART_BUDGET = 100_000  # instructions between two returns of hart_run
SLICE_SECONDS = 0.1  # the longest sleep that nothing can cut short
CHUNK_BYTES = 1 << 20
WAITERS = 4  # threads that sleep for `wait`; their stacks follow the supervisor's

DISK_THREAD = MAX_HARTS + 1 + WAITERS

assert STACK_BASE + (DISK_THREAD + 1) * STACK_SIZE <= RING_BASE

# WASI's clock as the import that cpu.wasm wants: a clock in Python would need
# the interpreter's lock for every read of the guest's time.
_CLOCK = """
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $get (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "clock") (result f64)
    (drop (call $get (i32.const 0) (i64.const 1000) (i32.const 0)))
    (f64.div (f64.convert_i64_u (i64.load (i32.const 0))) (f64.const 1000))))
"""


class _SharedMemory(wasmtime.SharedMemory):
    """wasmtime-py 50 hands the linker a pointer to a pointer."""

    def _as_extern(self) -> ffi.wasmtime_extern_t:
        union = ffi.wasmtime_extern_union(sharedmemory=self.ptr())
        return ffi.wasmtime_extern_t(ffi.WASMTIME_EXTERN_SHAREDMEMORY, union)


class BytesBlob:
    """Bytes that Python has."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.size = len(data)

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`; shorter at the end."""
        return self.data[offset : offset + count].tobytes()


class FileBlob:
    """A file, read as it is needed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.size = path.stat().st_size

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`; shorter at the end."""
        self._file.seek(offset)
        return self._file.read(count)


class _Engine:
    """cpu.wasm compiled, for all machines of a platform."""

    def __init__(self, cpu: Path) -> None:
        config = wasmtime.Config()
        config.wasm_threads = True
        config.shared_memory = True
        self.engine = wasmtime.Engine(config)
        try:
            self.cpu = wasmtime.Module.from_file(self.engine, str(cpu))
        except wasmtime.WasmtimeError as error:
            raise NotSupported(f"{cpu}: {error}; build it by `python -m hartwell.setup.build`") from None
        self.clock = wasmtime.Module(self.engine, _CLOCK)


class _Thread:
    """One thread's store and instance.  Not to be used from two threads at once."""

    def __init__(self, engine: _Engine, memory: wasmtime.SharedMemory, number: int) -> None:
        self.store = wasmtime.Store(engine.engine)
        self.store.set_wasi(wasmtime.WasiConfig())
        linker = wasmtime.Linker(engine.engine)
        linker.define_wasi()
        self.ahead = b""
        clock = linker.instantiate(self.store, engine.clock).exports(self.store)["clock"]
        linker.define(self.store, "host", "clock", clock)
        linker.define(self.store, "env", "memory", memory)
        kinds = wasmtime.FuncType([wasmtime.ValType.i32()] * 3, [wasmtime.ValType.i32()])
        linker.define(self.store, "host", "install", wasmtime.Func(self.store, kinds, self._install, access_caller=True))
        self._engine, self._memory = engine.engine, memory
        self._exports = linker.instantiate(self.store, engine.cpu).exports(self.store)
        stack = self._exports["__stack_pointer"]
        assert isinstance(stack, wasmtime.Global)
        stack.set_value(self.store, STACK_BASE + (number + 1) * STACK_SIZE)
        self._functions: dict[str, tuple[wasmtime.Func, list[bool]]] = {}

    def _install(self, caller: wasmtime.Caller, offset: int, count: int, slots: int) -> int:
        """Links a module that the translator made into this thread's table."""
        if count == 0:
            return self._link(caller, self.ahead, slots) if self.ahead else 0
        address = ctypes.addressof(self._memory.data_ptr().contents) + (offset & 0xFFFF_FFFF)
        return self._link(caller, ctypes.string_at(address, count), slots)

    def _link(self, caller: wasmtime.Caller, code: bytes, slots: int) -> int:
        table = self._exports["__indirect_function_table"]
        assert isinstance(table, wasmtime.Table)
        if table.size(caller) < slots:
            table.grow(caller, max(4096, slots - table.size(caller)), None)
        try:
            module = wasmtime.Module(self._engine, code)
            wasmtime.Instance(caller, module, [self._memory, table])
        except wasmtime.WasmtimeError as error:
            self.refused = str(error)
            return 0
        return 1

    refused = ""
    """Why the engine refused a translation, for tests."""

    def call(self, export: str, *arguments: int | float) -> int:
        if export not in self._functions:
            function = self._exports[export]
            assert isinstance(function, wasmtime.Func)
            kinds = [kind == wasmtime.ValType.f64() for kind in function.type(self.store).params]
            self._functions[export] = function, kinds
        function, floats = self._functions[export]
        values = [float(value) if real else int(value) for value, real in zip(arguments, floats, strict=True)]
        result = function(self.store, *values)
        return 0 if result is None else int(result)


class WasmtimeCore:
    """A machine's memory, the supervisor's instance and the harts' threads (`platform.Core`)."""

    def __init__(self, plan: MemoryPlan, engine: _Engine) -> None:
        self.plan = plan
        self.settled = False
        self.failure: str | None = None
        self._engine = engine
        limits = wasmtime.Limits(plan.wasm_pages, plan.wasm_pages)
        try:
            self._memory = _SharedMemory(engine.engine, wasmtime.MemoryType(limits, shared=True))
        except wasmtime.WasmtimeError as error:
            raise NotSupported(f"the machine needs {plan.total_bytes >> 20} MB of shared memory: {error}") from None
        address = ctypes.addressof(self._memory.data_ptr().contents)
        self._bytes = memoryview((ctypes.c_ubyte * plan.total_bytes).from_address(address)).cast("B")
        self._own = _Thread(engine, self._memory, MAX_HARTS)
        self._harts: dict[int, _Thread] = {}
        self._ahead = b""
        self._threads: list[threading.Thread] = []
        self._ended = False
        self._disks: DiskThread | None = None
        self._waiters = ThreadPoolExecutor(WAITERS, "wait", self._prepare_waiter)
        self._waiter = threading.local()
        self._waiter_numbers = itertools.count(MAX_HARTS + 1)

    # --- memory --------------------------------------------------------------

    def read(self, offset: int, count: int) -> bytes:
        """Bytes of linear memory; IndexError outside of it."""
        self._check(offset, count)
        return self._bytes[offset : offset + count].tobytes()

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Copies `data` into linear memory at `offset`."""
        self._check(offset, len(data))
        self._bytes[offset : offset + len(data)] = data

    def fill(self, offset: int, value: int, count: int) -> None:
        """Sets `count` bytes to `value`."""
        self._check(offset, count)
        if count:
            ctypes.memset(ctypes.addressof(ctypes.c_ubyte.from_buffer(self._bytes, offset)), value, count)

    def place(self, blob: Blob, source: int, offset: int, count: int) -> None:
        """Copies blob[source:source+count] to linear memory at `offset`."""
        self._check(offset, count)
        if source < 0 or source + count > blob.size:
            raise IndexError(f"bytes {source} to {source + count} of a blob of {blob.size} bytes")
        for at in range(0, count, CHUNK_BYTES):
            self.write(offset + at, blob.read(source + at, min(CHUNK_BYTES, count - at)))

    def _check(self, offset: int, count: int) -> None:
        total = self.plan.total_bytes
        if offset < 0 or count < 0 or offset + count > total:
            raise IndexError(f"bytes {offset} to {offset + count} are outside the machine's {total} bytes")

    # --- words -----------------------------------------------------------------

    def load(self, offset: int) -> int:
        """Atomic load of an unsigned 32-bit word."""
        return self._own.call("atomic_load", self._word(offset)) & 0xFFFF_FFFF

    def store(self, offset: int, value: int) -> None:
        """Atomic store of a 32-bit word."""
        self._own.call("atomic_store", self._word(offset), value)

    def or_(self, offset: int, bits: int) -> int:
        """Atomic OR into a 32-bit word; the old value."""
        return self._own.call("atomic_or", self._word(offset), bits) & 0xFFFF_FFFF

    def and_(self, offset: int, bits: int) -> int:
        """Atomic AND into a 32-bit word; the old value."""
        return self._own.call("atomic_and", self._word(offset), bits) & 0xFFFF_FFFF

    def notify(self, offset: int) -> None:
        """Wakes whoever waits on that word."""
        self._own.call("atomic_notify", self._word(offset))

    def _word(self, offset: int) -> int:
        if offset & 3:
            raise IndexError(f"word at {offset}: its offset is not a multiple of 4")
        self._check(offset, 4)
        return offset

    def call(self, export: str, *arguments: int | float) -> int:
        """Calls an export of cpu.wasm on this thread."""
        try:
            return self._own.call(export, *arguments)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise HartwellError(f"{export}{arguments} in cpu.wasm: {error}") from None

    def renew(self) -> None:
        """Another instance in place of the supervisor's, as if its thread had died; for tests."""
        self._own = _Thread(self._engine, self._memory, MAX_HARTS)

    # --- harts -------------------------------------------------------------------

    def use_translations(self, module: bytes) -> None:
        """Before the harts run: translations made ahead, of translations.collect.  ValueError when it is no such module."""
        table = translations.table_of(module)
        self._ahead = self._own.ahead = module
        self.write(self.plan.values["jit_ahead_offset"], table)
        self.store(field("Machine.jit.ahead_bytes").offset, len(table))

    def prepare_harts(self) -> None:
        """A thread starts at once."""

    async def start_harts(self) -> None:
        """One thread per hart, each in hart_run till the machine stops.  May be
        called again after a stop."""
        await self.join()
        for hart in range(self.plan.harts):
            if hart not in self._harts:
                self._harts[hart] = _Thread(self._engine, self._memory, hart)
                self._harts[hart].ahead = self._ahead
        self._threads = [
            threading.Thread(target=self._run, args=(hart,), name=f"hart {hart}", daemon=True)
            for hart in range(self.plan.harts)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, hart: int) -> None:
        instance, again = self._harts[hart], CONSTANTS["RUN_BUDGET"]
        try:
            while not self._ended and instance.call("hart_run", hart, HART_BUDGET, 0) == again:
                pass
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            self.failure = f"hart {hart}: {error}"
            # The trap left this instance's stack pointer where it was: take a new one to say it.
            self._harts.pop(hart)
            _Thread(self._engine, self._memory, hart).call("machine_stop", CONSTANTS["STOP_CRASH"], 0)

    # --- disks ---------------------------------------------------------------------

    async def open_disks(self, plan: Mapping[str, Any]) -> int:
        """Begins to serve disks."""
        instance = _Thread(self._engine, self._memory, DISK_THREAD)
        self._disks = DiskThread(plan, instance.call, self._bytes)
        return 1

    async def commit_disks(self, number: int) -> list[int]:
        """Returns when all that was written is in the overlays."""
        return await asyncio.to_thread(self._disks.commit) if self._disks else []

    async def settle_disks(self, number: int) -> None:
        """Nothing sleeps here."""

    async def disk_errors(self, number: int) -> list[str | None]:
        """What went wrong last with each disk."""
        return self._disks.errors if self._disks else []

    async def pack_disk(self, number: int, index: int, folder: str) -> dict[str, Any]:
        """Not here."""
        raise NotSupported("an image is written by the machine in Node; use `hartwell image build`")

    async def close_disks(self, number: int) -> None:
        """Ends."""
        if self._disks:
            disks, self._disks = self._disks, None
            await asyncio.to_thread(disks.close)

    async def join(self) -> None:
        """Until every hart's thread has left hart_run."""
        for thread in self._threads:
            while thread.is_alive():
                await asyncio.sleep(0.001)

    def terminate(self) -> None:
        """Ends all threads and lets the memory go."""
        if self._ended:
            return
        self._ended = True
        if self._disks:
            self._disks.close()
            self._disks = None
        if any(thread.is_alive() for thread in self._threads):
            self.call("machine_stop", CONSTANTS["STOP_CRASH"], 0)
        # Every word that somebody may sleep on, so that nobody does any longer.
        for name in ("control", "doorbell", "doorbell_count", "running_harts"):
            self.notify(field(f"Machine.{name}").offset)
        for thread in self._threads:
            thread.join()
        self._waiters.shutdown(wait=True, cancel_futures=True)
        self._harts.clear()

    # --- waiting -------------------------------------------------------------------

    async def wait(self, offset: int, value: int, timeout: float) -> None:
        """Awaits until the word differs from `value`, `timeout` seconds at most."""
        over = threading.Event()
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._waiters, self._sleep, self._word(offset), value, timeout, over)
        finally:
            over.set()  # a wait that was cancelled gives its thread back

    def _prepare_waiter(self) -> None:
        self._waiter.instance = _Thread(self._engine, self._memory, next(self._waiter_numbers))

    def _sleep(self, offset: int, value: int, timeout: float, over: threading.Event) -> None:
        end = time.monotonic() + timeout
        while not (self._ended or over.is_set()) and (left := end - time.monotonic()) > 0:
            self._waiter.instance.call("atomic_wait", offset, value, min(left, SLICE_SECONDS))
            if self._waiter.instance.call("atomic_load", offset) & 0xFFFF_FFFF != value & 0xFFFF_FFFF:
                return

    def block(self, offset: int, value: int, timeout: float) -> bool:
        """As `wait`, but this thread sleeps.  True when the word differs from `value`."""
        end = time.monotonic() + timeout
        while self.load(offset) == value & 0xFFFF_FFFF:
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._own.call("atomic_wait", offset, value, min(left, SLICE_SECONDS))
        return True


class WasmtimePlatform:
    """The place itself (`platform.Platform`).

    cpu: the path of cpu.wasm.  static: the folder that names are looked up in.
    on_event: told of each event, as `Platform.emit` has it.
    """

    name = "wasmtime"
    store: Store | None = None  # a test may put one here
    shown_bytes = 0

    async def terminal(self) -> tuple[int, str, str] | None:
        """There is none."""
        return None

    relay = mirror = ""
    request = None

    def __init__(
        self, cpu: str | Path, static: str | Path, on_event: Callable[[str, Mapping[str, Any]], None] | None = None
    ) -> None:
        self.static = Path(static)
        self._engine = _Engine(Path(cpu))
        self._on_event = on_event

    def expect_harts(self, count: int, translations: str = "") -> None:
        """Threads start at once."""

    async def create(self, plan: MemoryPlan, translations: str = "") -> Core:
        """A fresh zeroed memory and an instance of cpu.wasm on it; translations are made anew."""
        return WasmtimeCore(plan, self._engine)

    def numbers(self, plan: MemoryPlan) -> None:
        """Machines do not sleep here."""

    async def early(self) -> None:
        """Nor wake."""

    async def fetch(self, source: str) -> Blob:
        """A name below the static folder, a path or a URL."""
        if source.startswith(("http://", "https://")):
            return await asyncio.to_thread(self._download, source, asyncio.get_running_loop())
        for path in (self.static / source, Path(source)):
            if path.is_file():
                blob = FileBlob(path)
                self.emit("progress", {"what": source, "loaded": blob.size, "total": blob.size})
                return blob
        raise FileNotFoundError(f"{source}: not found, neither in {self.static} nor as a path")

    def _download(self, url: str, loop: asyncio.AbstractEventLoop) -> Blob:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                total, parts, loaded = int(answer.headers.get("Content-Length") or 0), [], 0
                while part := answer.read(CHUNK_BYTES):
                    parts.append(part)
                    loaded += len(part)
                    progress = {"what": url, "loaded": loaded, "total": max(total, loaded)}
                    loop.call_soon_threadsafe(self.emit, "progress", progress)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise FileNotFoundError(f"{url}: not found") from None
            raise HartwellError(f"{url} could not be read: {error}") from None
        except OSError as error:
            raise HartwellError(f"{url} could not be read: {error}") from None
        return BytesBlob(b"".join(parts))

    def address(self, name: str) -> str:
        """The path of a name below ``static/``."""
        return str(self.static / name)

    async def listen_for_gdb(self, port: int, server: Server) -> int:
        """Opens a port of this computer for gdb; which one it is."""
        try:
            listening = await tcp.listen(server, port)
        except OSError as error:
            raise NotSupported(f"port {port} of this computer can't be had: {error.strerror}; take another") from None
        found: int = listening.sockets[0].getsockname()[1]
        return found

    async def locate(self, source: str) -> tuple[str, int]:
        """Where ranges of a source can be read, and its size."""
        for path in (self.static / source, Path(source)):
            if path.is_file():
                return path.resolve().as_uri(), path.stat().st_size
        raise FileNotFoundError(f"{source}: not found, neither in {self.static} nor as a path")

    def blob(self, data: bytes) -> Blob:
        """A blob of bytes that Python already has."""
        return BytesBlob(data)

    def network(
        self, core: Core, plan: Mapping[str, Any], heard: Callable[[dict[str, Any], bytes], None]
    ) -> NetworkWorker | None:
        """None: tests move a card's frames themselves."""
        return None

    def channel(self, heard: Callable[[Mapping[str, Any]], None]) -> Callable[[Mapping[str, Any]], None] | None:
        """There are no other pages."""
        return None

    def emit(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Tells `on_event`, if there is one."""
        if self._on_event:
            self._on_event(kind, payload)
