"""What a person has who runs serve.py and opens the page for the first time: a machine that was booted ahead."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable

from tests.e2e.conftest import serving
from tests.e2e.tab import Tab
from tests.e2e.test_network import DATA, LEASE, Pages


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
            for _ in range(100):
                [status] = tab.python("machine.network.status")
                if status["state"] != "connecting":
                    break
                tab.page.wait_for_timeout(100)
            if status["state"] == "connected":  # else this machine has no passt
                assert tab.python(f"(await machine.run({LEASE!r}, timeout=120)).returncode") == 0
                assert tab.run(f"wget -q -O - http://10.0.2.2:{port}/data | wc -c").strip() == str(len(DATA))
            assert tab.errors == []
            tab.page.close()
        pages.shutdown()
