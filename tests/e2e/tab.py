"""A page of Hartwell in a browser, as tests drive it."""

from __future__ import annotations

import time
from typing import Any

from playwright.sync_api import Page

ANSWER_SECONDS = 1200  # for the supervisor: longer than what it is asked to wait for
READY_SECONDS = 240  # Python's first start, on a busy machine
BOOT_SECONDS = 900
SECONDS = 240  # for anything else: limits are against waiting for ever, not for haste
PROMPT = r"[#$] $"


class PythonError(Exception):
    """An error that window.hartwell.python rejected with."""

    def __init__(self, name: str, message: str, traceback: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name, self.message, self.traceback = name, message, traceback


class Late(AssertionError):
    """What the page was asked for did not come; the message says what it was at."""


TASKS = "import asyncio; '\\n'.join(f'{task} {task.get_stack()}' for task in asyncio.all_tasks())"


class Tab:
    """A page of Hartwell and the machine in it.

    A test that puts itself between the page and its server does so by `tab.page.route` before
    the page is opened, and for good: a request that is on its way when Playwright
    ends that may never be answered (10 of 640, with nothing but a worker that fetches),
    and whoever waits for it waits for ever.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.errors: list[str] = []  # what a person would see in the browser's console as errors
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.set_default_timeout(READY_SECONDS * 1000)

    def open(self, query: str = "") -> dict[str, Any]:
        """Loads the page; what the supervisor said when it was ready."""
        self.page.goto(self.address + query)
        self.page.wait_for_function("window.hartwell !== undefined")
        ready: dict[str, Any] = self._answer("window.hartwell.ready.then(({how}) => ({how}))", "Python's start")
        return ready

    def boot(self, query: str = "") -> Tab:
        """Loads the page and waits for the shell's prompt."""
        self.open(query)
        self.wait_for_state("running")
        self.expect(PROMPT, BOOT_SECONDS)
        return self

    def python(self, code: str) -> Any:
        """Runs Python in the supervisor; its errors come as PythonError."""
        answer = self._python(code, ANSWER_SECONDS)
        if "name" in answer:
            raise PythonError(answer["name"], answer["message"], answer.get("traceback") or "")
        return answer["value"]

    def _python(self, code: str, seconds: float) -> dict[str, Any]:
        ask = """window.hartwell.python(code).then(
            value => ({ value }),
            ({ name, message, traceback }) => ({ name, message, traceback }))"""
        return dict(self._answer(ask, code, seconds))

    def _answer(self, ask: str, code: str, seconds: float = ANSWER_SECONDS) -> Any:
        """What a promise of the page's gives, which may use `code`.  Late when that takes too long."""
        answer = self.page.evaluate(
            f"""([code, seconds]) => Promise.race([
                {ask}.then(given => ({{ given }})),
                new Promise(give => setTimeout(give, 1000 * seconds, null))])""",
            [code, seconds],
        )
        if answer is None:
            raise Late(f"no answer within {seconds} s to: {code}\n{self._at(code)}")
        return answer["given"]

    def _at(self, code: str) -> str:
        """What the page and its supervisor are at."""
        try:
            tasks = self._python(TASKS, 30).get("value") if code != TASKS else ""
        except Late:
            tasks = "the supervisor's thread is blocked"
        return f"tasks: {tasks}\nerrors: {self.errors}\nstate: {self.state()}\n{self.screen()[-2000:]}"

    def expect(self, pattern: str, timeout: float = SECONDS) -> str:
        """The console's output up to and with the match of a regular expression."""
        return str(self.python(f"await machine.console.expect({pattern!r}, timeout={timeout})"))

    def run(self, command: str) -> str:
        """What a command in the guest prints."""
        return str(self.python(f"(await machine.run({command!r}, timeout={SECONDS})).stdout"))

    def type(self, text: str) -> None:
        """Types on the keyboard, into the console."""
        self.page.evaluate("window.hartwell.terminal.focus()")
        self.page.keyboard.type(text)

    def screen(self) -> str:
        """The terminal's text, with its scrollback; wrapped lines are joined."""
        text: str = self.page.evaluate(
            """() => {
                const buffer = window.hartwell.terminal.buffer.active;
                let text = "";
                for (let i = 0; i < buffer.length; i++) {
                    const line = buffer.getLine(i);
                    text += (i && !line.isWrapped ? "\\n" : "") + line.translateToString(true);
                }
                return text;
            }"""
        )
        return text

    def wait_for_screen(self, text: str, seconds: float = SECONDS) -> str:
        """Until the terminal shows `text`."""
        end = time.monotonic() + seconds
        while text not in (shown := self.screen()):
            assert time.monotonic() < end, f"{text!r} is not on the screen after {seconds} s:\n{shown}"
            self.page.wait_for_timeout(100)
        return shown

    def state(self) -> str:
        """The state in the status line, in words."""
        return self.page.locator('hw-status [data-name="state"]').inner_text()

    def wait_for_state(self, state: str, seconds: float = BOOT_SECONDS) -> None:
        """Until the status line says `state`; a notice on the way is the failure's message."""
        end = time.monotonic() + seconds
        while self.state() != state:
            notice = self.notice()
            assert time.monotonic() < end and not notice, (
                f"the page says {self.state()!r}, not {state!r}; its notice: {notice!r}\n{self.screen()}"
            )
            self.page.wait_for_timeout(100)

    def wait_for_stopped(self, seconds: float = READY_SECONDS) -> None:
        """Until nothing runs; a notice may tell why."""
        self.page.locator('hw-status[data-state="stopped"]').wait_for(timeout=seconds * 1000)

    def notice(self) -> str:
        """The text of the bar above the console, "" without one."""
        bar = self.page.locator("hw-notice")
        return bar.inner_text() if bar.is_visible() else ""

    def wait_for_notice(self, seconds: float = READY_SECONDS) -> str:
        """Until there is a notice; its text."""
        self.page.locator("hw-notice .words").wait_for(state="visible", timeout=seconds * 1000)
        return self.notice()

    def press(self, label: str) -> None:
        """Presses a button of the bar by its name."""
        self.page.get_by_role("toolbar", name="Machine").get_by_role("button", name=label, exact=True).click()

    def open_panel(self, label: str) -> None:
        """Opens a panel by its name in the dock."""
        self.page.locator("hw-dock nav").get_by_role("button", name=label, exact=True).click()
