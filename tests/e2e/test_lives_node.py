"""Machines that end while they begin, in Node: who waits for them hears of it."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.test_storage import run_in_node

SCRIPT = """
import asyncio, json
from hartwell.errors import HartwellError

async def outcome(work):
    try:
        async with asyncio.timeout(240):
            return await work
    except TimeoutError:
        return "waits for ever"
    except HartwellError as error:
        return "refused"

told = {}
booting = asyncio.ensure_future(outcome(Machine.boot("shell")))
while Machine.shown is None:
    await asyncio.sleep(0)
await Machine.shown.close()
told["closed"] = await booting
two = await asyncio.gather(outcome(Machine.boot("shell")), outcome(Machine.boot("shell")))
# Asked of both at the end: the first may have been at its prompt before the second took its place.
told["two"] = sorted(getattr(one, "state", one) for one in two)
told["shown"] = Machine.shown.state
await Machine.shown.close()
"""


def test_a_boot_whose_machine_is_closed_ends(tmp_path: Path) -> None:
    told = run_in_node(SCRIPT + "\nprint('\\n' + json.dumps(told))", tmp_path)
    assert told["closed"] == "refused" and told["shown"] == "running"
    assert told["two"] in (["refused", "running"], ["running", "stopped"])
