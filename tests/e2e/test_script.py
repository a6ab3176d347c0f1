"""`hartwell script`: Python with machines, in Node."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def script(folder: Path, text: str, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Runs a script's text to its end."""
    file = folder / "script.py"
    file.write_text(text)
    command = [str(ROOT / ".venv" / "bin" / "hartwell"), "script", str(file), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout)


def test_a_script_has_machine_arguments_and_await(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        "import asyncio, sys\n"
        "await asyncio.sleep(0)\n"
        "try:\n"
        "    await Machine.boot(harts=99)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, sys.argv[1:])\n"
        "sys.exit(7)\n",
        "one", "--two",
    )
    assert (done.returncode, done.stdout) == (7, "BadConfiguration ['one', '--two']\n"), done.stderr


def test_an_error_shows_its_line(tmp_path: Path) -> None:
    done = script(tmp_path, "value = 1\nawait Machine.boot(memory='12Q')  # this line\n")
    assert done.returncode == 1
    assert "# this line" in done.stderr and "BadConfiguration" in done.stderr


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    command = [str(ROOT / ".venv" / "bin" / "hartwell"), "script", str(tmp_path / "absent.py")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "absent.py" in done.stderr and "Traceback" not in done.stderr


# Answers of some 100 KiB beside short ones, and lines longer than a pipe takes at once.
SIDE_BY_SIDE = """
import asyncio, hashlib
machine = await Machine.boot(harts=2, show=False)
await machine.console.expect(r"# $", timeout=400)

async def asks(one):
    wrong = []
    for turn in range(6):
        word, times = "%d-%d-" % (one, turn) + "x" * (one * 700), 1 if turn % 2 else 100_000 // (one * 700 + 8)
        command = f"i=0; while [ $i -lt {times} ]; do echo {word}; i=$((i+1)); done; echo {word} >&2; exit {one + turn}"
        found = await machine.run(command, timeout=300)
        if (found.stdout, found.stderr, found.returncode) != ((word + "\\n") * times, word + "\\n", one + turn):
            wrong.append((one, turn, found.stdout[:80], found.stderr[:80], found.returncode))
    return wrong

print([wrong for found in await asyncio.gather(*map(asks, range(1, 9))) for wrong in found])
left = (await machine.run("sleep 2; ls /run/agent | grep -v ready; dmesg | grep -c agent")).stdout.split("\\n")
print(all(name.startswith("49.") for name in left[:-2]), left[-2])
machine.console.write("killall agent; sleep 3; echo a''gain\\n")  # init starts it again
await machine.console.expect("again", timeout=240)
print([(await machine.run(f"echo {turn}", timeout=240)).stdout for turn in range(5)])
"""


def test_commands_side_by_side(tmp_path: Path) -> None:
    done = script(tmp_path, SIDE_BY_SIDE, timeout=1000)
    assert (done.returncode, done.stdout) == (
        0, "[]\nTrue 0\n['0\\n', '1\\n', '2\\n', '3\\n', '4\\n']\n"), done.stderr
