"""static/page: the page in a few files, so that opening it takes a few requests (decisions/0044).

esbuild joins what a page or a worker imports into one file each.  The server
gives these in place of web/'s while they are made of just what web/ is now
(`fresh`): whoever edits web/ sees it at the next reload, file by file.
Where there is no esbuild to be had, all stays with web/.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from hartwell.setup import npm, paths
from hartwell.setup.steps import Progress, SetupError, Step, digest, digest_files, replace_folder, scratch_folder

FOLDER = paths.STATIC / "page"
WEB = paths.ROOT / "web"
SOURCES = "sources"
"""A file in the folder: the digest of what it was made of; empty where nothing was."""
PAGE = ("start.mjs", "main.mjs")
"""The page's own: what both import is in files that they share."""
WORKERS = ("supervisor.mjs", "hart.mjs", "terminal.mjs", "storage/worker.mjs", "network/worker.mjs")
"""One file each: nothing more is asked for while a worker starts."""
OPTIONS = [
    "--bundle", "--format=esm", "--target=es2022", "--outbase=.", "--outdir=../page", "--out-extension:.js=.mjs",
    "--chunk-names=shared-[hash]", "--sourcemap", "--minify-whitespace", "--minify-syntax", "--legal-comments=eof",
    "--preserve-symlinks", "--external:node:*", "--external:../node/*", "--log-level=warning",
]
SECONDS = 120
_SHEET = re.compile(r'[ \t]*<link rel="stylesheet" href="([^"]+)" />\n')
_AHEAD = re.compile(r'[ \t]*<link rel="modulepreload" href="[^"]+" />\n')


def package() -> str | None:
    """esbuild's npm package for this computer; None where web/packages.lock pins none."""
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine().lower(), "")
    name = f"@esbuild/{sys.platform}-{machine}"
    return name if name in npm.read_lock() else None


def program_step(name: str) -> Step:
    """Fetches esbuild."""
    return npm.program_step(name, "bin/esbuild")


def sources(web: Path) -> str:
    """The digest of a page's sources."""
    return digest_files((path for path in web.rglob("*") if path.is_file()), web)


def step(name: str | None) -> Step:
    """To be run when esbuild, of that package, and static/xterm are there; None: no esbuild, and an empty folder."""
    xterm = digest_files((paths.STATIC / "xterm").glob("*.*s"), paths.STATIC)
    key = digest("bundle 1", sources(WEB), xterm, name or "", repr((PAGE, WORKERS, OPTIONS)), _SHEET.pattern, _AHEAD.pattern)

    def act(progress: Progress) -> None:
        with scratch_folder(FOLDER) as scratch:
            page = scratch / "page"
            page.mkdir()
            made = ""
            if name:
                try:
                    made = make(npm.program(name), WEB, paths.STATIC, scratch)
                except (SetupError, subprocess.TimeoutExpired) as error:
                    progress.note(f"  {error}\n  the page will be given file by file")
            (page / SOURCES).write_text(made)
            replace_folder(page, FOLDER)

    return Step("bundle", "joining the page's files", key, (FOLDER / SOURCES,), act)


def make(esbuild: Path, web: Path, static: Path, scratch: Path) -> str:
    """Leaves the page in `scratch`/page; the digest of what it was made of."""
    made = sources(web)
    work = scratch / "web"
    work.mkdir(parents=True)
    for entry in web.iterdir():
        (work / entry.name).symlink_to(entry)
    (work / "static").symlink_to(static)
    text = (web / "index.html").read_text()
    # Styles count in the order in which the page names them.
    (work / "page.css").write_text("".join(f'@import "./{sheet}";\n' for sheet in _SHEET.findall(text)))
    page = scratch / "page"
    for entries, options in ((PAGE, ["--splitting"]), ((*WORKERS, "page.css"), [])):
        done = subprocess.run(
            [str(esbuild), *entries, *OPTIONS, *options], cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=SECONDS, env={**os.environ, "NO_COLOR": "1"})
        if done.returncode:
            raise SetupError(f"esbuild: {done.stderr.strip()[-2000:]}")
    ahead = [f'    <link rel="modulepreload" href="{path.name}" />\n' for path in sorted(page.glob("shared-*.mjs"))]
    first = _SHEET.search(text)
    assert first is not None, "index.html names no style"
    at = first.start()
    rest = _SHEET.sub("", text[at:])
    style = '    <link rel="stylesheet" href="page.css" />\n'
    (page / "index.html").write_text(_AHEAD.sub("", text[:at]) + "".join(ahead) + style + rest)
    return made


def fresh(page: Path, web: Path) -> bool:
    """Whether the folder `page` was made of what `web` has now."""
    try:
        return (page / SOURCES).read_text() == sources(web)
    except OSError:
        return False
