"""The page itself: start, status line, Python console, panels, words for what is missing."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext

from hartwell.layout import RAM_BASE
from hartwell.setup import bundle, paths
from hartwell.setup.server import Server
from tests.core.assembler import assemble
from tests.core.bare import SYMBOLS, elf
from tests.e2e.tab import BOOT_SECONDS, PROMPT, PythonError, Tab

SHORTFALLS = [
    ({}, "NoWebAssembly"),
    ({"WebAssembly": True, "isSecureContext": False}, "NotSecureContext"),
    ({"WebAssembly": True, "isSecureContext": True}, "NotCrossOriginIsolated"),
    ({"WebAssembly": True, "crossOriginIsolated": True}, "NoSharedMemory"),
    ({"WebAssembly": False, "crossOriginIsolated": True, "SharedArrayBuffer": True, "Atomics": True}, "NoWasmThreads"),
    ({"WebAssembly": True, "crossOriginIsolated": True, "SharedArrayBuffer": True, "Atomics": True}, "NoWorkers"),
]


def wait_for_snapshot(tab: Tab) -> None:
    """Until the file is in its place, whole."""
    tab.page.evaluate(
        """async () => {
            const root = await navigator.storage.getDirectory();
            const folder = await root.getDirectoryHandle("hartwell-python", { create: true });
            for (;;) {
                for await (const file of folder.values()) {
                    if (/^[0-9a-f]{64}$/.test(file.name) && (await file.getFile()).size > 0) return;
                }
                await new Promise(resolve => setTimeout(resolve, 100));
            }
        }"""
    )


HEAP = "**/static/python.heap"


def forget_snapshot(tab: Tab) -> None:
    """As if nobody had been here: tests share a profile."""
    tab.open("?boot=no")
    wait_for_snapshot(tab)
    tab.page.evaluate(
        """() => navigator.storage.getDirectory().then(root => root.removeEntry("hartwell-python", { recursive: true }))"""
    )


@pytest.mark.parametrize("how", ["ahead", "normal"])
def test_second_start_is_from_the_snapshot(new_tab: Callable[..., Tab], how: str) -> None:
    first, second = new_tab(), new_tab()
    forget_snapshot(first)
    if how == "normal":
        first.page.route(HEAP, lambda route: route.fulfill(body=b""))
    assert first.open("?boot=no") == {"how": how}
    assert first.python("import sys; sys.version_info[0]") == 3
    wait_for_snapshot(first)
    first.page.close()
    assert second.open("?boot=no") == {"how": "snapshot"}
    # Modules that were not in the heap come from their files, and chance is no repetition.
    assert second.python("import elftools.dwarf.dwarfinfo, micropip; elftools.__version__")
    draws = [second.python("import random; random.random()")]
    second.page.reload()
    second.page.wait_for_function("window.hartwell !== undefined")
    draws.append(second.python("import random; random.random()"))
    assert draws[0] != draws[1]
    assert not first.errors + second.errors
    second.page.close()


def test_a_second_visit_fetches_nothing_that_it_has(new_tab: Callable[..., Tab]) -> None:
    first, second = new_tab(), new_tab()
    first.open("?boot=no")
    first.page.close()
    second.open("?boot=no")
    fetched = second.page.evaluate(
        """() => performance.getEntriesByType("resource")
            .filter(({ transferSize }) => transferSize > 0).map(({ name }) => name)"""
    )
    assert [name for name in fetched if "/v/" in name and "preparing.json" not in name] == []
    second.page.close()


def test_what_a_machine_boots_is_not_written_down(tab: Tab) -> None:
    """By the browser, where the server is on this computer: it takes longer than the file."""
    tab.open("?boot=no")
    fetched = tab.python(
        """
from hartwell import platform
from js import performance
for _ in range(2):
    await platform.current().fetch("images/shell/initrd")
