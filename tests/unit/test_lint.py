"""The checkers of each language over all of it; what they say is shown when they object."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hartwell.setup import node, npm, paths


def check(*command: str) -> None:
    result = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
    if result.returncode:
        pytest.fail(f"{result.stdout}{result.stderr}", pytrace=False)


def test_ruff() -> None:
    check(sys.executable, "-m", "ruff", "check", "--output-format", "concise", ".")


def test_mypy() -> None:
    check(sys.executable, "-m", "mypy")


def test_typescript() -> None:
    compiler = npm.TOOLS / "typescript" / "lib" / "tsc.js"
    check(str(node.find()), str(compiler), "-p", "web", "--typeRoots", str(npm.TOOLS / "@types"))
