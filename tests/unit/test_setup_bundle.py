"""The page in a few files: what set-up made of this checkout, and what the server gives of it."""

from __future__ import annotations

import http.client
import json
import re
import threading
from pathlib import Path

import pytest

from hartwell.setup import bundle, commands, paths
from hartwell.setup.server import Server
from hartwell.setup.steps import Progress, Runner, SetupError

JOINED = bundle.package() is not None
joined = pytest.mark.skipif(not JOINED, reason="web/packages.lock pins no esbuild for this computer")
IMPORT = re.compile(r"""(?:\bfrom|\bimport)\s*\(?\s*["']([\w./@:-]+)["']""")


def get(server: Server, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=240)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@joined
def test_it_is_made_of_what_is_there() -> None:
    assert bundle.fresh(bundle.FOLDER, bundle.WEB)


@joined
@pytest.mark.parametrize("name", bundle.WORKERS)
def test_a_worker_is_one_file(name: str) -> None:
    rest = set(IMPORT.findall((bundle.FOLDER / name).read_text()))
    assert {path for path in rest if not path.startswith(("node:", "../node/"))} == set()


def test_each_worker_that_the_page_starts_has_its_file() -> None:
    """By the calls in web/: who adds a worker adds it there, too."""
    started = set()
    for file in bundle.WEB.rglob("*.mjs"):
        if "node" not in file.relative_to(bundle.WEB).parts:
            text = file.read_text()
            started |= set(re.findall(r"""(?:startWorker|spawnWorker)\(["']([^"']+)["']""", text))
            started |= set(re.findall(r"""new Worker\(new URL\(["'`]([\w/.-]+\.mjs)""", text))
    assert started == set(bundle.WORKERS)


@joined
def test_the_page_names_files_that_are_there() -> None:
    page = (bundle.FOLDER / "index.html").read_text()
    named = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page)
    assert len(named) == 4 and all((bundle.FOLDER / name).is_file() for name in named)
    shared = [name for name in named if name.startswith("shared-")]
    assert [*bundle.PAGE, "page.css", *shared] == sorted(named, key=[*bundle.PAGE, "page.css", *shared].index)
    assert set(IMPORT.findall((bundle.FOLDER / "start.mjs").read_text())) == {f"./{name}" for name in shared}


@joined
def test_styles_count_in_the_order_in_which_the_page_names_them() -> None:
    style = (bundle.FOLDER / "page.css").read_text()
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', (bundle.WEB / "index.html").read_text())
    at = [style.index(rule) for rule in (".xterm", "hw-console", "hw-dock")]
    assert len(sheets) > 5 and sheets[0].endswith("xterm.css") and at == sorted(at)


@joined
@pytest.mark.parametrize("name", ["main.mjs", "supervisor.mjs", "storage/worker.mjs"])
def test_an_error_can_be_found_in_the_source(name: str) -> None:
    file = bundle.FOLDER / name
    assert f"//# sourceMappingURL={file.name}.map" in file.read_text()
    told = json.loads(file.with_name(f"{file.name}.map").read_text())["sources"]
    assert any(source.endswith(f"web/{name}") for source in told)


def checkout(root: Path, with_page: bool = True) -> tuple[Path, Path]:
    """A web and a static folder, whose page was made of just that web."""
    web, static = root / "web", root / "static"
    for name, text in {"index.html": "<head>by files", "main.mjs": "1;", "hart.mjs": "2;"}.items():
        (web / name).parent.mkdir(parents=True, exist_ok=True)
        (web / name).write_text(text)
    page = static / bundle.FOLDER.name
    page.mkdir(parents=True)
    if with_page:
        (page / "index.html").write_text("<head>joined")
        (page / "main.mjs").write_text("joined;")
    (page / bundle.SOURCES).write_text(bundle.sources(web) if with_page else "")
    return web, static


def test_the_server_gives_it_while_it_is_what_web_is(tmp_path: Path) -> None:
    web, static = checkout(tmp_path)
    with Server(port=0, web=web, static=static) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        status, page = get(server, "/?harts=2")
        assert status == 200 and page.endswith(b"joined")
        base = re.search(rb'href="(v/[0-9a-f]{16}/)"', page)
        assert base
        before = "/" + base[1].decode()
        assert get(server, before + "main.mjs") == get(server, "/main.mjs") == (200, b"joined;")
        assert get(server, before + "hart.mjs") == (200, b"2;")  # what it lacks is web's
        assert get(server, "/sources")[0] == 200  # as any file of it
        (web / "hart.mjs").write_text("three;")
        status, page = get(server, "/")
        assert page.endswith(b"by files") and before.encode() not in b"/" + page
        assert get(server, "/main.mjs") == (200, b"1;")
        (web / "hart.mjs").write_text("2;")  # as it was, if later
        assert get(server, "/")[1].endswith(b"joined")
        server.shutdown()


def test_an_empty_folder_is_no_page(tmp_path: Path) -> None:
    web, static = checkout(tmp_path, with_page=False)
    with Server(port=0, web=web, static=static) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        assert get(server, "/")[1].endswith(b"by files")
        server.shutdown()


def test_without_esbuild_the_page_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "FOLDER", tmp_path / "page")
    step = bundle.step(None)
    step.act(Progress())
    assert all(output.exists() for output in step.outputs) and not bundle.fresh(tmp_path / "page", bundle.WEB)


def test_what_esbuild_says_is_told_and_the_page_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "esbuild"
    program.write_text("#!/bin/sh\necho main.mjs has a hole >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(bundle, "FOLDER", tmp_path / "page")
    monkeypatch.setattr(bundle.npm, "program", lambda package: program)
    bundle.step("@esbuild/any").act(Progress())
    assert "main.mjs has a hole" in capsys.readouterr().err and not bundle.fresh(tmp_path / "page", bundle.WEB)


@joined
def test_a_source_with_an_error_is_named(tmp_path: Path) -> None:
    web = tmp_path / "web"
    web.mkdir()
    for name in (*bundle.PAGE, *(worker for worker in bundle.WORKERS if "/" not in worker)):
        (web / name).write_text("let a = ;\n" if name == "main.mjs" else "")
    (web / "index.html").write_text((bundle.WEB / "index.html").read_text())
    package = bundle.package()
    assert package
    with pytest.raises(SetupError, match=r"main\.mjs"):
        bundle.make(bundle.npm.program(package), web, paths.STATIC, tmp_path / "work")


def test_where_esbuild_does_not_come_set_up_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> Path:
        raise SetupError("npm: the registry that npm is set up with has no esbuild")

    monkeypatch.setattr(bundle, "FOLDER", tmp_path / "page")
    monkeypatch.setattr(bundle, "package", lambda: next(name for name in bundle.npm.read_lock() if name.startswith("@esbuild/")))
    monkeypatch.setattr(bundle.npm, "TOOLS", tmp_path / "tools" / "node_modules")
    monkeypatch.setattr(bundle.npm, "fetch", refuse)
    commands.join_page(Runner(state=tmp_path / "state"))
    said = capsys.readouterr().err
    assert "has no esbuild" in said and "file by file" in said
    assert (tmp_path / "page" / bundle.SOURCES).read_text() == ""