[int(entry.transferSize) for entry in performance.getEntriesByType("resource") if entry.name.endswith("/initrd")]
"""
    )
    size = (paths.STATIC / "images" / "shell" / "initrd").stat().st_size
    assert len(fetched) == 2
    assert min(fetched) > size


def test_a_damaged_snapshot_is_replaced(tab: Tab) -> None:
    tab.open("?boot=no")
    wait_for_snapshot(tab)
    tab.page.evaluate(
        """async () => {
            const root = await navigator.storage.getDirectory();
            const folder = await root.getDirectoryHandle("hartwell-python");
            for await (const file of folder.values()) {
                const stream = await file.createWritable();
                await stream.write(new Uint8Array(1000));
                await stream.close();
            }
        }"""
    )
    assert tab.open("?boot=no") == {"how": "ahead"}
    assert tab.python("6 * 7") == 42


@pytest.mark.parametrize("fits", [True, False])
def test_a_memory_made_ahead_that_does_not_fit_is_left(tab: Tab, fits: bool) -> None:
    """What is no memory of Python's is tried where its key says that it fits, and not else."""
    forget_snapshot(tab)
    key = (paths.STATIC / "python.heap").read_bytes()[-64:] if fits else b"0" * 64
    tab.page.route(HEAP, lambda route: route.fulfill(body=bytes(1000) + key))
    said: list[str] = []
    tab.page.on("console", lambda message: said.append(message.text))
    assert tab.open("?boot=no") == {"how": "normal"}
    assert tab.python("6 * 7") == 42
    if fits:
        for _ in range(1200):  # the browser tells the test of it in its own time
            if any("made ahead did not load" in text for text in said):
                break
            tab.page.wait_for_timeout(100)
    assert any("made ahead did not load" in text for text in said) == fits


def test_window_hartwell(tab: Tab) -> None:
    tab.open("?boot=no")
    assert tab.python("x = [1, 'two', None]\nx") == [1, "two", None]
    assert tab.python("x[1]") == "two"  # one lasting namespace
    assert tab.python("import asyncio\nawait asyncio.sleep(0, 'waited')") == "waited"
    assert tab.python("machine") is None
    with pytest.raises(PythonError) as raised:
        tab.python("def divide(a):\n    return a / 0\ndivide(1)")
    assert (raised.value.name, raised.value.message) == ("ZeroDivisionError", "division by zero")
    assert raised.value.traceback.startswith("Traceback") and "in divide" in raised.value.traceback
    with pytest.raises(PythonError) as raised:
        tab.python("1 +")
    assert raised.value.name == "SyntaxError"


def test_a_terminal_that_cannot_be_read_is_asked_again(new_tab: Callable[..., Tab]) -> None:
    """A save goes without what it shows then; the next one has it."""
    tab = new_tab()
    ask = "import asyncio; from hartwell import platform\nawait asyncio.wait_for(platform.current().terminal(), 240)"
    tab.open("?boot=no")
    assert tab.python(ask)[0] == 0
    tab.page.evaluate(
        """() => {
            const buffer = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(window.hartwell.terminal), "buffer");
            Object.defineProperty(window.hartwell.terminal, "buffer", { ...buffer, get() { throw new Error("broken"); } });
        }"""
    )
    assert tab.python(ask) is None
    tab.page.evaluate("() => { delete window.hartwell.terminal.buffer; window.hartwell.terminal.write('seen'); }")
    _, text, screen = tab.python(ask)
    assert "seen" in text and "seen" in screen


def test_without_a_machine_the_page_offers_start(tab: Tab) -> None:
    tab.open("?boot=no&harts=2")
    tab.wait_for_state("stopped")
    start = tab.page.get_by_role("button", name="Start", exact=True)
    assert start.is_enabled()
    assert start.get_attribute("title") == "Start: machine = await Machine.boot(harts=2)"
    assert tab.page.get_by_role("button", name="Power off").is_disabled()


def test_python_console(tab: Tab) -> None:
    tab.open("?boot=no")
    tab.page.keyboard.press("Alt+Shift+Digit3")
    panel = tab.page.locator("hw-python-panel")
    keys = tab.page.keyboard

    keys.type("print('to stdout'); {'a': (1, 2)}\n")
    panel.locator(".value", has_text="{'a': (1, 2)}").wait_for()  # as Python shows it, not as JSON
    panel.locator(".stdout", has_text="to stdout").wait_for()

    keys.type("for i in range(3):\n")  # a block goes on until an empty line
    keys.type("print(i * 11)\n\n")
    panel.locator(".stdout", has_text="0\n11\n22").wait_for()

    keys.type("1 / 0\n")
    panel.locator(".stderr", has_text="ZeroDivisionError: division by zero").wait_for()

    keys.press("ArrowUp")
    keys.press("ArrowUp")
    assert "range(3)" in panel.locator("textarea").input_value()
    keys.press("Control+c")
    assert panel.locator("textarea").input_value() == ""

    keys.type("import asyncio\nawait asyncio.sleep(1000)\n")
    panel.locator("css=:scope.running").wait_for()
    keys.press("Control+c")
    panel.locator(".stderr", has_text="CancelledError").wait_for()
    keys.type("if print('has begun') is None:\n")  # what has not begun yet is cancelled, not interrupted
    keys.type("while True: pass\n\n")
    panel.locator(".stdout", has_text="has begun").wait_for()
    keys.press("Control+c")
    panel.locator(".stderr", has_text="KeyboardInterrupt").wait_for()

    keys.press("Escape")
    assert not panel.is_visible()
    assert tab.page.evaluate("document.activeElement === window.hartwell.terminal.textarea")


