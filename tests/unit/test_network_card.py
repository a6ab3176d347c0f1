"""web/network/card.mjs: two cards of one worker."""

from __future__ import annotations

import json
import subprocess

from hartwell.setup import node, paths

SCRIPT = """
import { Card } from "./web/network/card.mjs";

const memory = new WebAssembly.Memory({ initial: 8, maximum: 8, shared: true });
const left = [1000, 1000];
for (const number of [0, 1]) {
  const exports = { net_link: () => {}, net_give: () => 0, net_take: () => (left[number] ? (left[number]--, 60) : 0) };
  void new Card(exports, memory, number, number * 200_000).serve();
}
setTimeout(() => { console.log(JSON.stringify(left)); process.exit(); }, 300);
"""


def test_two_busy_cards_both_go_on() -> None:
    result = subprocess.run(
        [str(node.find()), "--input-type=module", "--no-warnings", "-e", SCRIPT], cwd=paths.ROOT, capture_output=True, text=True,
        check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == [0, 0], "frames that each has yet to take"
