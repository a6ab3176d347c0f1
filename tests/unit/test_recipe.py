"""Recipes, root file systems out of packages, and imports that nobody vouches for."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from hartwell.setup import builder, rootfs, rootfs_import
from hartwell.setup.recipe import read_recipe
from hartwell.setup.steps import Progress, SetupError

SMALL = '[packages]\ninclude = ["apt"]\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "desk.toml"
    path.write_text(text)
    return path


def test_what_comes_along_is_good() -> None:
    for name in ("debian", "minbase"):
        recipe = read_recipe(builder.find_recipe(name))
        assert recipe.name == name and recipe.lock is not None and recipe.lock.is_file()
        assert len(builder.wanted_packages(recipe, None, Progress(io.StringIO()))) > 70


def test_defaults(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, SMALL))
    assert (recipe.name, recipe.size, recipe.memory, recipe.harts, recipe.agent) == ("desk", 2 << 30, "512M", 1, None)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "script").write_bytes(b"#!/bin/sh\n")
    text = SMALL + '[[files]]\npath = "/usr/bin/x"\nsource = "script"\nmode = "0755"\n[[files]]\npath = "/a"\nlink = "b"\n'
    text += '[[files]]\npath = "/usr/sbin/vsock-forward"\nhelper = "vsock-forward"\nmode = "0755"\n'
    script, link, helper = read_recipe(written(tmp_path, text)).files
    assert (script.data, script.mode) == (b"#!/bin/sh\n", 0o755) and link.link == "b"
    assert (helper.helper, helper.mode) == ("vsock-forward", 0o755)
    program = builder.compiled([helper])[0]
    assert program.data.startswith(b"\x7fELF") and program.path == helper.path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "packages.include"), ("name", "not TOML"), (SMALL + "[x]", "x: no such key"), ("harts = 9\n" + SMALL, "harts"),
        ('name = "../x"\n' + SMALL, "name"), ('size = "1M"\n' + SMALL, "size"), ('size = "lots"\n' + SMALL, "size"),
        ('memory = "much"\n' + SMALL, "memory"), ('agent = "smith"\n' + SMALL, "agent"), ("append = 1\n" + SMALL, "append"),
        ('[packages]\ninclude = ["-o Dir=/"]', "no package"), ('[packages]\ninclude = "apt"', "packages.include"),
        ('[source]\ntar = "x"', "no file"), (SMALL + '[[files]]\npath = "etc/x"\ncontent = ""', "files[0].path"),
        (SMALL + '[[files]]\npath = "/../x"\ncontent = ""', "files[0].path"), (SMALL + '[[files]]\npath = "/x"', "files[0]"),
        (SMALL + '[[files]]\npath = "/x"\ncontent = ""\nmode = "rwx"', "files[0].mode"),
        (SMALL + '[[files]]\npath = "/x"\nhelper = "../x"', "files[0].helper"), (SMALL + "[commands]\nrun = [1]", "commands.run"),
    ],
)
def test_a_bad_recipe_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SetupError) as error:
        read_recipe(written(tmp_path, text))
    assert says in str(error.value)


def test_an_unknown_recipe() -> None:
    with pytest.raises(SetupError, match="debian"):
        builder.find_recipe("windows")


# --- packages ---------------------------------------------------------------------------------


def tar_of(files: dict[str, bytes | str | None], mode: int = 0o644) -> bytes:
    """Content, a link's target, or None for a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            item = tarfile.TarInfo(name)
            item.mode = mode
            if content is None:
                item.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                item.type, item.linkname = tarfile.SYMTYPE, content
            else:
                item.size = len(content)
            tar.addfile(item, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def package(
    folder: Path, name: str, files: dict[str, bytes | str | None], control: dict[str, bytes | str | None], more: str = ""
) -> Path:
    stanza = f"Package: {name}\nVersion: 1\nArchitecture: riscv64\n{more}Description: test\n long\n".encode()
    parts = {
        "debian-binary": b"2.0\n", "control.tar": tar_of({"./control": stanza, **control}, 0o755), "data.tar": tar_of(files),
    }
    data = b"!<arch>\n"
    for member, content in parts.items():
        data += f"{member:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        data += content + b"\n" * (len(content) % 2)
    path = folder / f"{name}.deb"
    path.write_bytes(data)
    return path


def laid_out(packages: list[Path], manual: tuple[str, ...] = ()) -> dict[str, tarfile.TarInfo]:
    out = io.BytesIO()
    tar = rootfs.RootTar(out)
    rootfs.write_packages(tar, packages, manual, Progress(io.StringIO()))
    tar.close()
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        found = {}
        for item in archive:
            file = archive.extractfile(item) if item.isfile() else None
            item.pax_headers["content"] = file.read().decode() if file else ""
            found[item.name] = item
        return found


def content(item: tarfile.TarInfo) -> str:
    return str(item.pax_headers["content"])


def test_dpkg_finds_its_database(tmp_path: Path) -> None:
    one = package(tmp_path, "one", {"./etc/one.conf": b"x\n", "./bin/one": b"#!", "./lib": None},
                  {"./conffiles": b"/etc/one.conf\n", "./postinst": b"#!/bin/sh\n",
                   "./triggers": b"interest-noawait /usr/lib/x\n"})
    two = package(tmp_path, "libtwo", {"./usr/lib/two.so": b"2"}, {}, "Multi-Arch: same\n")
    found = laid_out([one, two], ("one",))
    status = content(found["var/lib/dpkg/status"])
    assert status.count("Status: install ok unpacked") == 2
    assert "Conffiles:\n /etc/one.conf 401b30e3b8b5d629635a5c613cdb7919\n" in status
    assert found["usr/bin/one"].isfile() and found["lib"].issym(), "/bin and /lib are links into /usr"
    assert content(found["var/lib/dpkg/info/one.list"]).split() == ["/.", "/etc/one.conf", "/bin/one", "/lib"]
    assert found["var/lib/dpkg/info/one.postinst"].mode & 0o111
    assert "var/lib/dpkg/info/libtwo:riscv64.list" in found
    assert content(found["var/lib/dpkg/triggers/File"]) == "/usr/lib/x one/noawait\n"
    assert "Package: libtwo" in content(found["var/lib/apt/extended_states"])
    assert "Package: one" not in content(found["var/lib/apt/extended_states"])


def test_two_packages_with_one_file_are_refused(tmp_path: Path) -> None:
    both = [package(tmp_path, name, {"./usr/x": b"1"}, {}) for name in ("a", "b")]
    with pytest.raises(SetupError, match="usr/x"):
        laid_out(both)


def test_a_package_that_leads_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="leads out"):
        laid_out([package(tmp_path, "evil", {"./../../etc/passwd": b""}, {})])