def test_panels_open_and_close_by_keyboard_and_mouse(tab: Tab) -> None:
    tab.open("?boot=no")
    strip = tab.page.get_by_role("navigation", name="Panels")
    names = ["Shelf", "Machine", "Python", "Files", "Harts", "Network", "Numbers", "Debug", "Tasks"]
    for number, name in enumerate(names, start=1):
        tab.page.keyboard.press(f"Alt+Shift+Digit{number}")
        assert tab.page.get_by_role("region", name=name).is_visible()
        assert strip.get_by_role("button", name=name).get_attribute("aria-expanded") == "true"
        tab.page.keyboard.press("Alt+Shift+Digit0")
        assert tab.page.evaluate("document.activeElement === window.hartwell.terminal.textarea")
    strip.get_by_role("button", name="Tasks").click()
    assert not tab.page.get_by_role("region", name="Tasks").is_visible()


def test_the_cursor_blinks_without_an_animation(tab: Tab) -> None:
    """Which would have all of the page drawn sixty times a second, for as long as it is open."""
    tab.open("?boot=no")
    tab.page.evaluate("window.hartwell.terminal.focus()")
    seen = "getComputedStyle(document.querySelector('.xterm-cursor')).backgroundColor !== 'rgba(0, 0, 0, 0)'"
    for shown in (seen, f"!({seen})", seen):
        tab.page.wait_for_function(shown)
    assert tab.page.evaluate("document.getAnimations().length") == 0
    tab.page.wait_for_function("document.querySelector('hw-console[data-dark]')")
    tab.page.evaluate("window.hartwell.terminal.blur()")  # one that stands still is seen
    tab.page.wait_for_function("!document.querySelector('hw-console[data-dark]')")
    assert not tab.page.evaluate(
        """() => new Promise(resolve => {
            new MutationObserver(() => resolve(true)).observe(document.querySelector("hw-console"), { attributes: true });
            setTimeout(resolve, 1500, false);
        })"""
    )


def test_not_isolated_page_says_so(plain_server: str, new_tab: Callable[..., Tab]) -> None:
    tab = new_tab(plain_server)
    tab.page.goto(plain_server)
    notice = tab.wait_for_notice()
    assert "not cross-origin isolated" in notice and "Cross-Origin-Embedder-Policy" in notice
    name = tab.page.evaluate("window.hartwell.ready.then(() => '', ({ name }) => name)")
    assert name == "NotCrossOriginIsolated"
    assert tab.errors == []
    tab.page.close()


@pytest.mark.parametrize(("has", "missing"), SHORTFALLS, ids=[name for _, name in SHORTFALLS])
def test_words_for_what_a_browser_lacks(tab: Tab, has: dict[str, Any], missing: str) -> None:
    """requirements.mjs, asked about a browser with holes."""
    tab.page.goto(tab.address + "?boot=no")
    found = tab.page.evaluate(
        """async has => {
            const { missing } = await import("/requirements.mjs");
            const place = { crossOriginIsolated: has.crossOriginIsolated, isSecureContext: has.isSecureContext };
            if ("WebAssembly" in has) place.WebAssembly = { validate: () => has.WebAssembly };
            if (has.SharedArrayBuffer) place.SharedArrayBuffer = SharedArrayBuffer;
            if (has.Atomics) place.Atomics = Atomics;
            return missing(place);
        }""",
        has,
    )
    assert found["name"] == missing
    assert len(found["title"]) > 20 and len(found["advice"]) > 20


def test_nothing_is_cut_off(tab: Tab) -> None:
    """No sideways scrolling, every control lies inside the window, and has a picture or a word to be known by."""
    tab.open("?boot=no")
    tab.page.get_by_role("navigation", name="Panels").get_by_role("button", name="Machine").click()
    for width, height in [(360, 640), (700, 500), (1200, 760), (2560, 1300)]:
        tab.page.set_viewport_size({"width": width, "height": height})
        assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        for button in tab.page.locator("hw-controls button, hw-dock nav button").all():
            box = button.bounding_box()
            assert box is not None
            assert box["x"] >= 0 and box["x"] + box["width"] <= width, (width, box)
            assert box["y"] >= 0 and box["y"] + box["height"] <= height, (height, box)
            seen = [part.bounding_box() for part in button.locator("svg, span").all()]  # None: not displayed
            assert any(part and min(part["width"], part["height"]) >= 10 for part in seen), (width, button.text_content(), seen)


