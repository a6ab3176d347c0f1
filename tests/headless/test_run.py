"""`hartwell run`: Linux, Linux under OpenSBI, bare programs, and what it refuses."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hartwell.setup import paths
from tests.headless.terminal import BOOT_SECONDS, COMMAND, PROMPT, run

IMAGE = paths.STATIC / "images" / "shell"
EXIT_WITH_42 = """
.globl _start, tohost
_start:
    li a0, 42 << 1 | 1
    la a1, tohost
    sd a0, 0(a1)
    j .
.section .data
.balign 8
tohost: .dword 0
"""


def refused(*arguments: str | Path) -> str:
    """What the command says when it runs nothing."""
    done = subprocess.run([COMMAND, "run", *map(str, arguments)], capture_output=True, text=True, timeout=400, input="")
    assert done.returncode in (1, 2) and done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_linux_with_two_harts() -> None:
    with run("--harts", "2", "--memory", "256M", "--append", "quiet") as terminal:
        terminal.expect(PROMPT, BOOT_SECONDS)
        assert terminal.command("grep -c ^processor /proc/cpuinfo") == "2"
        assert "rv64imafdc" in terminal.command("cat /proc/cpuinfo")
        assert 150 < int(terminal.command("awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo")) < 256
        terminal.type("poweroff\n")
        assert terminal.end() == 0


def test_linux_under_opensbi() -> None:
    with run("--firmware", paths.STATIC / "firmware" / "fw_jump.bin") as terminal:
        assert "OpenSBI v" in terminal.expect(r"Linux version 6\.", BOOT_SECONDS)
        terminal.expect(PROMPT, BOOT_SECONDS)
        # Debian's OpenSBI says who it is: implementation 1 (SBI specification, chapter 4).
        assert "SBI implementation ID=0x1" in terminal.command("dmesg | grep 'SBI implementation'")
        terminal.type("poweroff\n")
        assert terminal.end() == 0


def test_bare_program_gives_its_status(tmp_path: Path) -> None:
    source, program = tmp_path / "program.S", tmp_path / "program.elf"
    source.write_text(EXIT_WITH_42)
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv64-freestanding", "-nostdlib", "-static"]
    subprocess.run([*compiler, "-Wl,--image-base=0x80000000", source, "-o", program], check=True)
    with run("--bare", program) as terminal:
        assert terminal.end() == 42


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--kernel", "nowhere"], "nowhere is not there"),
        (["--harts", "99"], "BadConfiguration"),
        (["--harts", "0"], "BadConfiguration"),
        (["--memory", "12Q"], "12Q"),
        (["--image", "nothing"], "ImageNotFound"),
        (["--bare", str(Path(__file__))], "BadElf"),
        (["--kernel", str(Path(__file__))], "BadKernel"),
        (["--kernel", str(IMAGE / "Image"), "--initrd", str(IMAGE / "Image"), "--memory", "48M"], "BadConfiguration"),
    ],
)
def test_what_it_refuses(arguments: list[str], says: str) -> None:
    assert says in refused(*arguments)


def test_ending_the_command_ends_the_machine() -> None:
    with run("--append", "quiet") as terminal:
        terminal.expect(PROMPT, BOOT_SECONDS)
        children = Path(f"/proc/{terminal.pid}/task/{terminal.pid}/children").read_text().split()
        assert len(children) == 1
        terminal.close()
        assert terminal.end() == 128 + signal.SIGTERM
        assert not Path(f"/proc/{children[0]}").exists()
