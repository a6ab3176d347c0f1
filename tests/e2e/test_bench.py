"""The kernels of bench/ compute the same natively and in the guest; nothing is timed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import prepare
from hartwell.setup import cpio, paths
from tests.wishes.build import CACHE

NAMES = "sieve quicksort matmul crc32 queens bytecode memcpy sha256 nbody chase fib virtual".split()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The kernels for this machine and for the guest, from the compiler that every checkout has."""
    folder = tmp_path_factory.mktemp("kernels")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GLOBAL", "LOCAL"):  # the C library is built for this and other tests' programs once
            patch.setenv(f"ZIG_{name}_CACHE_DIR", str(CACHE))
        patch.setitem(prepare.COMPILERS, "native", (["no-such-gcc"], []))
        patch.setitem(prepare.COMPILERS, "riscv64", (["no-such-gcc"], prepare.COMPILERS["riscv64"][1]))
        patch.setattr(prepare, "FLAGS", [flag for flag in prepare.FLAGS if flag != "-static"])
        native = prepare.compile_kernels("native", folder / "native", lambda _: None)
        patch.setattr(prepare, "FLAGS", [*prepare.FLAGS, "-static"])
        yield {"native": native, "riscv64": prepare.compile_kernels("riscv64", folder / "riscv64", lambda _: None)}


def checksums(output: str) -> dict[str, str]:
    """Of each kernel in what the program printed."""
    return dict(re.findall(r"(\w+) ([0-9a-f]{16}) \d+ \d+ \d+", output))


def test_kernels_agree_between_native_and_guest(programs: dict[str, Path], tmp_path: Path) -> None:
    """A small scale of each, under the interpreter, in Node."""
    assert subprocess.check_output([programs["native"], "list"], text=True).split() == NAMES
    expected = checksums("".join(
        subprocess.check_output([programs["native"], name, "1", "3", "0"], text=True) for name in NAMES
    ))
    tree = cpio.Tree()
    tree.file("bench/kernels", programs["riscv64"].read_bytes(), 0o755)
    initrd = tmp_path / "initrd"
    initrd.write_bytes((paths.STATIC / "images" / "shell" / "initrd").read_bytes() + tree.archive())
    script = tmp_path / "script.py"
    script.write_text(
        f"machine = await Machine.boot(initrd={str(initrd)!r}, jit=False)\n"
        f"print((await machine.run('for k in {' '.join(NAMES)}; do /bench/kernels $k 1 3 0; done', timeout=600)).stdout)\n"
    )
    command = [str(paths.ROOT / ".venv" / "bin" / "hartwell"), "script", str(script)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    assert list(expected) == NAMES
    assert checksums(done.stdout) == expected, done.stdout + done.stderr
