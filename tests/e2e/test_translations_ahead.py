"""Translations that set-up made of the image's boot: used by boots and wakes of it, and left where they are damaged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Route

from hartwell import translations
from hartwell.setup import preboot
from tests.e2e.conftest import serving
from tests.e2e.tab import Tab

BOOT = """
machine = await Machine.boot(harts=2)
await machine.console.expect(r"[#$] $", timeout=400)
machine.statistics()["jit"]
"""
AGAIN = 4000  # milliseconds from one look to the next: a page fetches them 4 s after its first machine was made
LOOKS = 60
MODULES = "**/static/snapshots/*.wasm"


class Held:
    """A tab that gets none of them until `let_go`, however long it takes."""

    def __init__(self, tab: Tab) -> None:
        self.routes: list[Route] = []
        self.free = False
        tab.page.route(MODULES, self.asked)  # before anything is under way, and for good: see Tab

    def asked(self, route: Route) -> None:
        if self.free:
            route.continue_()
        else:
            self.routes.append(route)

    def let_go(self) -> None:
        self.free = True
        for route in self.routes:
            route.continue_()


def regions(which: str = "") -> int:
    """How many set-up made: all, or what `which` names in the index."""
    facts = json.loads((preboot.FOLDER / "index.json").read_text())["translations"]["shell"]
    module = (preboot.FOLDER / (facts[which] if which else facts)["file"]).read_bytes()
    return int.from_bytes(translations.table_of(module)[4:8], "little")


def taken(tab: Tab) -> dict[str, int]:
    """What a boot counted that took all: the first that found them there."""
    for _ in range(LOOKS):
        tab.page.wait_for_timeout(AGAIN)
        if (counted := tab.python(BOOT))["ahead_count"] == regions():
            return dict(counted)
    pytest.fail(f"no boot of {LOOKS} took them: {counted}")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(preboot=True) as served:
        yield served


def test_a_boot_takes_them(new_tab: Callable[..., Tab], address: str) -> None:
    tab = new_tab(address)
    held = Held(tab)
    tab.open("?boot=no")
    assert tab.python(BOOT)["ahead"] == 0  # a visit's first machine does not wait for them
    held.let_go()
    counted = taken(tab)
    assert counted["ahead"] > 300
    assert counted["ahead_refused"] == counted["refused"] == 0
    assert counted["regions"] < counted["ahead"]  # made here
    plain = tab.python("machine = await Machine.boot(jit=False); machine.statistics()['jit']")
    assert plain["ahead"] == 0
    assert tab.errors == []


def test_a_first_boot_takes_those_that_are_hot_first(new_tab: Callable[..., Tab], address: str) -> None:
    """Where the browser has nothing, and whatever becomes of the rest."""
    few = json.loads((preboot.FOLDER / "index.json").read_text())["translations"]["shell"]["first"]["file"]
    assert 100 < regions("first") < regions()
    for _ in range(10):  # a boot may be there before them
        tab = new_tab(address)
        tab.page.route(MODULES, lambda route: route.continue_() if few in route.request.url else route.abort())
        tab.open("?boot=no")  # a page that wakes nothing looks for them while Python comes
        tab.page.wait_for_timeout(2000)
        counted = tab.python(BOOT)
        tab.page.close()
        if counted["ahead_count"]:
            break
    assert counted["ahead_count"] == regions("first")
    assert counted["ahead"] > 100
    assert counted["ahead_refused"] == counted["refused"] == 0


def test_the_engine_compiles_them_before_a_machine_calls_them(new_tab: Callable[..., Tab], address: str) -> None:
    """All that are there, unless a machine comes; what is none of them is left alone."""
    few = json.loads((preboot.FOLDER / "index.json").read_text())["translations"]["shell"]["first"]["file"]
    tab = new_tab(address)
    tab.open("?boot=no")
    called = tab.page.evaluate(
        """async (few) => {
            const { warm } = await import(new URL("warm.mjs", document.baseURI).href);
            const compile = (name) => WebAssembly.compileStreaming(fetch(new URL(`/static/${name}`, location.href)));
            const module = await compile(`snapshots/${few}`);
            let asked = 0;
            const nothing = await WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]));
            return [
                await warm(module, () => true), await warm(module, () => ++asked < 3),
                await warm(nothing, () => true), await warm(await compile("cpu.wasm"), () => true),
            ];
        }""",
        few,
    )
    assert called == [min(regions("first"), 500), 32, 0, 0]
    assert tab.errors == []


def test_a_machine_that_wakes_takes_them(new_tab: Callable[..., Tab], address: str) -> None:
    tab = new_tab(address)
    held = Held(tab)
    tab.open()
    tab.wait_for_state("running")
    assert tab.python("machine.statistics()['jit']['ahead_count']") == 0
    held.let_go()
    for _ in range(LOOKS):
        tab.page.wait_for_timeout(AGAIN)
        tab.python("await machine.hibernate('ahead'); machine = await Machine.wake('ahead')")
        if tab.python("machine.statistics()['jit']['ahead_count']"):
            break
    assert tab.run("for i in 1 2 3 4 5 6 7 8 9; do ls -l /bin >/dev/null; done; echo done") == "done\n"
    assert tab.python("machine.statistics()['jit']['ahead']") > 50
    assert tab.errors == []


def test_a_later_visit_has_them_from_the_browser(new_tab: Callable[..., Tab], address: str) -> None:
    """What the visits before left in its cache is there long before a page that has nothing looks for it."""
    first = new_tab(address)
    first.open("?boot=no")
    taken(first)
    first.page.close()
    for _ in range(10):  # a boot may be there before them; without one a page fetches only the few
        tab = new_tab(address)
        tab.open("?boot=no")
        tab.page.wait_for_timeout(3000)
        counted = tab.python(BOOT)
        assert tab.errors == []
        tab.page.close()
        if counted["ahead_count"] == regions():
            break
    assert counted["ahead_count"] == regions()
    assert counted["ahead"] > 300
    assert counted["ahead_refused"] == counted["refused"] == 0


def test_a_damaged_file_is_left_and_the_machine_boots(new_tab: Callable[..., Tab], address: str) -> None:
    tab = new_tab(address)
    said: list[str] = []
    tab.page.on("console", lambda message: said.append(message.text))
    asked: list[str] = []

    def damage(route: object) -> None:
        answer = route.fetch()  # type: ignore[attr-defined]
        asked.append(answer.url)
        body = bytearray(answer.body())
        body[len(body) // 2] ^= 1
        route.fulfill(response=answer, body=bytes(body))  # type: ignore[attr-defined]

    tab.page.route(MODULES, damage)
    tab.open("?boot=no")
    tab.python(BOOT)
    for _ in range(LOOKS):
        tab.page.wait_for_timeout(AGAIN)
        if any("made ahead" in line for line in said):
            break
    counted = tab.python(BOOT)
    assert asked
    assert counted["ahead"] == 0
    assert counted["regions"] > 0
    assert any("translations made ahead for shell are not used" in line for line in said)
