"""Where a browser keeps bulk bytes faster: IndexedDB or a file of the origin private file system.

What a first sleep writes and a wake reads: frames of the sizes that 64 KiB
chunks of a booted machine have, in the batches that web/storage has.  Decides
docs/decisions/0012-stores.md.
"""

from __future__ import annotations

from typing import Any

from bench import guests, results

# 960 frames of 2 to 66 KB, 33 MB in all: noise, as compressed bytes are.
WORKER = """
const frames = Array.from({ length: 960 }, (_, i) => {
  const bytes = new Uint8Array(2000 + (i * 7919) % 64000);
  for (let at = 0; at < bytes.length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
  return bytes;
});
const total = frames.reduce((sum, { length }) => sum + length, 0);
const settled = (request) => new Promise((yes, no) => ((request.onsuccess = () => yes(request.result)), (request.onerror = no)));

async function indexedDb(told) {
  const opening = indexedDB.open("bench", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("chunks");
  const database = await settled(opening);
  let began = performance.now();
  for (let first = 0; first < frames.length; first += 64) {
    await new Promise((yes, no) => {
      const transaction = database.transaction("chunks", "readwrite", { durability: "strict" });
      [transaction.oncomplete, transaction.onabort] = [yes, no];
      const store = transaction.objectStore("chunks");
      for (let i = first; i < Math.min(first + 64, frames.length); i++) store.put(frames[i], i);
    });
  }
  told.write = performance.now() - began;
  began = performance.now();
  for (let first = 0; first < frames.length; first += 16) {
    const store = database.transaction("chunks").objectStore("chunks");
    await Promise.all(frames.slice(first, first + 16).map((_, i) => settled(store.get(first + i))));
  }
  told.read = performance.now() - began;
  began = performance.now();
  await settled(database.transaction("chunks").objectStore("chunks").get(500));
  told.one = performance.now() - began;
  database.close();
  await settled(indexedDB.deleteDatabase("bench"));
}

async function opfs(told) {
  const folder = await navigator.storage.getDirectory();
  const file = await folder.getFileHandle("bench", { create: true });
  const handle = await file.createSyncAccessHandle();
  let began = performance.now();
  let at = 0;
  const places = [];
  for (let first = 0; first < frames.length; first += 64) {
    for (const frame of frames.slice(first, first + 64)) {
      places.push(at);
      at += handle.write(frame, { at });
    }
    handle.flush();
  }
  told.write = performance.now() - began;
  const into = new Uint8Array(66000);
  began = performance.now();
  for (const [i, place] of places.entries()) handle.read(into.subarray(0, frames[i].length), { at: place });
  told.read = performance.now() - began;
  began = performance.now();
  handle.read(into.subarray(0, frames[500].length), { at: places[500] });
  told.one = performance.now() - began;
  handle.close();
  await folder.removeEntry("bench");
}

onmessage = async () => {
  const told = { total, indexeddb: {}, opfs: {} };
  await indexedDb(told.indexeddb);
  await opfs(told.opfs);
  postMessage(told);
};
"""
RUN = """code => new Promise((resolve, reject) => {
  const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  worker.onmessage = ({ data }) => { worker.terminate(); resolve(data); };
  worker.onerror = (event) => reject(new Error(event.message));
  worker.postMessage(0);
})"""
WHAT = {"write": "write, on disk", "read": "read all, 16 at once", "one": "read one, milliseconds"}


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    found: list[dict[str, Any]] = []
    with guests.served() as address, guests.chromium() as browser:
        page = browser.new_page()
        page.goto(f"{address}?boot=no")
        for _ in range(options.rounds):
            found.append(page.evaluate(RUN, WORKER))
    total = found[0]["total"]
    rows = []
    for key, words in WHAT.items():
        row: list[Any] = [words]
        for store in ("indexeddb", "opfs"):
            best = min(one[store][key] for one in found)
            row.append(best if key == "one" else total / 1e3 / best)
        rows.append(row)
    text = f"{total / 1e6:.0f} MB in 960 frames, best of {options.rounds} rounds; MB/s where nothing else is said.\n\n"
    text += results.table(["what", "IndexedDB", "OPFS"], rows)
    results.write("stores", {"rounds": found}, text)
