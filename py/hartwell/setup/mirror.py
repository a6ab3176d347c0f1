"""Finds a Debian mirror: what the caller names, or what this machine's apt is set up with.

Formats: sources.list(5), one-line and deb822.  They are read here, not asked
of apt: `apt-get indextargets` says nothing on a machine whose package lists
were never fetched, as in a fresh container.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from hartwell.setup.steps import SetupError

# Archives that carry riscv64 from trixie on have these suites in their lists;
# other distributions' archives (which lack it) have other names.
_SUITES = {
    "buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid",
    "oldoldstable", "oldstable", "stable", "testing", "unstable",
}
_ONE_LINE = re.compile(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)")


def find_mirrors(given: str | None, folder: Path = Path("/etc/apt")) -> list[str]:
    """Addresses of Debian archives to try in turn, without a slash at the end.

    Raises SetupError when none is known.
    """
    if given:
        if not re.match(r"(https?|file)://?", given):
            raise SetupError(f"--mirror {given}: not an http, https or file address of a Debian archive")
        return [given.rstrip("/")]
    found = dict.fromkeys(uri.rstrip("/") for uri in _configured(folder))
    if not found:
        raise SetupError(
            "no Debian mirror is known: this machine's apt configuration names none. "
            "Say one with --mirror URL (the address that has `dists` and `pool` below it)"
        )
    return list(found)


def _configured(folder: Path) -> Iterator[str]:
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    for file in files:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        entries = _deb822(text) if file.suffix == ".sources" else _lines(text) if file.suffix == ".list" else ()
        for uri, suite, components in entries:
            if _is_debian(suite) and "main" in components and re.match(r"https?://|file:/", uri):
                yield uri


def _is_debian(suite: str) -> bool:
    name, _, part = suite.strip("/").partition("-")
    return name in _SUITES and part in ("", "updates", "proposed-updates", "backports")


def _lines(text: str) -> Iterator[tuple[str, str, list[str]]]:
    for line in text.splitlines():
        if match := _ONE_LINE.match(line.split("#")[0].strip()):
            yield match[1], match[2], match[3].split()


def _deb822(text: str) -> Iterator[tuple[str, str, list[str]]]:
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", lines):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0") or "deb" not in fields.get("types", "").split():
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield uri, suite, fields.get("components", "").split()


def apt_proxy(scheme: str) -> str | None:
    """The proxy that apt is told to use, None without one."""
    if not shutil.which("apt-config"):
        return None
    result = subprocess.run(["apt-config", "dump", "--format", "%v", f"Acquire::{scheme}::Proxy"],
                            capture_output=True, text=True)
    proxy = result.stdout.strip()
    return proxy if proxy and proxy != "DIRECT" else None
