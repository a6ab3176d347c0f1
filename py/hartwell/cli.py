"""The `hartwell` command."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from hartwell import __version__, cli_gdb, cli_snapshot
from hartwell.errors import HartwellError
from hartwell.setup import relay

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.act(options)
    except HartwellError as error:
        print(f"hartwell: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hartwell", description="A Linux computer, here in a terminal.")
    parser.add_argument("--version", action="version", version=f"hartwell {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run", help="boot a machine with its console on this terminal",
        description="Boots a machine with its console on stdin and stdout; the guest's power-off ends it, and so does "
        "Ctrl-A x; Ctrl-A s sends the machine to sleep.  A bare program's exit status is this command's.",
    )
    run.add_argument("--image", help="a name from static/images (default: the one that serve.py made)")
    run.add_argument("--kernel", metavar="FILE", help="a RISC-V Linux Image, plain or gzip")
    run.add_argument("--initrd", metavar="FILE")
    run.add_argument("--append", metavar="TEXT", help="kernel arguments, added to the image's")
    run.add_argument("--wake", metavar="NAME", help="a sleeping machine, or a .hartwell file, instead")
    run.add_argument("--disk", metavar="FILE", action="append", dest="disks", help="a raw image (may be given several times)")
    run.add_argument(
        "--overlay", metavar="NAME", help="what changes to the image's disk are kept as (default: the image's name; "
        "none: forget them)"
    )
    run.add_argument("--harts", type=int, metavar="N", help="1 to 8")
    run.add_argument("--memory", metavar="SIZE", help="guest RAM, such as 512M")
    run.add_argument("--firmware", metavar="FILE", help="an M-mode image, such as static/firmware/fw_jump.bin")
    run.add_argument("--bare", metavar="ELF", help="an M-mode program instead of Linux")
    run.add_argument(
        "--share", metavar="FOLDER[:ro]", help="a folder that the guest has at /mnt/host; with :ro it can't change it"
    )
    run.add_argument("--net", action="store_true", help="a network card, by a relay that ends with this command")
    relay.add_options(run)
    run.add_argument("--no-jit", dest="jit", action="store_false", help="interpret only")
    run.add_argument("--gdb", type=int, metavar="PORT", help="let gdb connect to 127.0.0.1:PORT (0: any that is free)")
    run.add_argument("--halt", action="store_true", help="start with every hart before its first instruction; gdb lets them go")
    run.add_argument("--jit-threshold", dest="jit", type=int, metavar="N", help="translate what was visited N times")
    run.set_defaults(act=_run)

    script = commands.add_parser(
        "script", help="run a Python script in which `Machine` is at hand",
        description="Runs FILE with Machine in its namespace, with await at the top level, as the page's Python console "
        "does.  sys.argv is FILE and ARGS; sys.exit's number is this command's status.",
    )
    script.add_argument("file", metavar="FILE")
    script.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS")
    script.set_defaults(act=_script)

    cli_gdb.add(commands)
    cli_snapshot.add(commands, _node)
    cli_snapshot.add_disks(commands, _node)

    images = commands.add_parser("image", help="list and make images").add_subparsers(required=True, metavar="ACTION")
    images.add_parser("list", help="the images there are").set_defaults(act=_list_images)
    build = images.add_parser(
        "build", help="make an image from a recipe",
        description="Makes static/images/NAME from a recipe (docs/images.md): fetches its packages, lets a machine of our "
        "own configure them, and stores the disk that it wrote.  RECIPE is a .toml file or the name of one that comes along.",
    )
    build.add_argument("recipe", metavar="RECIPE")
    build.add_argument("--mirror", metavar="URL", help="a Debian mirror, instead of those of this machine's apt")
    build.add_argument(
        "--unsigned-index", action="store_true", help="take the mirror's list of packages without its signature: for a "
        "mirror that is being synchronised, over a connection that you trust; recipes with a lock don't need it"
    )
    build.add_argument("--default", action="store_true", help="boot it when no image is named")
    build.add_argument("--no-preboot", dest="preboot", action="store_false", help="do not boot it once for the page to wake")
    build.set_defaults(act=_build_image)
    kernel = images.add_parser("kernel", help="build an own, smaller kernel from Debian's source package")
    kernel.add_argument("--mirror", metavar="URL", help="a Debian mirror, instead of those of this machine's apt")
    kernel.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="compilers side by side")
    kernel.add_argument("--debug-info", action="store_true", help="with a vmlinux that has types and lines, for debuggers")
    kernel.set_defaults(act=_build_kernel)

    bench = commands.add_parser("bench", help="measure speed, start and memory beside QEMU")
    bench.add_argument("what", nargs=argparse.REMAINDER, metavar="...", help="names of benchmarks and options of bench/run.py")
    bench.set_defaults(act=_bench)
    return parser


def _run(options: argparse.Namespace) -> int:
    names = ("image", "kernel", "initrd", "append", "harts", "memory", "firmware", "bare", "jit", "disks", "gdb", "halt", "wake",
             "overlay")
    chosen = {name: value for name in names if (value := getattr(options, name)) is not None}
    for name in ("kernel", "initrd", "firmware", "bare"):
        if name in chosen and not Path(chosen[name]).exists():
            raise HartwellError(f"--{name}: {chosen[name]} is not there")
    others = sorted(name for name, value in chosen.items() if value and name not in ("wake", "jit", "gdb"))
    if options.wake and others:
        raise HartwellError(f"--wake: a machine that wakes is as it was, so there can be no --{others[0]}")
    if options.gdb is not None and not 0 <= options.gdb <= 65535:
        raise HartwellError(f"--gdb {options.gdb}: a port is a number from 0 to 65535")
    if options.share:
        folder = Path(options.share.removesuffix(":ro")).resolve()
        if not folder.is_dir():
            raise HartwellError(f"--share: {folder} is not a folder")
        chosen["share"] = {"folder": str(folder), "writable": not options.share.endswith(":ro")}
    if options.overlay == "none":
        chosen["overlay"] = None
    if sys.stdin.isatty():
        size = shutil.get_terminal_size()
        chosen["resize"] = [size.columns, size.lines]
    wanted = relay.from_options(options)
    if not options.net:
        if options.allow or options.forward:
            raise HartwellError("--allow and --forward are about the network; give --net too")
        return _node(chosen)
    with relay.local(wanted) as url:
        return _node({**chosen, "relay": url})


def _script(options: argparse.Namespace) -> int:
    try:
        text = Path(options.file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise HartwellError(f"{options.file}: {error}; a Python script is expected") from None
    return _node({"script": text, "arguments": [options.file, *options.arguments]})


def _node(options: dict[str, Any]) -> int:
    """Runs hartwell.headless.main in Node; its exit status."""
    from hartwell.setup import node

    command = [str(node.find()), "--no-warnings", str(ROOT / "web" / "node" / "host.mjs"), json.dumps(options)]
    with subprocess.Popen(command) as process:
        # Who ends this command ends the machine: Node may not go on without it.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: process.send_signal(number))
        try:
            status = process.wait()
        except BaseException:
            process.kill()
            raise
    return 128 - status if status < 0 else status


def _build_image(options: argparse.Namespace) -> int:
    from hartwell.setup import builder, commands
    from hartwell.setup.steps import Progress, Runner

    def act() -> int:
        with builder.one_build(Progress()):
            name = builder.build(
                options.recipe, options.mirror, Progress(), unsigned=options.unsigned_index, default=options.default)
            if options.preboot:
                commands.boot_ahead(name, Runner(Progress()))
        print(f"made the image {name}; `hartwell run --image {name}` boots it")
        return 0

    return commands.reported(act)  # a polite end too leaves no machine behind


def _list_images(_: argparse.Namespace) -> int:
    folder = ROOT / "static" / "images"
    try:
        index = json.loads((folder / "index.json").read_text())
    except FileNotFoundError:
        raise HartwellError("there is no image yet; `python3 serve.py` makes the one named shell") from None
    for name in index["images"]:
        facts = json.loads((folder / name / "image.json").read_text())
        mark = "*" if name == index.get("default") else " "
        print(f"{mark} {name:12} {facts.get('memory', ''):>6}  {facts.get('description', '')}")
    return 0


def _build_kernel(options: argparse.Namespace) -> int:
    from hartwell.setup import commands, kernel
    from hartwell.setup.steps import Progress, Runner

    def act() -> int:
        kernel.build(options.mirror, options.jobs, debug_info=options.debug_info)
        commands.boot_ahead(kernel.NAME, Runner(Progress()))  # for its translations, and for the page to wake
        return 0

    return commands.reported(act)


def _bench(options: argparse.Namespace) -> int:
    return subprocess.run([sys.executable, str(ROOT / "bench" / "run.py"), *options.what], check=False, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
