"""hartwell bench [NAMES]: all of boot, mips ... io, or those named; bare, debian and soak only by name."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

NAMES = ("boot", "mips", "memory", "kernels", "real", "harts", "hibernation", "stores", "share", "debug", "io", "bare", "debian",
         "soak")


def main() -> int:
    parser = argparse.ArgumentParser(prog="hartwell bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=3, help="how often all machines take their turn (default 3)")
    parser.add_argument("--percent", type=int, default=100,
                        help="kernels, bare: work of a repetition (default 100: 10 ms native, bare 2 ms)")
    parser.add_argument("--repeats", type=int, default=30, help="kernels: repetitions at most, of one start (default 30)")
    parser.add_argument("--seconds", type=float, default=2, help="kernels: seconds for one start (default 2)")
    parser.add_argument("--only", nargs="*", help="kernels, bare: only these")
    parser.add_argument("--cores", nargs="*", help="bare: files of cpu.wasm that take turns with this one")
    parser.add_argument("--peers", nargs="*", help="only these machines, of native hartwell hartwell-no-jit qemu v86")
    parser.add_argument("--minutes", type=float, default=60, help="soak: how long (default 60)")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        print(f"hartwell bench: there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    try:
        import playwright.sync_api  # noqa: F401 - asked for here, to say in one line that it is not there
    except ImportError:
        print("hartwell bench: Playwright is missing; `python3 -m tests --collect-only` installs it", file=sys.stderr)
        return 2
    from bench import prepare
    from hartwell.errors import HartwellError

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        missing = prepare.prepare(say)
    except HartwellError as error:
        print(f"hartwell bench: {error}", file=sys.stderr)
        return 1
    for peer, why in missing.items():
        say(f"{peer} is left out: {why}")
    for name in options.names or NAMES[:-3]:
        say(f"--- {name}")
        importlib.import_module(f"bench.{name}").run(options, dict(missing))
    return 0


if __name__ == "__main__":
    sys.exit(main())
