"""machine.files over a folder of this host."""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from hartwell.agent import Result
from hartwell.errors import BadConfiguration, BadPath, NotSupported
from hartwell.files import Files, make_share
from hartwell.ninep.folder import OsFolder
from hartwell.ninep.mounts import Mounts


async def no_guest(command: str) -> Any:
    raise AssertionError(f"the guest was asked: {command}")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "shared").mkdir()
    return Files(Mounts(OsFolder(tmp_path / "shared")), no_guest)


async def test_written_read_listed_removed(files: Files, tmp_path: Path) -> None:
    data = bytes(range(256)) * 10000
    await files.make_folder("a/b")
    await files.write("a/b/data", data)
    await files.write("/mnt/host/text", "é")
    assert await files.read("/mnt/host/a/b/data") == data
    assert (tmp_path / "shared" / "text").read_text() == "é"
    folder, text = await files.list()
    assert (folder["name"], folder["kind"]) == ("a", "folder")
    assert (text["name"], text["kind"], text["size"]) == ("text", "file", 2)
    await files.remove("a")
    assert [e["name"] for e in await files.list("/mnt/host/")] == ["text"]


async def test_an_upload_writes_over_nothing(files: Files) -> None:
    paths = [await files.upload(name, name.encode()) for name in ("x/r.tar.gz", "x/r.tar.gz", "x/.rc", "x/.rc")]
    assert paths == [f"/mnt/host/x/{name}" for name in ("r.tar.gz", "r-2.tar.gz", ".rc", ".rc-2")]


async def test_a_folder_is_downloaded_as_an_archive(files: Files, tmp_path: Path) -> None:
    await files.upload("d/e/f", b"content")
    (tmp_path / "shared" / "d" / "link").symlink_to("/etc/passwd")
    with tarfile.open(fileobj=io.BytesIO(await files.download("d"))) as archive:
        assert sorted(archive.getnames()) == ["d", "d/e", "d/e/f", "d/link"]
        inner = archive.extractfile("d/e/f")
        assert inner is not None
        assert inner.read() == b"content"
        assert archive.getmember("d/link").issym()
    assert await files.download("d/e/f") == b"content"


@pytest.mark.parametrize("path", ["../secret", "/mnt/host/../../secret", "/mnt/hostage", "/"])
async def test_what_is_outside_is_the_guests(files: Files, path: str) -> None:
    with pytest.raises(BadPath, match="shared folder only"):
        await files.list(path)
    with pytest.raises(AssertionError, match="the guest was asked"):
        await files.read(path)


async def test_a_link_is_followed_in_the_folder_only(files: Files, tmp_path: Path) -> None:
    await files.write("there", b"content")
    for name, target in (("in", "there"), ("out", "../../secret"), ("round", "round")):
        (tmp_path / "shared" / name).symlink_to(target)
    assert await files.read("in") == b"content"
    with pytest.raises(BadPath, match="not in the shared folder"):
        await files.read("out")
    with pytest.raises(BadPath, match="too many links"):
        await files.read("round")
    with pytest.raises(BadPath, match="in"):
        await files.write("out", b"")


async def test_errors_name_the_path(files: Files) -> None:
    with pytest.raises(BadPath, match=r"none: .*No such file"):
        await files.read("none")
    for bad in ("", "a\0b"):
        with pytest.raises(BadPath, match="no path"):
            await files.read(bad)
    with pytest.raises(BadPath, match="itself"):
        await files.remove("/mnt/host")
    with pytest.raises(BadPath, match="name"):
        await files.upload("/mnt/host", b"")


async def test_the_guests_own_files_go_through_a_folder_for_the_purpose(files: Files, tmp_path: Path) -> None:
    asked: list[str] = []

    async def guest(command: str) -> Result:
        asked.append(command)
        folder = next(iter(files.folder.at.values())) if files.folder else None
        assert isinstance(folder, OsFolder)
        number = command.split(";")[0].rsplit("/", 1)[1]
        place = Path(folder.root) / number
        if command.endswith("'/root/a b' >\"$T\""):
            place.write_bytes(b"the guest's")
        elif "/missing" in command:
            return Result("", "cat: no such file\n", 1)
        else:
            assert place.read_bytes() == b"for the guest"
        return Result("", "", 0)

    files._run = guest
    assert await files.read("/root/a b") == b"the guest's"
    await files.write("/root/c", b"for the guest")
    assert asked[1].endswith('cat "$T" >/root/c')
    with pytest.raises(BadPath, match="/missing: the guest says cat: no such file"):
        await files.read("/missing")
    assert files.folder is not None
    assert files.folder.at == {}


async def test_a_machine_without_a_folder() -> None:
    files = Files(None, no_guest)
    for work in (files.list(), files.read("a"), files.write("a", b"")):
        with pytest.raises(NotSupported, match="share=FOLDER"):
            await work


async def test_what_share_means(tmp_path: Path) -> None:
    assert make_share(None) is None
    assert make_share("default") is None  # on CPython the host's files are nobody's default
    made = make_share(f"{tmp_path}:ro")
    assert made is not None
    assert not made.root.writable
    mounts = Mounts(OsFolder(tmp_path))
    assert make_share(mounts) is mounts
    with pytest.raises(BadConfiguration, match="not a folder"):
        make_share(tmp_path / "none")


async def test_uploads_of_one_name_at_once_are_all_kept(tmp_path: Path) -> None:
    class Slow(OsFolder):
        """One whose answers take a while, as the browser's do."""

        async def stat(self, path: Any) -> Any:
            try:
                return await super().stat(path)
            finally:
                await asyncio.sleep(0)

    files = Files(Mounts(Slow(tmp_path)), no_guest)
    paths = await asyncio.gather(*(files.upload("name", b"%d" % number) for number in range(4)))
    assert len(set(paths)) == 4
    assert sorted([await files.read(path) for path in paths]) == [b"0", b"1", b"2", b"3"]


async def test_machines_that_share_a_folder_do_not_meet_in_it(tmp_path: Path) -> None:
    """Each has its own file for what comes from its guest."""
    mounts = Mounts(OsFolder(tmp_path))

    def guest(content: bytes) -> Any:
        async def run(command: str) -> Result:
            place = command.split(";")[0].removeprefix("T=/mnt/host/")
            await asyncio.sleep(0.01)
            file = await mounts.open(tuple(place.split("/")), 1)
            await file.write(0, content)
            await file.close()
            return Result("", "", 0)

        return run

    one, two = (Files(mounts, guest(content)) for content in (b"one", b"two"))
    assert await asyncio.gather(one.read("/etc/x"), two.read("/etc/x")) == [b"one", b"two"]
