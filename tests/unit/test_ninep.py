"""The 9P server over a real folder: what it does, and what nobody gets it to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hartwell.errors import BadConfiguration
from hartwell.ninep import messages
from hartwell.ninep.errno import NUMBERS
from hartwell.ninep.folder import OsFolder
from hartwell.ninep.messages import NOFID, ProtocolError, Qid, decode, encode
from hartwell.ninep.messages import NUMBERS as TYPES
from hartwell.ninep.mounts import Mounts
from hartwell.ninep.server import LARGEST, MOST_OPEN, Server
from tests.unit.ninep_client import Client, Failed

CONTENT = bytes(range(256)) * 100


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shared = tmp_path / "shared"
    (shared / "folder").mkdir(parents=True)
    (shared / "file").write_bytes(CONTENT)
    (shared / "folder" / "inner").write_bytes(b"inner")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    return shared


@pytest.fixture
async def client(root: Path) -> Client:
    return await Client(Server(OsFolder(root))).attach()


async def refused(client: Client, name: str, kind: str, /, **fields: object) -> None:
    with pytest.raises(Failed) as failed:
        await client.ask(kind, **fields)
    assert failed.value.number == NUMBERS[name], f"{kind}: {failed.value.number}, not {name}"


# --- what it is for ------------------------------------------------------------


async def test_a_file_is_read(client: Client) -> None:
    assert await client.read("file") == CONTENT
    assert await client.read("folder/inner") == b"inner"


async def test_a_folder_is_listed_page_by_page(client: Client, root: Path) -> None:
    for number in range(300):
        (root / f"file {number} é").touch()
    (root / "link").symlink_to("file")
    listed = await client.list(count=500)
    assert set(listed) == {".", "..", *os.listdir(root)}
    assert (listed["folder"], listed["file"], listed["link"]) == (4, 8, 10)


async def test_a_file_is_made_written_and_cut(client: Client, root: Path) -> None:
    fid = await client.create("folder", "new", mode=0o640)
    assert (await client.ask("Twrite", fid=fid, offset=0, data=b"hello")).count == 5
    await client.ask("Twrite", fid=fid, offset=10, data=b"there")
    await client.ask("Tfsync", fid=fid, datasync=0)
    assert (root / "folder" / "new").read_bytes() == b"hello\0\0\0\0\0there"
    await client.ask("Tsetattr", fid=fid, valid=0x8, mode=0, uid=0, gid=0, size=3, atime=0, atime_ns=0, mtime=0, mtime_ns=0)
    assert (root / "folder" / "new").read_bytes() == b"hel"
    assert (root / "folder" / "new").stat().st_mode & 0o777 == 0o640 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


async def test_attributes_and_their_change(client: Client, root: Path) -> None:
    fid = await client.walk("file")
    valid = 0x1 | 0x10 | 0x20 | 0x80 | 0x100
    await client.ask("Tsetattr", fid=fid, valid=valid, mode=0o600, uid=7, gid=7, size=0,
                     atime=1000, atime_ns=5, mtime=2000, mtime_ns=500)
    found = await client.attributes("file")
    assert (found.mode, found.size, found.uid, found.mtime, found.mtime_ns) == (0o100600, len(CONTENT), 0, 2000, 500)
    assert (root / "file").stat().st_mtime_ns == 2000 * 10**9 + 500


async def test_names_are_made_moved_and_taken_away(client: Client, root: Path) -> None:
    await client.ask("Tmkdir", fid=0, name="made", mode=0o755, gid=0)
    inside = await client.walk("folder/inner")
    await client.ask("Trenameat", olddirfid=0, oldname="folder", newdirfid=await client.walk("made"), newname="moved")
    await client.ask("Tlopen", fid=inside, flags=0)  # it moved along
    assert (await client.ask("Tread", fid=inside, offset=0, count=100)).data == b"inner"
    await client.ask("Tlink", dfid=0, fid=await client.walk("file"), name="again")
    assert (root / "again").samefile(root / "file")
    await client.ask("Tunlinkat", fid=0, name="again", flags=0)
    await client.ask("Tremove", fid=await client.walk("made/moved/inner"))
    await client.ask("Tunlinkat", fid=await client.walk("made"), name="moved", flags=0x200)
    assert os.listdir(root / "made") == []


async def test_hard_links_where_python_makes_none(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pyodide's os has no link: the guest is told, and does not wait."""
    monkeypatch.delattr(os, "link")
    await refused(client, "EOPNOTSUPP", "Tlink", dfid=0, fid=await client.walk("file"), name="again")


