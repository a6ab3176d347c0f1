"""What a person has who runs serve.py and opens the page for the first time: a machine that was booted ahead."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Playwright

from tests.e2e.conftest import chromium, serving
from tests.e2e.tab import Tab
from tests.e2e.test_network import DATA, LEASE, Pages
from tests.e2e.test_wake_before_python import let_python_come, without_python


def test_the_machine_that_was_booted_ahead_has_folder_and_network(new_tab: Callable[..., Tab]) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as pages:
        threading.Thread(target=pages.serve_forever, args=[0.05], daemon=True).start()
        port = pages.server_address[1]
        with serving("--allow", f"127.0.0.1:{port}", preboot=True) as address:
            tab = new_tab(address)
            tab.open()
            tab.wait_for_state("running")
            tab.python("await machine.files.write('/mnt/host/note', b'by the page')")
            assert tab.run("cat /mnt/host/note; echo by the guest >/mnt/host/answer") == "by the page"
            assert tab.python("(await machine.files.read('/mnt/host/answer')).decode()") == "by the guest\n"
            [status] = tab.python("machine.network.status")
            assert status["segment"] == "relay"
            for _ in range(1200):
                [status] = tab.python("machine.network.status")
                if status["state"] != "connecting":
                    break
                tab.page.wait_for_timeout(100)
            if status["state"] == "connected":  # else this machine has no passt
                assert tab.python(f"(await machine.run({LEASE!r}, timeout=240)).returncode") == 0
                assert tab.run(f"wget -q -O - http://10.0.2.2:{port}/data | wc -c").strip() == str(len(DATA))
            assert tab.errors == []
            tab.page.close()
        pages.shutdown()


def test_it_runs_before_python_and_a_first_save_finds_the_image_stored(playwright: Playwright, tmp_path: Path) -> None:
    """First a visit that wakes the machine that was booted ahead, then one that boots it cold."""
    context = chromium(playwright, tmp_path / "profile")
    with serving(preboot=True) as address:
        tab, held = without_python(context, address)
        tab.type("echo be''fore\n")
        tab.wait_for_screen("\nbefore")
        let_python_come(tab, held)
        assert tab.run("echo now > /tmp/now; cat /tmp/now") == "now\n"
        tab.python("import asyncio\nfrom hartwell import platform\nMachine.checkpoint_seconds = None")
        # A copy: it is nobody's until it is saved, and then with all of its memory, of which most came from the file.
        written, stored = tab.python(
            "await machine.hibernate('first')\n[machine._saver.written, (await Machine.snapshots())[0].stored]")
        assert written < stored / 2
        assert tab.python("await (store := platform.current().store).collect()\nawait store.records('seed')") == []
        tab.python("machine = await Machine.wake('first', lazy=False)")
        assert tab.run("cat /tmp/now") == "now\n"
        tab.python("await machine.close()\nawait Machine.delete_snapshot('first')")

        tab.python("Machine.checkpoint_seconds = 3600\nmachine = await Machine.boot('shell')")
        tab.expect(r"# $", 900)
        tab.python(
            "for _ in range(2400):\n    if machine._saver.seeded: break\n    await asyncio.sleep(0.1)\n"
            "while any('seed' in str(task) for task in machine._tasks if not task.done()): await asyncio.sleep(0.1)")
        assert tab.python("[one.name for one in await store.records('seed')]") == ["shell"]
        written, stored = tab.python(
            "await machine.checkpoint('second')\n[machine._saver.written, (await Machine.snapshots())[0].stored]")
        assert written < stored / 2
        assert tab.python("await store.records('seed')") == []
        tab.python("await store.collect()\nawait machine.hibernate()\nmachine = await Machine.wake('second', lazy=False)")
        assert tab.run("echo $((6*7))") == "42\n"
        assert tab.errors == []
    context.close()
