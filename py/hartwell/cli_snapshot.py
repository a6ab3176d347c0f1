"""`hartwell snapshot ...`: the sleeping machines of this computer."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hartwell.errors import HartwellError

Node = Callable[[dict[str, Any]], int]

_LIST = """
import time
for one in await Machine.snapshots():
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.time))
    print(f"{one.name:20} {one.image:12} {one.harts} harts {one.memory >> 20:6} MB {one.stored / 1e6:8.1f} MB stored  {when}")
"""


_DISKS = """
import time
from hartwell.overlays import overlays
for one in await overlays():
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.time))
    print(f"{one.name:20} disk of {one.disk >> 20:6} MB {one.changed / 1e6:8.1f} MB changed  {when}")
"""
_RESET = """
from hartwell.overlays import reset
for name in {names!r}:
    if not await reset(name):
        print(f"no changes to a disk {{name!r}} are kept here", file=sys.stderr)
        sys.exit(1)
"""


_EXPORT = "from hartwell import overlays\nawait overlays.export({name!r}, {file!r}, format={format!r})"
_COMPACT = """
from hartwell import overlays
print(f"{{await overlays.compact({name!r}) / 1e6:.1f}} MB of changes made no difference and are forgotten")
"""
_GROW = """
from hartwell import overlays
from hartwell.sizes import show_size
print(f"the disk has {{show_size(await overlays.grow({name!r}, {size!r}))}} from the next boot on; "
      "resize2fs in the guest makes the file system as large, unless the guest does so itself")
"""


def add_disks(commands: Any, node: Node) -> None:
    """Adds `hartwell disk`."""
    parser = commands.add_parser("disk", help="list, reset, export, compact and grow what machines wrote to their disks")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", help="the disks with changes").set_defaults(act=lambda _: _run(node, _DISKS))
    reset = actions.add_parser("reset", help="forget all changes: a disk is again as its image has it")
    reset.add_argument("names", metavar="NAME", nargs="+")
    reset.set_defaults(act=lambda options: _run(node, _RESET.format(names=options.names)))

    export = actions.add_parser("export", help="write a disk with its changes as one file that other programs read")
    export.add_argument("name", metavar="NAME", help="of the changes, or of an image whose disk has none")
    export.add_argument("file", metavar="FILE")
    export.add_argument("--format", choices=("raw", "qcow2"), help="default: by FILE's ending, else raw")
    export.set_defaults(act=lambda options: _export_disk(node, options))

    compact = actions.add_parser("compact", help="forget changes that make no difference, such as what fstrim discarded")
    compact.add_argument("name", metavar="NAME")
    compact.set_defaults(act=lambda options: _run(node, _COMPACT.format(name=options.name)))

    grow = actions.add_parser("grow", help="make a disk larger")
    grow.add_argument("name", metavar="NAME")
    grow.add_argument("size", metavar="SIZE", help="in all, such as 8G")
    grow.set_defaults(act=lambda options: _run(node, _GROW.format(name=options.name, size=options.size)))


def _export_disk(node: Node, options: argparse.Namespace) -> int:
    file = Path(options.file).resolve()
    if not file.parent.is_dir():
        raise HartwellError(f"{options.file}: there is no folder {file.parent}")
    format = options.format or ("qcow2" if file.suffix == ".qcow2" else "raw")
    return _run(node, _EXPORT.format(name=options.name, file=str(file), format=format))


def add(commands: Any, node: Node) -> None:
    """Adds the command; `node` runs headless.main."""
    parser = commands.add_parser(
        "snapshot", help="list, export, import and delete sleeping machines",
        description="Machines sleep in the folder HARTWELL_DATA, else ~/.local/share/hartwell.  `hartwell run --wake NAME` "
        "wakes one; Ctrl-A s in `hartwell run` sends the machine to sleep.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", help="the sleeping machines").set_defaults(act=lambda _: _run(node, _LIST))

    export = actions.add_parser("export", help="write one into a file that any Hartwell wakes or imports")
    export.add_argument("name", metavar="NAME")
    export.add_argument("file", metavar="FILE", help="its name ends in .hartwell")
    export.set_defaults(act=lambda options: _export(node, options))

    take = actions.add_parser("import", help="put a machine from such a file to the others")
    take.add_argument("file", metavar="FILE")
    take.add_argument("--name", metavar="NAME", help="what it is to be called (default: as it was)")
    take.set_defaults(act=lambda options: _run(
        node, f"print(await Machine.import_snapshot({_there(options.file)!r}, {options.name!r}))"))

    delete = actions.add_parser("delete", help="delete sleeping machines for good")
    delete.add_argument("names", metavar="NAME", nargs="+")
    delete.set_defaults(act=lambda options: _run(
        node, f"for name in {options.names!r}:\n    await Machine.delete_snapshot(name)"))


def _export(node: Node, options: argparse.Namespace) -> int:
    file = Path(options.file).resolve()
    if file.suffix != ".hartwell":
        raise HartwellError(f"{options.file}: the name of a snapshot's file ends in .hartwell")
    if not file.parent.is_dir():
        raise HartwellError(f"{options.file}: there is no folder {file.parent}")
    return _run(node, f"await Machine.export_snapshot({options.name!r}, {str(file)!r})")


def _there(file: str) -> str:
    if not Path(file).is_file():
        raise HartwellError(f"{file} is not there")
    return str(Path(file).resolve())


def _run(node: Node, code: str) -> int:
    """Errors with names are said in one line, as the other commands do."""
    lines = "\n".join(f"    {line}" for line in code.strip().splitlines())
    return node({"script": f"""
import sys
from hartwell.errors import HartwellError
try:
{lines}
except HartwellError as error:
    print(f"hartwell: {{type(error).__name__}}: {{error}}", file=sys.stderr)
    sys.exit(1)
"""})
