"""`hartwell script`: Python with machines, in Node."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def script(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a script's text to its end."""
    file = folder / "script.py"
    file.write_text(text)
    command = [str(ROOT / ".venv" / "bin" / "hartwell"), "script", str(file), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


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
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "absent.py" in done.stderr and "Traceback" not in done.stderr
