"""Archives of the image: what is written is read back by others' programs."""

from __future__ import annotations

import io
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from hartwell.setup import deb, image
from hartwell.setup.cpio import Tree
from hartwell.setup.steps import SetupError


def read_newc(data: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """The kernel's way (init/initramfs.c): path -> mode, content, device."""
    found = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 110 + length]
        assert name.endswith(b"\0")
        start = (at + 110 + length + 3) & ~3
        at = (start + size + 3) & ~3
        if name == b"TRAILER!!!\0":
            assert not any(data[at:])
            return found
        found[name[:-1].decode()] = (mode, data[start : start + size], (fields[9], fields[10]))


@pytest.fixture
def tree() -> Tree:
    tree = Tree()
    tree.file("usr/bin/tool", b"#!/bin/sh\n", 0o755)
    tree.file("usr/share/odd", bytes(range(256)) * 5 + b"x")
    tree.file("usr/share/empty", b"")
    tree.file("usr/share/naïve", "ü".encode())
    tree.folder("tmp", 0o1777)
    tree.link("bin", "usr/bin")
    tree.device("dev/console", 5, 1)
    return tree


def test_an_archive_reads_as_it_was_written(tree: Tree) -> None:
    data = tree.archive()
    assert len(data) % 512 == 0
    found = read_newc(data)
    assert found == {path: (node.mode, node.data, node.device) for path, node in tree.nodes.items()}
    assert found["tmp"][0] == stat.S_IFDIR | 0o1777
    assert list(found).index("usr") < list(found).index("usr/bin") < list(found).index("usr/bin/tool")


def test_the_same_tree_gives_the_same_bytes(tree: Tree) -> None:
    other = Tree()
    for path, node in reversed(tree.nodes.items()):
        other.nodes[path] = node
    assert other.archive() == tree.archive()


@pytest.mark.parametrize("path", ["/etc/passwd", "../out", "a/../../b", ""])
def test_paths_stay_in_the_archive(path: str) -> None:
    with pytest.raises(ValueError, match="relative"):
        Tree().file(path, b"")


@pytest.mark.skipif(not shutil.which("cpio"), reason="the machine has no cpio; the kernel's way is tested above")
def test_cpio_unpacks_it(tree: Tree, tmp_path: Path) -> None:
    del tree.nodes["dev/console"]  # a device is for root
    subprocess.run(["cpio", "-id", "--quiet"], cwd=tmp_path, input=tree.archive(), check=True)
    assert (tmp_path / "usr/share/odd").read_bytes() == tree.nodes["usr/share/odd"].data
    assert (tmp_path / "bin").readlink() == Path("usr/bin")
    assert (tmp_path / "usr/bin/tool").stat().st_mode & 0o777 == 0o755


def package(path: Path, compression: str = "xz") -> Path:
    """A package as dpkg-deb lays it out."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode=f"w:{compression}") as tar:  # type: ignore[call-overload]
        for name, kind, data in [("./usr", tarfile.DIRTYPE, b""), ("./usr/a", tarfile.REGTYPE, b"hello"),
                                 ("./usr/b", tarfile.SYMTYPE, b"a"), ("./usr/c", tarfile.LNKTYPE, b"./usr/a")]:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, 0o755
            if kind == tarfile.REGTYPE:
                entry.size = len(data)
            else:
                entry.linkname = data.decode()
            tar.addfile(entry, io.BytesIO(data))
    out = bytearray(b"!<arch>\n")
    for name, data in (("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), (f"data.tar.{compression}", inner.getvalue())):
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    path.write_bytes(out)
    return path


@pytest.mark.parametrize("compression", ["xz", "gz"])
def test_a_debian_package(tmp_path: Path, compression: str) -> None:
    entries = {entry.path: entry for entry in deb.entries(package(tmp_path / "a.deb", compression))}
    assert [(path, entry.kind) for path, entry in entries.items()] == [
        ("usr", "folder"), ("usr/a", "file"), ("usr/b", "link"), ("usr/c", "file"),
    ]
    assert entries["usr/c"].data == b"hello"
    assert entries["usr/b"].target == "a"
    assert [entry.path for entry in deb.entries(tmp_path / "a.deb", ("usr/a",))] == ["usr/a"]


def test_a_damaged_debian_package(tmp_path: Path) -> None:
    good = package(tmp_path / "a.deb").read_bytes()
    bad = tmp_path / "bad.deb"
    for data in (b"", b"hello", good[:70], good[:-60], good[:300], good[:270] + bytes(8) + good[278:], good[:8] + b"x" * 60):
        bad.write_bytes(data)
        with pytest.raises(SetupError, match=r"bad\.deb: "):
            list(deb.entries(bad))


def test_the_modules_file() -> None:
    assert image.wanted_modules("# a\n+virtio_blk\next4 # for disks\n\n") == {"virtio_blk": True, "ext4": False}


def test_the_images_initramfs_has_what_a_boot_needs() -> None:
    found = read_newc((image.IMAGES / image.NAME / "initrd").read_bytes())
    for path in ("init", "usr/bin/bash", "usr/bin/busybox"):
        mode, data, _ = found[path]
        assert stat.S_ISREG(mode), path
        assert mode & 0o111, path
        assert data, path
    assert found["dev/console"][2] == (5, 1)
    assert found["usr/bin/bash"][1][18:20] == b"\xf3\x00"  # EM_RISCV
