"""static/python.heap: the memory of a started Python, for pages to begin with.

Made headless in Node (web/node/heap.mjs).  Where that fails the file is
empty, and a page's first visit starts Python from nothing, as others do whose
engine is not Node's.
"""

from __future__ import annotations

import subprocess

from hartwell.setup import node, paths, wheels
from hartwell.setup.steps import Progress, SetupError, Step, digest, scratch_folder, write_file

FILE = paths.STATIC / "python.heap"
SCRIPTS = [paths.ROOT / "web" / name for name in ("node/heap.mjs", "python.mjs", "packages.lock")]
SECONDS = 300


def step() -> Step:
    """To be run when static/wheels and static/pyodide are there."""
    key = digest("heap 1", (wheels.FOLDER / "wheels.json").read_bytes(), *(path.read_bytes() for path in SCRIPTS))
    return Step("heap", "starting Python once, for the page", key, (FILE,), make)


def make(progress: Progress) -> None:
    """Leaves the file, empty where there is none to be had."""
    with scratch_folder(FILE) as folder:
        file = folder / FILE.name
        try:
            command = [str(node.find()), str(SCRIPTS[0]), str(paths.STATIC), str(file)]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
            if done.returncode or not file.is_file():
                raise SetupError((done.stderr or done.stdout).strip()[-2000:])
            file.replace(FILE)
        except (SetupError, OSError, subprocess.TimeoutExpired) as error:
            progress.note(f"  {error}\n  the page will start Python from nothing")
            write_file(FILE, b"")
