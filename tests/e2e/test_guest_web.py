"""The guest's web servers in the page, the proxy by the browser's fetch, and vsock, in a real browser."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.tab import Tab
from tests.e2e.test_network import run

PAGE = """<!doctype html><title>guest</title><link rel=stylesheet href=style.css><h1>Hello from the guest</h1>
<form method=post action=/cgi-bin/echo><input name=word value=hi><button>Send</button></form>
<script>
let reach = 'yes';
try { parent.document.querySelector('hw-console') } catch { reach = 'no' }
document.body.append(' reaches the page: ' + reach);
fetch('data.json').then(r => r.json()).then(d => document.body.append(' data: ' + d.value));
</script>"""
SERVE = f"""mkdir -p /tmp/www/cgi-bin && cd /tmp/www && cat >index.html <<'END'
{PAGE}
END
echo 'h1 {{ color: rgb(1, 2, 3) }}' >style.css; echo '{{"value": 42}}' >data.json
printf '#!/bin/sh\\necho Content-Type: text/html; echo; echo "<p>posted $(cat)</p>"\\n' >cgi-bin/echo; chmod +x cgi-bin/echo
httpd -p 127.0.0.1:8000 -h /tmp/www"""
SITE = "http://site.example.com/"  # stands for a site of the internet; who answers is a test
OPEN_AT: list[str] = []
FORWARDING = "for i in $(seq 600); do pidof vsock-forward >/dev/null && exit; sleep 0.2; done; exit 1"


@pytest.fixture(scope="module")
def served(new_tab: Callable[..., Tab]) -> Iterator[Tab]:
    """A machine without a network card whose guest serves a page."""
    tab = new_tab()
    tab.page.route(f"{SITE}**", lambda route: route.fulfill(response=route.fetch(url=OPEN_AT[0])))
    tab.boot("?network=none")
    run(tab, FORWARDING)
    run(tab, SERVE)
    yield tab
    assert [error for error in tab.errors if "favicon" not in error] == []


def test_python_asks_a_server_in_the_guest(served: Tab) -> None:
    assert served.python("r = await machine.http(8000, '/data.json'); [r.status, r.body.decode()]") == [200, '{"value": 42}\n']
    assert served.python("(await machine.http(8000, '/none')).status") == 404
    assert "posted word" in served.python("(await machine.http(8000, '/cgi-bin/echo', 'POST', {}, b'word')).body.decode()")
    said = served.python("""
from hartwell.errors import ConnectionRefused
try: await machine.http(8001)
except ConnectionRefused as error: said = str(error)
said""")
    assert "no program in the guest listens there" in said


def test_a_page_of_the_guests_is_shown_and_stays_in_its_frame(served: Tab) -> None:
    page = served.page
    page.get_by_role("navigation", name="Panels").get_by_role("button", name="Network").click()
    panel = page.locator("hw-network-panel")
    panel.get_by_text("This machine has no network card.").wait_for()
    panel.get_by_role("button", name="Show").click()
    shown = panel.frame_locator("iframe")
    heading = shown.get_by_role("heading", name="Hello from the guest")
    heading.wait_for()
    shown.get_by_text("reaches the page: no").wait_for()
    shown.get_by_text("data: 42").wait_for()  # a script that waits for the style sheet has run
    assert heading.evaluate("e => getComputedStyle(e).color") == "rgb(1, 2, 3)"
    shown.get_by_role("button", name="Send").click()
    shown.get_by_text("posted word=hi").wait_for()
    with page.context.expect_page() as tab:  # the same, in a tab of its own
        panel.get_by_role("link", name="Open in a tab").click()
    tab.value.get_by_role("heading", name="Hello from the guest").wait_for()
    tab.value.close()
    panel.get_by_role("button", name="Close", exact=True).click()
    page.keyboard.press("Escape")


class Open(http.server.BaseHTTPRequestHandler):
    """A site that allows others, by CORS; the browser finds it by a name of the test's."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"site\n")

    def log_message(self, *_: Any) -> None:
        pass


def test_the_proxy_reaches_what_the_browser_may(served: Tab) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Open) as site:
        threading.Thread(target=site.serve_forever, args=[0.05], daemon=True).start()
        address = f"http://127.0.0.1:{site.server_address[1]}/"
        OPEN_AT[:] = [address]
        proxied = "http_proxy=http://127.0.0.1:3128 wget -q -O - "
        assert run(served, f"{proxied} {SITE}") == "site\n"
        for refused in (address, "http://localhost/", "http://192.168.0.1/", "http://10.0.2.2/", "http://0x7f000001/"):
            said = run(served, f"http_proxy=http://127.0.0.1:3128 wget -O - {refused} 2>&1; true")
            assert "403 Forbidden" in said, refused
        site.shutdown()


def test_vsock_carries_both_ways(served: Tab) -> None:
    """Through the guest's own program: bytes out of a TCP server and into one, whole."""
    run(served, "head -c 1500000 /dev/urandom >/tmp/www/big; sha256sum </tmp/www/big >/tmp/big.sum")
    digest = served.python("import hashlib; hashlib.sha256((await machine.http(8000, '/big')).body).hexdigest()")
    assert run(served, "cat /tmp/big.sum").split()[0] == digest
    count = 300_000
    served.python("""
async def take(stream):
    global taken
    parts = []
    while piece := await stream.read(): parts.append(piece)
    taken = b''.join(parts)
    await stream.write(b'%d\\n' % len(taken))
machine.vsock.listen(5000, take)""")
    # 7000 is 1B58; 0A is a socket that listens.
    said = run(served, f"""vsock-forward out 7000 5000 & until grep -q ':1B58 .* 0A ' /proc/net/tcp*; do sleep 0.1; done
        head -c {count} /dev/zero | tr '\\0' x | nc -w 200 127.0.0.1 7000; kill %1 2>/dev/null; kill $! 2>/dev/null; true""")
    assert said.strip() in (str(count), "")
    assert served.python(f"taken == b'x' * {count}")