CONTRAST = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const luminance = colour => {
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
            .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const style = getComputedStyle(document.documentElement);
    const token = name => luminance(style.getPropertyValue(name));
    const pairs = [];
    for (const ink of ["--ink", "--ink-soft", "--accent"])
        for (const ground of ["--ground", "--surface", "--screen", "--raised"]) pairs.push([ink, ground]);
    pairs.push(["--screen-ink", "--screen"], ["--accent-ink", "--accent"], ["--bad", "--screen"],
               ["--ink", "--bad-ground"], ["--ink-soft", "--bad-ground"]);
    return pairs.map(([ink, ground]) => {
        const [low, high] = [token(ink), token(ground)].sort((a, b) => a - b);
        return [ink, ground, (high + 0.05) / (low + 0.05)];
    });
}"""


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_contrast_is_aa(tab: Tab, scheme: Any) -> None:
    """WCAG 2.2, success criterion 1.4.3: 4.5 to 1 for text."""
    tab.page.emulate_media(color_scheme=scheme)
    tab.page.goto(tab.address + "?boot=no")
    poor = [(ink, ground, ratio) for ink, ground, ratio in tab.page.evaluate(CONTRAST) if ratio < 4.5]
    assert not poor


def test_a_missing_part_is_named(browser: BrowserContext, new_tab: Callable[..., Tab]) -> None:
    tab = new_tab()
    tab.page.route("**/main.mjs", lambda route: route.abort())
    tab.page.goto(tab.address)
    tab.page.get_by_role("alert").filter(has_text="did not load").wait_for()
    tab.page.close()


def test_a_missing_file_is_named(new_tab: Callable[..., Tab]) -> None:
    tab = new_tab()
    tab.page.route("**/static/wheels/wheels.json", lambda route: route.fulfill(status=404))
    tab.page.goto(tab.address)
    assert "static/wheels/wheels.json is missing" in tab.wait_for_notice()
    tab.page.close()


def test_a_silent_start_is_told(new_tab: Callable[..., Tab]) -> None:
    """A guest that is quiet leaves the console empty; the page says that it starts until there is something."""
    told = SYMBOLS["DATA"]
    program = elf(assemble(
        "li s0, DATA; quiet: ld t0, 0(s0); beqz t0, quiet; li t1, 0x10000000; li t2, 72; sb t2, 0(t1); end: j end",
        RAM_BASE, **SYMBOLS))
    tab = new_tab()
    tab.open("?boot=no")
    tab.python(f"import base64\nmachine = await Machine.boot(bare=base64.b64decode({base64.b64encode(program)!r}), memory='16M')")
    words = tab.page.locator("hw-progress")
    words.get_by_text("is starting").wait_for()
    assert tab.screen().strip() == ""
    tab.python(f"machine.memory.write({told}, b'now')")
    tab.wait_for_screen("H")
    words.wait_for(state="hidden")
    tab.python("await machine.close()")
    assert not tab.errors
    tab.page.close()


def code_asked_for(tab: Tab) -> set[str]:
    """Opens the page and waits for Python; the paths of the modules and styles that were asked for, without version."""
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url.removeprefix(tab.address).split("?")[0]))
    tab.open()
    return {re.sub(r"^v/[0-9a-f]{16}/", "", url) for url in asked if url.endswith((".mjs", ".css"))}


@pytest.mark.skipif(bundle.package() is None, reason="web/packages.lock pins no esbuild for this computer")
def test_the_page_comes_in_a_few_files(tab: Tab) -> None:
    asked = code_asked_for(tab)
    page = {path for path in asked if not path.startswith("static/")}
    (shared,) = (path for path in page if path.startswith("shared-"))
    assert page - {shared} <= {*bundle.PAGE, "page.css", *bundle.WORKERS}
    assert {*bundle.PAGE, "page.css", "supervisor.mjs", "storage/worker.mjs", "hart.mjs"} <= page


def test_the_page_comes_file_by_file_where_it_was_not_joined(
    browser: BrowserContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for someone who edits web/: all of it runs from there."""
    monkeypatch.setattr(bundle, "fresh", lambda page, web: False)
    with Server(port=0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tab = Tab(browser.new_page(), server.url())
        asked = code_asked_for(tab)
        assert {"main.mjs", "panels/shelf.mjs", "style/panels.css", "static/xterm/xterm.mjs", "storage/client.mjs"} <= asked
        assert not any(path.startswith("shared-") for path in asked)
        tab.wait_for_state("running")
        tab.expect(PROMPT, BOOT_SECONDS)
        assert tab.run("echo by files").strip() == "by files"
        assert not tab.errors
        tab.page.close()
        server.shutdown()
