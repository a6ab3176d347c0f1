"""What the control plane asks of the place it runs in.

Two implementations: `hartwell.platform.javascript` (Pyodide in a browser
worker or in Node, the only room that imports ``js``) and
`hartwell.platform.wasmtime` (CPython with wasmtime, harts as threads).
Everything above is the same Python on both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from hartwell.errors import NotSupported
from hartwell.memory_plan import MemoryPlan

if TYPE_CHECKING:
    from hartwell.platform.store import Store, Streamed


class Blob(Protocol):
    """Bytes that need not pass through Python's heap (a kernel, a disk)."""

    size: int

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`; shorter at the end."""


class Core(Protocol):
    """One machine's linear memory and the supervisor's instance of cpu.wasm."""

    plan: MemoryPlan

    @property
    def failure(self) -> str | None:
        """Why a hart's worker ended by itself (a trap in cpu.wasm), else None."""

    def read(self, offset: int, count: int) -> bytes: ...
    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None: ...
    def fill(self, offset: int, value: int, count: int) -> None: ...
    def place(self, blob: Blob, source: int, offset: int, count: int) -> None:
        """Copies blob[source:source+count] into memory at `offset`."""

    def load(self, offset: int) -> int:
        """Atomic load of an unsigned 32-bit word."""

    def store(self, offset: int, value: int) -> None:
        """Atomic store of a 32-bit word."""

    def or_(self, offset: int, bits: int) -> int:
        """Atomic OR into a 32-bit word; the old value."""

    def and_(self, offset: int, bits: int) -> int:
        """Atomic AND into a 32-bit word; the old value."""

    def notify(self, offset: int) -> None:
        """Wakes whoever waits on that word."""

    settled: bool
    """A machine runs in it already: what devices are made of is there, and is left."""

    def call(self, export: str, *arguments: int | float) -> int:
        """Calls an export of cpu.wasm on this thread.  i64 results come back
        as Python ints; a trap in it raises HartwellError with its text."""

    def prepare_harts(self) -> None:
        """Begins to start their workers, for start_harts to find them; may be left out."""

    async def start_harts(self) -> None:
        """Starts one worker (thread) per hart; each loops over hart_run till
        the machine stops.  Returns when all run."""

    async def wait(self, offset: int, value: int, timeout: float) -> None:
        """Awaits until the word at `offset` differs from `value`, or
        `timeout` seconds; may return early."""

    def block(self, offset: int, value: int, timeout: float) -> bool:
        """As `wait`, but this thread sleeps: for the milliseconds that a pause
        takes.  True when the word differs from `value`."""

    async def open_disks(self, plan: Mapping[str, Any]) -> int:
        """Begins to serve disks (hartwell.machine_disks.MachineDisks has the plan); a number for the calls below."""

    async def commit_disks(self, number: int) -> list[int]:
        """Returns when all that was written is kept: the overlays' generations."""

    async def settle_disks(self, number: int) -> None:
        """After a wake: the overlays' records become what the disks are."""

    async def disk_errors(self, number: int) -> list[str | None]:
        """What went wrong last with each disk."""

    async def pack_disk(self, number: int, index: int, folder: str) -> dict[str, Any]:
        """Node: writes a disk's chunks as an image."""

    async def close_disks(self, number: int) -> None:
        """Commits and ends."""

    async def join(self) -> None:
        """Waits till every hart's worker has left hart_run."""

    def terminate(self) -> None:
        """Ends all workers at once and lets the memory go."""


class NetworkWorker(Protocol):
    """What carries a machine's frames; web/network/worker.mjs has the messages."""

    def post(self, message: Mapping[str, Any], frame: bytes = b"") -> None: ...
    def terminate(self) -> None: ...


class Early(Protocol):
    """A machine that the page woke before Python was up, by its snapshot's recipe (hartwell.snapshot.recipe)."""

    name: str  # "": a copy, of the machine that set-up booted
    text: str  # the manifest
    woke: float  # seconds since the Unix epoch
    identity: str  # the machine's
    disks: Mapping[str, Any]  # web/early-disks.mjs's Served

    def core(self, plan: MemoryPlan) -> Core:
        """Its memory, where its harts run."""

    async def take_over(self) -> tuple[bytes, bytes, bytes]:
        """Output and keys come to Python from here on.  What the terminal was given at first,
        what the guest has put out since, and keys that it had no room for."""

    async def streamed(self) -> Streamed:
        """As Store.stream, of what is under way."""

    async def drop(self) -> None:
        """Ends it, and gives its lock back."""


class Platform(Protocol):
    """The place itself."""

    request: Callable[..., Any] | None
    """hartwell.http.proxy.Fetch by the browser; None where nothing bounds what it reaches."""
    mirror: str
    """Where the page's server has Debian's archive; "" where it does not."""
    relay: str
    """The address of a relay to the internet; "" where there is none."""

    name: str  # "browser", "node", "wasmtime"
    store: Store | None
    """What keeps things over a restart (hartwell.platform.store); None where nothing does."""

    shown_bytes: int
    """Bytes of "console" events so far."""

    async def terminal(self) -> tuple[int, str, str] | None:
        """How many bytes of "console" events the page's terminal has seen, what it
        shows then as text with escape sequences, and its screen as plain text;
        None without a page."""

    def expect_harts(self, count: int, translations: str = "") -> None:
        """A machine of so many harts is about to be made: their workers may start, and what was
        translated of an image ahead may be looked for."""

    async def create(self, plan: MemoryPlan, translations: str = "") -> Core:
        """A fresh zeroed memory and an instance of cpu.wasm on it.

        translations: an image; what set-up has translated of it ahead is used, where there is any.
        """

    def numbers(self, plan: MemoryPlan) -> dict[str, Any] | None:
        """For a recipe: what this place needs to know of such a machine to wake it without
        Python; None where nothing can."""

    async def early(self) -> Early | None:
        """The machine that woke before Python was up; None for none, and after the first call."""

    async def fetch(self, source: str) -> Blob:
        """A name below ``static/``, a path (Node, CPython) or a URL.
        FileNotFoundError when it is not there.  Reports progress by emit()."""

    def address(self, name: str) -> str:
        """The URL, or path, of a name below ``static/``."""

    async def locate(self, source: str) -> tuple[str, int]:
        """Where ranges of a source can be read (a URL), and its size; as fetch() finds it."""

    def blob(self, data: bytes) -> Blob:
        """A blob of bytes that Python already has."""

    def network(
        self, core: Core, plan: Mapping[str, Any], heard: Callable[[dict[str, Any], bytes], None]
    ) -> NetworkWorker | None:
        """Starts the worker that carries a machine's frames (hartwell.net); None
        where there are no such workers."""

    def channel(self, heard: Callable[[Mapping[str, Any]], None]) -> Callable[[Mapping[str, Any]], None] | None:
        """What pages of this origin tell each other: `heard` gets what others send,
        the result sends.  None where there are no other pages."""

    def emit(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Tells the page (or the command line) of an event: "console"
        {data: bytes, quiet: it is shown again, no answer is wanted}, "state" {...}, "progress" {what, loaded, total}."""


_current: Platform | None = None


def use(platform: Platform) -> None:
    """Makes `platform` the one that machines boot on from now on."""
    global _current
    _current = platform


def current() -> Platform:
    """The platform of this process.  NotSupported where none was chosen."""
    if _current is None:
        raise NotSupported(
            "this Python has no place for machines; use the page's Python console, `hartwell run`, "
            "or hartwell.platform.use(hartwell.platform.wasmtime.WasmtimePlatform(...))"
        )
    return _current