async def test_a_folders_mistake_is_answered(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fid = await client.walk("file")
    monkeypatch.setattr(OsFolder, "stat", lambda *_: None.missing)  # type: ignore[attr-defined]
    await refused(client, "EIO", "Tgetattr", fid=fid, mask=0x7FF)
    assert "AttributeError" in capsys.readouterr().err
    monkeypatch.undo()
    await client.ask("Tgetattr", fid=fid, mask=0x7FF)


async def test_symbolic_links_are_the_clients_to_follow(client: Client) -> None:
    await client.ask("Tsymlink", fid=0, name="link", target="folder/inner", gid=0)
    assert (await client.ask("Treadlink", fid=await client.walk("link"))).target == "folder/inner"
    await refused(client, "ELOOP", "Tlopen", fid=await client.walk("link"), flags=0)


async def test_a_name_that_is_no_utf8_comes_back_as_it_was(client: Client, root: Path) -> None:
    name = b"\xff\xfe".decode("utf-8", "surrogateescape")
    await client.ask("Tclunk", fid=await client.create("", name))
    assert name in await client.list()


async def test_what_is_no_file_is_not_shared(client: Client, root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert "pipe" not in await client.list()
    await refused(client, "EACCES", "Twalk", fid=0, newfid=99, names=["pipe"])


async def test_read_only(root: Path) -> None:
    client = await Client(Server(OsFolder(root, writable=False))).attach()
    assert await client.read("file") == CONTENT
    fid, folder = await client.walk("file"), await client.walk("folder")
    for kind, fields in (
        ("Tlopen", {"fid": fid, "flags": 1}), ("Tlopen", {"fid": fid, "flags": 0o1000}),
        ("Tlcreate", {"fid": folder, "name": "new", "flags": 1, "mode": 0, "gid": 0}),
        ("Tmkdir", {"fid": 0, "name": "new", "mode": 0, "gid": 0}),
        ("Tsymlink", {"fid": 0, "name": "new", "target": "a", "gid": 0}),
        ("Tmknod", {"fid": 0, "name": "new", "mode": 0, "major": 0, "minor": 0, "gid": 0}),
        ("Tlink", {"dfid": 0, "fid": fid, "name": "new"}),
        ("Trename", {"fid": fid, "dfid": 0, "name": "new"}),
        ("Trenameat", {"olddirfid": 0, "oldname": "file", "newdirfid": 0, "newname": "new"}),
        ("Tunlinkat", {"fid": 0, "name": "file", "flags": 0}),
        ("Tsetattr", {"fid": fid, "valid": 8, "mode": 0, "uid": 0, "gid": 0, "size": 0, "atime": 0, "atime_ns": 0,
                      "mtime": 0, "mtime_ns": 0}),
        ("Tremove", {"fid": fid}),
    ):
        await refused(client, "EROFS", kind, **fields)
    assert sorted(os.listdir(root)) == ["file", "folder"]
    assert (root / "file").read_bytes() == CONTENT


async def test_folders_attached_to_a_folder(root: Path, tmp_path: Path) -> None:
    folder = Mounts(OsFolder(root))
    folder.attach("other", OsFolder(tmp_path / "outside"))
    folder.attach("fixed", OsFolder(tmp_path / "outside", writable=False))
    client = await Client(Server(folder)).attach()
    assert {"file", "other", "fixed"} <= set(await client.list())
    assert await client.read("other/secret") == b"secret"
    paths = [(await client.ask("Twalk", fid=0, newfid=900 + i, names=[name])).qids[0].path for i, name in enumerate(folder.at)]
    assert len(set(paths)) == 2
    await refused(client, "EXDEV", "Trenameat", olddirfid=0, oldname="file",
                  newdirfid=await client.walk("other"), newname="file")
    await refused(client, "EROFS", "Tmkdir", fid=await client.walk("fixed"), name="new", mode=0, gid=0)
    await refused(client, "EBUSY", "Tunlinkat", fid=0, name="other", flags=0x200)
    folder.detach("other")
    assert "other" not in await client.list()
    with pytest.raises(BadConfiguration, match="other"):
        folder.detach("other")
    for bad in ("", "..", "a/b", "x" * 256):
        with pytest.raises(BadConfiguration):
            folder.attach(bad, OsFolder(root))


# --- no way out ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "../secret", "a\0b", "x" * 256, "é" * 128])
async def test_names_that_are_none(client: Client, root: Path, name: str) -> None:
    for kind, fields in {
        "Tlcreate": {"fid": 0, "flags": 1, "mode": 0, "gid": 0}, "Tmkdir": {"fid": 0, "mode": 0, "gid": 0},
        "Tsymlink": {"fid": 0, "target": "a", "gid": 0}, "Tunlinkat": {"fid": 0, "flags": 0},
        "Tlink": {"dfid": 0, "fid": await client.walk("file")}, "Trename": {"fid": await client.walk("file"), "dfid": 0},
    }.items():
        with pytest.raises(Failed) as failed:
            await client.ask(kind, name=name, **fields)
        assert failed.value.number in (NUMBERS["EINVAL"], NUMBERS["ENOENT"], NUMBERS["ENAMETOOLONG"])
    assert sorted(os.listdir(root)) == ["file", "folder"]
    assert sorted(os.listdir(root.parent)) == ["outside", "secret", "shared"]


async def test_dot_dot_stops_at_the_root(client: Client) -> None:
    reply = await client.ask("Twalk", fid=0, newfid=50, names=[".."] * 16)
    assert len(set(reply.qids)) == 1
    assert "file" in await client.list("../../folder/..")
    await refused(client, "ENOENT", "Twalk", fid=0, newfid=51, names=["secret"])


@pytest.mark.parametrize("target", ["../secret", "../outside", "/etc", "{tmp}/outside"])
async def test_no_link_leads_out(client: Client, root: Path, target: str) -> None:
    target = target.format(tmp=root.parent)
    await client.ask("Tsymlink", fid=0, name="way", target=target, gid=0)
    way = await client.walk("way")
    await refused(client, "ELOOP", "Tlopen", fid=way, flags=0)
    for name in ("secret", "passwd"):
        reply = await client.ask("Twalk", fid=0, newfid=60, names=["way", name])
        assert len(reply.qids) == 1  # the link itself, no further
    await refused(client, "ELOOP", "Tlcreate", fid=way, name="new", flags=1, mode=0o644, gid=0)
    await refused(client, "ELOOP", "Tmkdir", fid=await client.walk("way"), name="new", mode=0, gid=0)
    await refused(client, "EEXIST", "Tlcreate", fid=await client.walk(""), name="way", flags=1, mode=0o644, gid=0)
    await client.ask("Tsetattr", fid=await client.walk("way"), valid=1, mode=0, uid=0, gid=0, size=0,
                     atime=0, atime_ns=0, mtime=0, mtime_ns=0)
    assert (root.parent / "outside").stat().st_mode & 0o700
    assert os.listdir(root.parent / "outside") == ["secret"]


async def test_a_folder_that_becomes_a_link_under_an_open_fid(client: Client, root: Path) -> None:
    fid = await client.walk("folder")
    (root / "folder" / "inner").unlink()
    (root / "folder").rmdir()
    (root / "folder").symlink_to(root.parent / "outside")
    await refused(client, "ELOOP", "Tlcreate", fid=fid, name="new", flags=1, mode=0o644, gid=0)
    reply = await client.ask("Twalk", fid=0, newfid=70, names=["folder", "secret"])
    assert len(reply.qids) == 1
    assert os.listdir(root.parent / "outside") == ["secret"]


async def test_no_set_user_id_and_no_device_reach_the_host(client: Client, root: Path) -> None:
    await client.ask("Tclunk", fid=await client.create("", "suid", mode=0o6755))
    assert (root / "suid").stat().st_mode & 0o7000 == 0
    await refused(client, "EPERM", "Tmknod", fid=0, name="null", mode=0o020666, major=1, minor=3, gid=0)


# --- fids -------------------------------------------------------------------------


async def test_fids_that_are_wrong(client: Client) -> None:
    await refused(client, "EBADF", "Tread", fid=77, offset=0, count=1)
    await refused(client, "EBADF", "Tread", fid=0, offset=0, count=1)
    await refused(client, "EBADF", "Tattach", fid=0, afid=NOFID, uname="", aname="", n_uname=0)
    fid = await client.open("file")
    await refused(client, "EBADF", "Tlopen", fid=fid, flags=0)
    await refused(client, "EBADF", "Twrite", fid=fid, offset=0, data=b"x")
    await refused(client, "EBADF", "Twalk", fid=0, newfid=fid, names=[])
    await refused(client, "EINVAL", "Tread", fid=fid, offset=1 << 63, count=1)
    assert (await client.ask("Tread", fid=fid, offset=1 << 40, count=1)).data == b""
    await refused(client, "EOPNOTSUPP", "Txattrwalk", fid=0, newfid=8, name="user.x")


async def test_a_new_session_closes_what_was_open(client: Client) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        await client.open("file")
    assert len(os.listdir("/proc/self/fd")) == before + 20
    await client.attach()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_open_files_have_a_limit(root: Path) -> None:
    class Endless(OsFolder):
        async def open(self, path: tuple[str, ...], flags: int) -> object:  # type: ignore[override]
            class Nothing:
                async def close(self) -> None: ...
            return Nothing()

    client = await Client(Server(Endless(root))).attach()
    fids = [await client.open("file") for _ in range(MOST_OPEN)]
    await refused(client, "ENFILE", "Tlopen", fid=await client.walk("file"), flags=0)
    await client.ask("Tclunk", fid=fids[0])
    await client.open("file")


async def test_replies_fit_the_room(client: Client) -> None:
    fid = await client.open("file")
    assert len((await client.ask("Tread", room=100, fid=fid, offset=0, count=8192)).data) == 100 - 11
    with pytest.raises(Failed) as failed:
        await client.ask("Tgetattr", room=20, fid=0, mask=0)
    assert failed.value.number == NUMBERS["EMSGSIZE"]


# --- hostile bytes -------------------------------------------------------------------


@pytest.mark.parametrize("data", [
    b"", b"\0" * 6, encode("Tclunk", 1, fid=0)[:-1], encode("Tclunk", 1, fid=0)[:4] + b"\xff" + bytes(6),
    b"\xff\xff\xff\xff" + encode("Tclunk", 1, fid=0)[4:], b"\x0c" + encode("Tclunk", 1, fid=0)[1:] + b"x",
    encode("Twalk", 1, fid=0, newfid=1, names=["a"] * 17), encode("Rclunk", 1),
    encode("Twrite", 1, fid=0, offset=0, data=b"")[:-4] + b"\xff" * 4,
])
async def test_bytes_that_are_no_message(client: Client, data: bytes) -> None:
    reply = decode(await client.server.handle(data))
    assert reply.kind == "Rlerror"
    assert reply.ecode in (NUMBERS["EPROTO"], NUMBERS["EOPNOTSUPP"])
    assert "file" in await client.list()


def test_what_a_bad_message_is_told() -> None:
    with pytest.raises(ProtocolError, match=r"Twalk.names: 17 of them, at most 16"):
        decode(encode("Twalk", 1, fid=0, newfid=1, names=["a"] * 17))
    with pytest.raises(ProtocolError, match=r"Tclunk.fid: 4 bytes wanted at byte 7 of a message of 9"):
        decode(b"\x09\0\0\0\x78\1\0\0\0")


_VALUES = {
    "1": st.integers(0, 255), "2": st.integers(0, 65535), "4": st.integers(0, 2**32 - 1), "8": st.integers(0, 2**64 - 1),
    "s": st.text(max_size=20, alphabet=st.characters(codec="utf-8")), "d": st.binary(max_size=50),
    "q": st.builds(Qid, st.integers(0, 255), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)),
    "ns": st.lists(st.sampled_from(["..", "file", "folder", "link", "", "/", "a"]), max_size=5), "nq": st.just([]),
}
_SMALL = {"4": st.integers(0, 6), "8": st.integers(0, 300), "s": st.sampled_from(["file", "folder", "x", "..", "link", "../o"])}


@given(st.data())
def test_every_message_comes_back_from_its_bytes(data: st.DataObject) -> None:
    number = data.draw(st.sampled_from(sorted(messages.NAMES)))
    fields = {name: data.draw(_VALUES[kind]) for name, kind in messages._FIELDS[number]}
    decoded = decode(encode(messages.NAMES[number], 7, **fields))
    assert (decoded.kind, decoded.tag, decoded.fields) == (messages.NAMES[number], 7, fields)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_random_sessions_stay_inside(root: Path, data: st.DataObject) -> None:
    """Any requests, with numbers and names that often fit together: each gets a
    reply of its own tag, and outside of the folder nothing changes."""
    server = Server(OsFolder(root))
    await Client(server).attach()
    kinds = sorted(name for name in TYPES if name.startswith("T"))
    for _ in range(data.draw(st.integers(1, 30))):
        kind = data.draw(st.sampled_from(kinds))
        fields = {
            name: data.draw(st.one_of(_SMALL.get(what, _VALUES[what]), _VALUES[what]))
            for name, what in messages._FIELDS[TYPES[kind]]
        }
        sensible = {"afid": NOFID, "version": "9P2000.L", "msize": LARGEST}
        fields |= {name: value for name, value in sensible.items() if name in fields}
        if "size" in fields:
            fields["size"] %= 1 << 20
        if kind == "Twrite":
            fields["offset"] %= 1 << 20
        raw = bytearray(encode(kind, 9, **fields))
        if data.draw(st.booleans()) and data.draw(st.booleans()):
            raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
        reply = decode(await server.handle(bytes(raw), data.draw(st.sampled_from([20, 11, 4096]))))
        assert reply.kind in (f"R{kind[1:]}", "Rlerror") or raw[4] != TYPES[kind]
    await server.reset()
    assert sorted(os.listdir(root.parent)) == ["outside", "secret", "shared"]
    assert os.listdir(root.parent / "outside") == ["secret"]
    assert (root.parent / "secret").read_bytes() == b"secret"


# --- snapshots ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [["..", "secret"], ["..", "outside", "secret"], ["/etc/passwd"], ["folder", ".."], [""], [7], "file"])
async def test_a_snapshot_of_a_stranger_leads_nowhere_else(root: Path, path: object) -> None:
    """The folder is given to whoever is in the snapshot, and nothing beside it."""
    server = Server(OsFolder(root))
    await server.restore({"size": LARGEST, "fids": [[1, [], None], [2, path, 2], [3, ["file"], 0]]})
    client = Client(server)
    assert (await client.ask("Tread", fid=3, offset=0, count=3)).data == CONTENT[:3], "the others are there"
    await refused(client, "EBADF", "Tread", fid=2, offset=0, count=6)
    await refused(client, "EBADF", "Tgetattr", fid=2, mask=0)


@pytest.mark.parametrize(
    "state", [7, [], {}, {"size": "x", "fids": 3}, {"size": -1, "fids": [[]]}, {"size": 1 << 70, "fids": [5]}])
async def test_states_that_make_no_sense(root: Path, state: object) -> None:
    server = Server(OsFolder(root))
    await server.restore(state)
    await Client(server).attach()


async def test_a_snapshot_writes_to_no_folder_that_is_read_only(root: Path) -> None:
    server = Server(OsFolder(root, writable=False))
    await server.restore({"size": LARGEST, "fids": [[1, ["file"], 2]]})
    await refused(Client(server), "EBADF", "Twrite", fid=1, offset=0, data=b"x")