# --- imports ------------------------------------------------------------------------------------


def imported(path: Path) -> dict[str, bytes | str]:
    out = io.BytesIO()
    tar = rootfs.RootTar(out)
    rootfs_import.copy_root(path, tar)
    tar.close()
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        return {
            item.name: archive.extractfile(item).read() if item.isreg() else item.linkname  # type: ignore[union-attr]
            for item in archive if not item.isdir()
        }


def test_a_plain_tar(tmp_path: Path) -> None:
    (tmp_path / "root.tar.gz").write_bytes(gzip.compress(tar_of({"./etc": None, "./etc/a": b"1", "./bin": "usr/bin"})))
    assert imported(tmp_path / "root.tar.gz") == {"etc/a": b"1", "bin": "usr/bin"}


@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_layers(tmp_path: Path, kind: str) -> None:
    low = tar_of({"etc/keep": b"1", "etc/gone": b"1", "dir/a": b"1", "dir/b": b"1", "opaque/x": b"1"})
    high = tar_of({"etc/.wh.gone": b"", ".wh.dir": b"", "opaque/.wh..wh..opq": b"", "opaque/y": b"2", "etc/keep": b"2"})
    if kind == "docker":
        files = {"manifest.json": json.dumps([{"Layers": ["l/1.tar", "l/2.tar"]}]).encode(), "l/1.tar": low, "l/2.tar": high}
    else:
        manifest = json.dumps({"layers": [{"digest": "sha256:1"}, {"digest": "sha256:2"}]}).encode()
        files = {"oci-layout": b"{}", "index.json": json.dumps({"manifests": [{"digest": "sha256:m"}]}).encode(),
                 "blobs/sha256/m": manifest, "blobs/sha256/1": low, "blobs/sha256/2": gzip.compress(high)}
    (tmp_path / "image.tar").write_bytes(tar_of(dict(files)))
    assert imported(tmp_path / "image.tar") == {"etc/keep": b"2", "opaque/y": b"2"}


def hostile(kind: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        item = tarfile.TarInfo("etc/x")
        if kind == "path":
            item.name = "etc/../../x"
        elif kind == "hard link":
            item.type, item.linkname = tarfile.LNKTYPE, "etc/none"
        elif kind == "hard link out":
            item.type, item.linkname = tarfile.LNKTYPE, "../../etc/shadow"
        tar.addfile(item)
    data = out.getvalue()
    return data[:700] if kind == "cut" else data


@pytest.mark.parametrize("kind", ["path", "hard link", "hard link out"])
def test_hostile_tars_are_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x.tar").write_bytes(hostile(kind))
    with pytest.raises(SetupError, match=r"leads out|not in it"):
        imported(tmp_path / "x.tar")


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100, gzip.compress(b"x" * 4000), b"\x1f\x8b broken"])
def test_what_is_no_tar(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(SetupError, match=r"x\.tar"):
        imported(tmp_path / "x.tar")


def test_a_size_that_cannot_be(tmp_path: Path) -> None:
    item = tarfile.TarInfo("huge")
    item.size = 1 << 50
    (tmp_path / "x.tar").write_bytes(item.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(SetupError):
        imported(tmp_path / "x.tar")


def test_devices_are_left_out(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        kinds = {"dev/sda": tarfile.BLKTYPE, "dev/kmem": tarfile.CHRTYPE, "run/fifo": tarfile.FIFOTYPE, "a": tarfile.REGTYPE}
        for name, kind in kinds.items():
            item = tarfile.TarInfo(name)
            item.type = kind
            tar.addfile(item)
    (tmp_path / "x.tar").write_bytes(out.getvalue())
    assert imported(tmp_path / "x.tar") == {"a": b""}


def test_a_manifest_that_names_what_is_not_there(tmp_path: Path) -> None:
    for manifest in (b"{", b"[]", b'[{"Layers": ["none"]}]', b"{}"):
        (tmp_path / "x.tar").write_bytes(tar_of({"manifest.json": manifest}))
        with pytest.raises(SetupError, match=r"x\.tar"):
            imported(tmp_path / "x.tar")
