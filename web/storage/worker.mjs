/**
 * The storage worker: bulk bytes between machines' shared memory and the
 * store go through here and nowhere else.
 *
 * First {type: "open", statics, folder}: where static/ is, and in Node where
 * files go.  Then {id, operation, ...} answered by {id, value} or
 * {id, error: {name, message}}; on the way {id, event, ...}.  client.mjs is
 * the other end and documents each operation.
 */

import { listen, post } from "../port.mjs";
import { Keeper, capture, pieces } from "./keeper.mjs";
import { CHUNK } from "./store.mjs";
import { stream } from "./stream.mjs";
import { Zstd } from "./zstd.mjs";

const inBrowser = typeof WorkerGlobalScope !== "undefined";

/** @param {URL} url */
async function read(url) {
  if (url.protocol === "file:") return new Uint8Array(await (await import("node:fs/promises")).readFile(url));
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url.pathname}: the server answered ${response.status}; \`python3 serve.py\` fetches what is absent`);
  return new Uint8Array(await response.arrayBuffer());
}

/** @param {{statics: string, folder: string}} place */
async function openKeeper({ statics, folder }) {
  const opening = inBrowser
    ? import("./indexeddb.mjs").then(({ indexedDbStore }) => indexedDbStore())
    : import("../node/files.mjs").then(({ fileStore }) => fileStore(folder));
  const [store, zstd] = await Promise.all([opening, Zstd.open(new URL("zstd/", statics), read, CHUNK)]);
  return new Keeper(store, zstd);
}

/** @type {Promise<Keeper>} */
let opened;
/** @type {Map<string, () => void>} */
const locks = new Map();
/** Saves that have begun and whose record is still to come. @type {Map<number, () => void>} */
const guards = new Map();
let nextGuard = 1;

/** @type {Record<string, (keeper: Keeper, message: any, tell: (event: string, more?: object) => void) => Promise<any>>} */
const operations = {
  async save(keeper, { memory, ranges, aside }, tell) {
    let from = { memory, list: pieces(ranges, memory.byteLength) };
    if (aside) from = capture(memory, from.list);
    tell("captured");
    return keeper.save(from.memory, from.list, (done, total) => tell("progress", { done, total }));
  },
  async load(keeper, { memory, digests, ranges }, tell) {
    const list = pieces(ranges, memory.byteLength);
    await keeper.load(memory, digests, list, keeper.source, undefined, (done, total) => tell("progress", { done, total }));
  },
  stream: (keeper, message) => stream(keeper, keeper.source, message),
  begin: ({ store }) =>
    new Promise((resolve, reject) => {
      const hold = () =>
        new Promise((/** @type {(value: void) => void} */ end) => {
          const guard = nextGuard++;
          guards.set(guard, end);
          resolve(guard);
        });
      store.guard(false, hold).catch(reject);
    }),
  end: async (_, { guard }) => {
    guards.get(guard)?.();
    guards.delete(guard);
  },
  putRecord: ({ store }, { kind, name, about, text, refs }) => store.putRecord(kind, name, { about, text, refs, time: Date.now() }),
  getRecord: ({ store }, { kind, name }) => store.getRecord(kind, name),
  dropRecord: ({ store }, { kind, name }) => store.dropRecord(kind, name),
  records: ({ store }, { kind }) => store.records(kind),
  estimate: ({ store }) => store.estimate(),
  collect: (keeper) => keeper.collect(),
  lock: async ({ store }, { name }) => {
    if (locks.has(name)) return false;
    const release = await store.lock(name);
    if (release) locks.set(name, release);
    return release !== null;
  },
  unlock: async (_, { name }) => {
    locks.get(name)?.();
    locks.delete(name);
  },
};

listen(async (message) => {
  if (message.type === "open") {
    opened = openKeeper(message);
    opened.catch(() => {}); // each operation says why
    return;
  }
  const { id, operation } = message;
  try {
    const value = await operations[operation](await opened, message, (event, more) => post({ id, event, ...more }));
    post({ id, value });
  } catch (error) {
    const { name, message: text } = /** @type {Error} */ (error);
    post({ id, error: { name, message: text } });
  }
});
