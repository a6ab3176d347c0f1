"""What the page says while serve.py prepares Debian behind it."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.tab import Tab


def test_the_page_shows_how_far_it_is_and_offers_it_once(tab: Tab) -> None:
    told: dict[str, Any] = {"state": "preparing", "image": "twin", "what": "building twin in the machine", "part": 0.42}
    tab.page.route("**/preparing.json", lambda route: route.fulfill(body=json.dumps(told), content_type="application/json"))
    tab.open()
    tab.wait_for_state("running")
    word = tab.page.locator("hw-preparing")
    word.get_by_text("Twin 42 %", exact=True).wait_for()
    assert "building twin in the machine" in (word.get_attribute("title") or "")
    told |= {"state": "ready"}
    offer = tab.page.locator("hw-notice button", has_text="Open it")
    offer.wait_for()
    assert word.is_hidden() and "Twin is ready." in tab.notice()
    offer.click()
    # There is no such image: that is said before the machine that runs is touched.
    tab.page.locator("hw-notice", has_text="image 'twin' is not known").wait_for()
    assert tab.state() == "running" and tab.python("machine.image") == "shell"

    tab.page.reload()
    tab.page.wait_for_function("window.hartwell !== undefined")
    tab.wait_for_state("running")
    tab.page.wait_for_timeout(1000)
    assert tab.notice() == ""  # once is enough


def test_a_failure_is_said_and_the_machine_goes_on(tab: Tab) -> None:
    told: dict[str, Any] = {"state": "preparing", "image": "debian", "what": "fetching packages", "part": 0.0}
    tab.page.route("**/preparing.json", lambda route: route.fulfill(body=json.dumps(told), content_type="application/json"))
    tab.open("?image=shell")
    tab.wait_for_state("running")
    tab.page.locator("hw-preparing", has_text="Debian 0 %").wait_for()
    told |= {"state": "failed", "message": "the mirror cannot be reached"}
    tab.page.locator("hw-notice", has_text="the mirror cannot be reached").wait_for()
    assert tab.state() == "running" and tab.page.locator("hw-preparing").is_hidden()
