"""Traces for other tools: the Trace Event Format (JSON) that Perfetto and
Chrome's tracing read.

Processes of the guest are processes there, with a track for each thread; the
harts are a process of their own, with a track for each hart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hartwell.trace.syscalls import Syscall

if TYPE_CHECKING:
    from hartwell.trace.trace import Event

HARTS = 1 << 22  # above every pid (PID_MAX_LIMIT)
_MICRO = 1e6


def chrome(events: Sequence[Syscall | Event], unfinished: Sequence[Syscall] = (), about: Mapping[str, int] | None = None) -> str:
    """The JSON text; `about` is what viewers show of the trace as a whole."""
    rows: list[dict[str, Any]] = []
    processes: dict[int, str] = {HARTS: "harts"}
    on_hart: dict[int, tuple[float, str]] = {}
    for event in events:
        if isinstance(event, Syscall):
            processes.setdefault(event.tgid, event.comm or f"process {event.tgid}")
            rows.append({
                "name": event.name, "cat": "syscall", "ph": "X", "pid": event.tgid, "tid": event.pid,
                "ts": event.start * _MICRO, "dur": (event.duration or 0) * _MICRO,
                "args": {"call": event.text, "hart": event.hart},
            })
            continue
        if event.kind == "switch":
            if before := on_hart.get(event.hart):
                rows.append(_span(event.hart, *before, event.time))
            on_hart[event.hart] = (event.time, f"{event.comm} {event.pid}".strip())
            continue
        rows.append({
            "name": event.name, "cat": event.kind, "ph": "i", "s": "t", "pid": HARTS, "tid": event.hart,
            "ts": event.time * _MICRO, "args": {"pc": f"{event.pc:#x}", "pid": event.pid, "detail": f"{event.detail:#x}"},
        })
    last = max((event.start if isinstance(event, Syscall) else event.time for event in events), default=0.0)
    rows += [_span(hart, *before, last) for hart, before in on_hart.items()]
    for call in unfinished:
        processes.setdefault(call.tgid, call.comm or f"process {call.tgid}")
        rows.append({"name": call.name, "cat": "syscall", "ph": "B", "pid": call.tgid, "tid": call.pid,
                     "ts": call.start * _MICRO, "args": {"call": call.text}})
    for number, name in processes.items():
        rows.append({"name": "process_name", "ph": "M", "pid": number, "tid": 0, "args": {"name": name}})
    for hart in sorted({row["tid"] for row in rows if row["pid"] == HARTS and row["ph"] != "M"}):
        rows.append({"name": "thread_name", "ph": "M", "pid": HARTS, "tid": hart, "args": {"name": f"hart {hart}"}})
    return json.dumps({"traceEvents": rows, "displayTimeUnit": "ms", "otherData": dict(about or {})})


def _span(hart: int, start: float, name: str, end: float) -> dict[str, Any]:
    return {"name": name, "cat": "task", "ph": "X", "pid": HARTS, "tid": hart,
            "ts": start * _MICRO, "dur": max(0.0, end - start) * _MICRO}
