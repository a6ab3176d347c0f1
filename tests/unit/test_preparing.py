"""Debian behind the page: when there is something to prepare, and that nothing of it outlives the server."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hartwell.setup import image, paths, preboot, preparing
from hartwell.setup.preparing import Preparation
from hartwell.setup.steps import Progress, Runner, scratch_folder

SECONDS = 240
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(paths.ROOT / "py")}

# The real process, whose build begins another one, says its number and does not end.
BUILDS = """
import subprocess, sys, time
from pathlib import Path
from hartwell.setup import builder, image, paths, preparing
paths.STATE = image.IMAGES = Path({folder!r})
preparing.ROOM = 0
def build(name, mirror, progress):
    with builder.scratch_folder(Path({folder!r}) / "build"):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        progress.begin(str(child.pid))
        progress.part(0.5)
        time.sleep(600)
builder.build = build
sys.exit(preparing.main())
"""


def made(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir()
        (folder / name / "image.json").write_text("{}")
        image.add_to_index(name)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(image, "IMAGES", tmp_path)
    monkeypatch.setattr(Runner, "is_done", lambda self, step: True)
    yield tmp_path


def test_debian_is_wanted_until_it_is_the_default(images: Path) -> None:
    made(images, "shell")
    assert preparing.wanted(True) == "debian"
    made(images, "debian")
    assert preparing.wanted(True) == "debian"  # it is there, and not yet what the page opens
    assert image.add_to_index("debian", unless_chosen=True)
    assert preparing.wanted(True) is None


def test_nobody_who_chose_another_image_is_given_it(images: Path) -> None:
    made(images, "shell")
    image.add_to_index("shell", default=True)
    assert preparing.wanted(True) is None
    made(images, "debian")
    assert not image.add_to_index("debian", unless_chosen=True)
    assert image.read_index()["default"] == "shell"


def test_a_default_whose_snapshot_is_old_is_booted_again(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(images, "shell", "debian")
    image.add_to_index("debian", default=True)
    monkeypatch.setattr(Runner, "is_done", lambda self, step: step.name != "preboot-debian")
    assert preparing.wanted(True) == "debian"
    assert preparing.wanted(False) is None


def test_the_whole_is_made_of_its_parts() -> None:
    heard: list[float] = []

    class Heard(Progress):
        def whole(self, share: float) -> None:
            heard.append(round(share, 6))

    progress = Heard()
    with progress.within(0.0, 0.5):
        progress.part(0.5)
        with progress.within(0.5, 1.0):
            progress.part(1.0)
    progress.part(1.0)
    assert heard == [0.0, 0.25, 0.25, 0.5, 1.0]


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    left, used = tmp_path / f".build.{ended.stdout.strip()}.part", tmp_path / f".build.{os.getppid()}.part"
    left.mkdir()
    used.mkdir()
    with scratch_folder(tmp_path / "build") as folder:
        assert folder.is_dir()
        assert not left.exists() and used.exists()


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        return not Path("/proc/self").exists()


def test_its_end_leaves_no_process_and_no_half_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "END_SECONDS", SECONDS)
    monkeypatch.setattr(Preparation, "command", [sys.executable, "-c", BUILDS.format(folder=str(tmp_path))])
    work = Preparation()
    said: list[str] = []
    work.start("debian", None, True, said.append)
    _until(lambda: work.state().get("part", 0) > 0)
    assert work.state()["state"] == "preparing" and work.state()["part"] == 0.45
    builder = int(work.state()["what"])
    assert list(tmp_path.glob(".build.*.part"))
    work.stop()
    _until(lambda: not _lives(builder))
    assert not list(tmp_path.glob(".build.*.part"))
    assert said == []  # the server's end is no failure


def test_it_ends_with_a_server_that_was_killed(tmp_path: Path) -> None:
    server = f"""
import sys, time
from hartwell.setup.preparing import Preparation
Preparation.command = [sys.executable, "-c", {BUILDS.format(folder=str(tmp_path))!r}]
work = Preparation()
work.start("debian", None, True, print)
while not work.state()["part"]:
    time.sleep(0.05)
print(work.state()["what"], work._process.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", server], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        numbers = [int(word) for word in process.stdout.readline().split()]
        assert len(numbers) == 2 and all(map(_lives, numbers))
        process.send_signal(signal.SIGKILL)
    for number in numbers:
        _until(lambda number=number: not _lives(number))  # type: ignore[misc]
    assert not list(tmp_path.glob(".build.*.part"))


def test_what_went_wrong_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = f"import sys\nsys.argv[1:] = ['nowhere']\n{BUILDS.format(folder=str(tmp_path))}".replace(
        "builder.build = build", "preparing.ROOM = 1 << 70")
    monkeypatch.setattr(Preparation, "command", [sys.executable, "-c", fails])
    work = Preparation()
    said: list[str] = []
    work.start("debian", None, True, said.append)
    _until(lambda: bool(said))
    assert work.state()["state"] == "failed" and "are needed while it is built" in work.state()["message"]
    assert len(said) == 1 and "debian could not be prepared" in said[0] and "next start tries again" in said[0]
    work.stop()


def test_the_index_names_all_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image has its own: that of `shell` stays when debian's comes."""
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        options = json.loads(command[2])
        script = options["script"]
        if "'shell'" in script:
            (Path(options["share"]["folder"]) / "translations").write_bytes(b"code")
        Path(next(word for word in script.split("'") if word.endswith(".hartwell"))).write_bytes(b"asleep")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(preboot, "FOLDER", tmp_path / "snapshots")
    monkeypatch.setattr(preboot.subprocess, "run", run)
    monkeypatch.setattr(preboot.node, "find", lambda: Path("node"))
    for name in ("shell", "debian"):
        preboot.boot(name, Progress())
    assert json.loads((tmp_path / "snapshots" / "index.json").read_text()) == {
        "images": ["debian", "shell"],
        "translations": {"shell": {
            "file": f"shell.{hashlib.sha256(b'code').hexdigest()[:12]}.wasm", "digest": hashlib.sha256(b"code").hexdigest(),
            "cpu": hashlib.sha256((paths.STATIC / "cpu.wasm").read_bytes()).hexdigest(),
        }},
    }
    assert sorted(file.name for file in (tmp_path / "snapshots").glob("*.hartwell")) == ["debian.hartwell", "shell.hartwell"]
