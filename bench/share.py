"""How a hart's translations reach another hart: as bytes in shared memory, or as posted Modules.

The modules are those of a booted machine.  A first worker compiles each, as the
hart that translated it does; a second one takes it by its bytes, which the engine
recognises, or by a message.  Decides docs/decisions/0007-shared-translations.md.
"""

from __future__ import annotations

import statistics
from typing import Any

from bench import guests, results

BOOT = """
import base64
from hartwell.layout import LAYOUT, field
machine = await Machine.boot("shell", jit=400)
await machine.console.expect(r"[#$] $", 240)
machine.pause()
core = machine._core
number = lambda path: core.load(field(path).offset)
first, size = number("Machine.jit_modules_offset"), LAYOUT["JitModule"].size
where = [core.read(first + size * k, 8) for k in range(number("Machine.jit.segment_modules"))]
[base64.b64encode(core.read(int.from_bytes(w[:4], "little"), int.from_bytes(w[4:], "little"))).decode() for w in where]
"""
# A custom section with a number makes each turn's modules new to the engine, which keeps code by a module's bytes.
WORKER = """
const memory = new WebAssembly.Memory({ initial: 64, maximum: 64, shared: true });
const table = new WebAssembly.Table({ element: "anyfunc", initial: 16384 });
const imports = { env: { memory, table } };
const now = () => performance.timeOrigin + performance.now();
const kept = [];
const told = { compile: [], instantiate: [], arrive: [] };
const take = (module) => {
  const began = now();
  kept.push(module, new WebAssembly.Instance(module, imports));
  told.instantiate.push(now() - began);
};
const compile = (bytes) => {
  const began = now();
  const module = new WebAssembly.Module(bytes);
  told.compile.push(now() - began);
  return module;
};
let other;
onmessage = ({ data }) => {
  if (data.port) {
    other = data.port;
    other.onmessage = ({ data: { module, at } }) => {
      told.arrive.push(now() - at);
      take(module);
      if (told.arrive.length === data.count) postMessage(told);
    };
    return;
  }
  for (const bytes of data.list) {
    const module = compile(bytes);
    take(module);
    if (data.post) other.postMessage({ module, at: now() });
  }
  if (data.list.length) postMessage(told);
};
"""
RUN = """async ([code, encoded, round]) => {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const list = (turn) => encoded.map((text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const whole = new Uint8Array(bytes.length + 8);
    whole.set(bytes);
    whole.set([0, 6, 1, 110, turn, round, 0, 0], bytes.length);
    return whole;
  });
  const ask = (worker, message) => new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => reject(new Error(event.message));
    if (message) worker.postMessage(message);
  });
  const told = {};
  const pair = () => [new Worker(url), new Worker(url)];
  {
    const [one, two] = pair();
    told.first = await ask(one, { list: list(1) });
    told.bytes = await ask(two, { list: list(1) });
    one.terminate(); two.terminate();
  }
  {
    const [one, two] = pair();
    const { port1, port2 } = new MessageChannel();
    one.postMessage({ port: port1, count: encoded.length }, [port1]);
    two.postMessage({ port: port2, count: encoded.length }, [port2]);
    const posted = ask(two);
    await ask(one, { list: list(2), post: true });
    told.posted = await posted;
    one.terminate(); two.terminate();
  }
  return told;
}"""
ROWS = (
    ("the first hart: compile", "first", "compile"),
    ("the first hart: instantiate", "first", "instantiate"),
    ("another hart, by bytes: compile", "bytes", "compile"),
    ("another hart, by bytes: instantiate", "bytes", "instantiate"),
    ("another hart, posted: from postMessage until it is there", "posted", "arrive"),
    ("another hart, posted: instantiate", "posted", "instantiate"),
)


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    found: list[dict[str, dict[str, list[float]]]] = []
    with guests.served() as address, guests.chromium() as browser:
        guest = guests.Tab(browser.new_page(), address)
        guest.open("?boot=no")
        modules = guest.python(BOOT)
        for number in range(options.rounds):
            found.append(guest.page.evaluate(RUN, [WORKER, modules, number]))
    rows: list[list[Any]] = []
    for words, who, what in ROWS:
        each = [1000 * time for one in found for time in one[who][what]]
        rows.append([words, statistics.median(each), statistics.mean(each), max(each)])
    size = sum(len(text) * 3 // 4 for text in modules) // len(modules)
    text = f"{len(modules)} modules of a boot, {size} bytes each in the mean, {options.rounds} rounds; microseconds for one.\n\n"
    text += results.table(["what", "median", "mean", "most"], rows)
    results.write("share", {"modules": len(modules), "bytes": size, "rounds": found}, text)
