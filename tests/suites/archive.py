"""Which suite of Debian's archive a guest can install from."""

from __future__ import annotations

import hashlib
import re

import pytest

from hartwell.setup.archive import open_file
from hartwell.setup.steps import SetupError

SUITES = ("trixie", "forky", "sid")  # the image's own first


def whole_suite() -> str:
    """A suite whose list of packages is the one that was signed: a mirror that is
    being synchronised may have others, which apt rightly refuses."""
    for suite in SUITES:
        try:
            with open_file(None, f"dists/{suite}/InRelease", {}, False) as (_, _, body):
                signed = re.search(rb"^ ([0-9a-f]{64}) +\d+ main/binary-riscv64/Packages\.xz$", body.read(), re.M)
            with open_file(None, f"dists/{suite}/main/binary-riscv64/Packages.xz", {}, False) as (_, _, body):
                if signed and hashlib.sha256(body.read()).hexdigest().encode() == signed[1]:
                    return suite
        except SetupError as error:
            pytest.skip(f"this machine reaches no Debian archive: {error}")
    pytest.skip(f"this machine's mirror has no suite of {SUITES} whose list is the signed one")


def from_suite(suite: str) -> str:
    """The guest's command that makes apt know it, and no other: what updates it
    (trixie-updates) may be under way.  A mirror that stands still has lists that are whole and too old."""
    change = f"sed -i 's/^Suites:.*/Suites: {suite}/' /etc/apt/sources.list.d/debian.sources"
    return f"{change}; apt-get -q -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none update"
