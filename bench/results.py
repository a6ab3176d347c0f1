"""What a benchmark leaves in bench/results: figures as JSON, a table, a plot."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
ROOT = Path(__file__).resolve().parents[1]

_COLOURS = {
    "native": "#8a8f98", "hartwell": "#0b7285", "hartwell-no-jit": "#74b9c4", "qemu": "#e8590c", "v86": "#9c36b5",
}


def geometric_mean(values: Iterable[float]) -> float:
    """NaN of nothing."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "priority": _priority(),
        "kernel": platform.release(),
        "commit": _first(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]),
        "chromium": _first([shutil.which("chromium") or "chromium", "--version"]),
        "qemu": _first(["qemu-system-riscv64", "--version"]),
        "compiler": _first(["gcc", "--version"]),
    }


def _priority() -> str:
    """How this and all that it starts is scheduled: real time goes before all other work of a computer."""
    policy = getattr(os, "sched_getscheduler", lambda _: 0)(0)
    real = {getattr(os, name, None) for name in ("SCHED_FIFO", "SCHED_RR")}
    return "real time" if policy in real else f"nice {os.getpriority(os.PRIO_PROCESS, 0)}"


def _first(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return next((line.strip() for line in done.stdout.splitlines() if line.strip()), None)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Markdown; numbers with two decimals, right-aligned."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for row in rows:
        cells = ["-" if cell is None else f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(name: str, figures: Mapping[str, Any], text: str, plot: str | None = None) -> None:
    """Puts bench/results/NAME.json, .md and .svg in place and prints the text."""
    FOLDER.mkdir(exist_ok=True)
    facts = machine()
    where = (
        f"{facts['when']}, commit {facts['commit']}; {facts['processor']}, {facts['cores']} cores, "
        f"load average {facts['load'][0]} at the end, priority {facts['priority']}; {facts['chromium']}; "
        f"{facts['qemu']}; {facts['compiler']}."
    )
    (FOLDER / f"{name}.json").write_text(json.dumps({"machine": facts, **figures}, indent=1) + "\n")
    image = f"\n![{name}]({name}.svg)\n" if plot else ""
    (FOLDER / f"{name}.md").write_text(f"# {name}\n\n{where}\n\n{text}\n{image}")
    if plot:
        (FOLDER / f"{name}.svg").write_text(plot)
    print(f"\n{text}\n\n{where}\nwritten to bench/results/{name}.*", flush=True)


def bars(title: str, groups: Mapping[str, Mapping[str, float | None]], unit: str) -> str:
    """An SVG of grouped bars on a logarithmic scale: {group: {series: value}}."""
    series = list(dict.fromkeys(name for group in groups.values() for name in group))
    values = [value for group in groups.values() for value in group.values() if value]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    bar, gap, left, top, height = 9, 14, 56, 54, 260
    width = left + sum(len(series) * bar + gap for _ in groups) + 16

    def y(value: float) -> float:
        return top + height * (high - math.log10(value)) / (high - low)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top + height + 70}" '
        'font-family="system-ui, sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="12" y="20" font-size="14" font-weight="600">{title}</text>',
    ]
    at = 12
    for name in series:
        out.append(f'<rect x="{at}" y="29" width="10" height="10" fill="{_COLOURS.get(name, "#495057")}"/>')
        out.append(f'<text x="{at + 14}" y="38">{name}</text>')
        at += 26 + 7 * len(name)
    for power in range(low, high + 1):
        line = y(10.0**power)
        out.append(f'<line x1="{left}" x2="{width - 8}" y1="{line:.1f}" y2="{line:.1f}" stroke="#dee2e6"/>')
        out.append(f'<text x="{left - 6}" y="{line + 4:.1f}" text-anchor="end">{10.0**power:g}{unit}</text>')
    x = left + gap / 2
    for group, members in groups.items():
        for index, name in enumerate(series):
            value = members.get(name)
            if value:
                spot = y(value)
                out.append(
                    f'<rect x="{x + index * bar:.1f}" y="{spot:.1f}" width="{bar - 1}" height="{top + height - spot:.1f}" '
                    f'fill="{_COLOURS.get(name, "#495057")}"><title>{group}, {name}: {value:.3g}{unit}</title></rect>'
                )
        middle = x + len(series) * bar / 2
        out.append(
            f'<text transform="translate({middle:.1f},{top + height + 12}) rotate(35)">{group}</text>'
        )
        x += len(series) * bar + gap
    return "\n".join([*out, "</svg>"]) + "\n"
