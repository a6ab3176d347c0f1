"""Steps of the set-up: done once, again when something changed, gone on with after an interruption."""

from __future__ import annotations

import errno
import io
import os
import selectors
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from hartwell.setup import paths
from hartwell.setup.steps import (
    Progress,
    Runner,
    SetupError,
    Step,
    digest,
    disk_error,
    keep_file,
    locked,
    replace_folder,
    scratch_folder,
    write_file,
)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(Progress(io.StringIO()), tmp_path / "state")


def writes(path: Path, data: bytes) -> Callable[[Progress], None]:
    return lambda _: write_file(path, data)


def make(path: Path, key: str = "1", data: bytes = b"made") -> Step:
    return Step("thing", "making a thing", key, (path,), writes(path, data))


def test_a_step_is_done_once(runner: Runner, tmp_path: Path) -> None:
    assert runner.run(make(tmp_path / "out"))
    assert not runner.run(make(tmp_path / "out"))
    assert not Runner(Progress(io.StringIO()), runner.state).run(make(tmp_path / "out"))
    assert runner.done == ["thing"]


def test_another_key_does_it_again(runner: Runner, tmp_path: Path) -> None:
    runner.run(make(tmp_path / "out"))
    assert runner.run(make(tmp_path / "out", "2", b"newer"))
    assert (tmp_path / "out").read_bytes() == b"newer"


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"mad")], ids=["missing", "another size"])
def test_a_lost_or_cut_output_is_made_again(runner: Runner, tmp_path: Path, damage: Callable[[Path], object]) -> None:
    runner.run(make(tmp_path / "out"))
    damage(tmp_path / "out")
    assert runner.run(make(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == b"made"


def test_a_record_that_is_no_json_counts_as_none(runner: Runner, tmp_path: Path) -> None:
    runner.run(make(tmp_path / "out"))
    (runner.state / "thing.json").write_bytes(b"{")
    assert runner.run(make(tmp_path / "out"))


def test_a_step_that_fails_is_not_remembered(runner: Runner, tmp_path: Path) -> None:
    def fail(_: Progress) -> None:
        write_file(tmp_path / "out", b"made")
        raise SetupError("no")

    with pytest.raises(SetupError):
        runner.run(Step("thing", "making", "1", (tmp_path / "out",), fail))
    assert runner.run(make(tmp_path / "out"))


def test_a_step_that_leaves_nothing_is_an_error(runner: Runner, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"without leaving .*absent"):
        runner.run(Step("thing", "making", "1", (tmp_path / "absent",), lambda _: None))


def test_a_full_disk_reads_as_one() -> None:
    said = str(disk_error(OSError(errno.ENOSPC, "No space left on device"), "fetching"))
    assert "disk is full" in said
    assert "goes on where it stopped" in said
    assert str(disk_error(OSError(errno.EACCES, "Permission denied", "/x"), "fetching")).startswith("fetching: ")


def test_write_file_leaves_the_old_one_when_it_fails(tmp_path: Path) -> None:
    write_file(tmp_path / "deep" / "file", b"old")
    with pytest.raises(TypeError):
        write_file(tmp_path / "deep" / "file", "not bytes")  # type: ignore[arg-type]
    assert (tmp_path / "deep" / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path / "deep") == ["file"]


def test_replace_folder_leaves_nothing_of_the_old(tmp_path: Path) -> None:
    place = tmp_path / "place"
    for name in ("one", "two"):
        with scratch_folder(place) as folder:
            (folder / name).touch()
            replace_folder(folder, place)
    assert os.listdir(tmp_path) == ["place"]
    assert os.listdir(place) == ["two"]


def test_digest_tells_where_parts_end() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab") == digest(b"ab")


def test_a_second_set_up_waits_for_the_first(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from hartwell.setup.steps import Progress, only_one\n"
        "with only_one(Progress(), Path(sys.argv[1])):\n"
        "    print('in', flush=True); sys.stdin.readline(); print('out', flush=True)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT / "py")}

    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)

    with start() as first, start() as second:
        streams = [(process.stdin, process.stdout, process.stderr) for process in (first, second)]
        # Whichever came second says that it waits.
        with selectors.DefaultSelector() as selector:
            for index, (_, _, err) in enumerate(streams):
                assert err is not None
                selector.register(err, selectors.EVENT_READ, index)
            waiting = int(selector.select(240)[0][0].data)
        assert "waiting" in (streams[waiting][2] or io.StringIO()).readline()
        holder_in, holder_out, _ = streams[1 - waiting]
        waiter_in, waiter_out, _ = streams[waiting]
        assert holder_in and holder_out and waiter_in and waiter_out
        assert holder_out.readline() == "in\n"
        holder_in.write("\n")
        holder_in.flush()
        assert holder_out.readline() == "out\n"
        assert waiter_out.readline() == "in\n"
        waiter_in.write("\n")
        waiter_in.flush()
        assert waiter_out.readline() == "out\n"


def test_a_checkout_that_nobody_may_write_is_locked_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that is mounted read-only; root may write anywhere else."""
    opened = Path.open

    def refuse(path: Path, mode: str = "r") -> IO[str]:
        if "w" in mode:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, mode)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OSError, match="Read-only"), locked(tmp_path / "lock"):
        pytest.fail("there is nothing to lock")
    (tmp_path / "lock").touch()
    with locked(tmp_path / "lock"), pytest.raises(TimeoutError), locked(tmp_path / "lock", _wait):
        pytest.fail("somebody else has it")


def _wait() -> None:
    raise TimeoutError


def test_a_file_that_is_right_is_not_written(tmp_path: Path) -> None:
    keep_file(tmp_path / "file", b"one")
    written = (tmp_path / "file").stat()
    keep_file(tmp_path / "file", b"one")
    assert (tmp_path / "file").stat().st_ino == written.st_ino
    keep_file(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"two"


def test_progress_on_a_terminal_rewrites_its_line() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    progress = Progress(out)
    progress.begin("fetching")
    progress.bytes(50_000_000, 100_000_000)
    progress.end()
    assert out.getvalue().count("\n") == 1
    assert "50 % of 100.0 MB" in out.getvalue()
