/**
 * The storage worker: bulk bytes between machines' shared memory and the
 * store go through here and nowhere else.
 *
 * First {type: "open", statics, folder}: where static/ is, and in Node where
 * files go.  Then {id, operation, ...} answered by {id, value} or
 * {id, error: {name, message}}; on the way {id, event, ...}.  client.mjs is
 * the other end and documents each operation.  {type: "connect", port} before all of
 * that: it comes and goes there.
 *
 * What a wake from the store does not need is imported when it is asked for.
 */

import { letGo } from "../blob.mjs";
import { listen, post } from "../port.mjs";
import { indexedDbStore } from "./indexeddb.mjs";
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
    ? indexedDbStore()
    : import("../node/files.mjs").then(({ fileStore }) => fileStore(folder));
  const [store, zstd] = await Promise.all([opening, Zstd.open(new URL("zstd/", statics), read, CHUNK)]);
  return new Keeper(store, zstd);
}

/** @type {Promise<Keeper>} */
let opened;
/** @type {Map<string, () => void>} */
const locks = new Map();
/** Of machines that run, by the number that openDisks gave. @type {Map<number, import("./disks.mjs").Disks>} */
const machines = new Map();
let nextMachine = 1;
/** Saves that have begun and whose record is still to come. @type {Map<number, () => void>} */
const guards = new Map();
let nextGuard = 1;
/** Files of snapshots that are open. @type {Map<number, import("./pack.mjs").Pack>} */
const packs = new Map();
let nextPack = 1;

/** @param {number} number */
function packOf(number) {
  const pack = packs.get(number);
  if (!pack) throw new Error(`file ${number} is not open`);
  return pack;
}

/**
 * @param {Keeper} keeper
 * @param {number} pack 0: the store
 */
const sourceOf = (keeper, pack) => (pack ? packOf(pack).source : keeper.source);

/**
 * @param {number} machine
 * @param {number} index
 */
function diskOf(machine, index) {
  const disk = machines.get(machine)?.list.find(({ plan }) => plan.index === index);
  if (!disk) throw new Error(`disk ${index} of machine ${machine} is not open`);
  return disk;
}

/** @param {string} file */
const isUrl = (file) => /^https?:/.test(file);

/** @param {string | Blob} file a URL, a path in Node, or a file that a person chose */
async function reader(file) {
  const { readBlob, readUrl } = await import("./pack.mjs");
  if (typeof file !== "string") return readBlob(file);
  if (inBrowser || isUrl(file)) return readUrl(file);
  return (await import("../node/files.mjs")).readFileAt(file);
}

/** @type {Record<string, (keeper: Keeper, message: any, tell: (event: string, more?: object) => void) => Promise<any>>} */
const operations = {
  async save(keeper, { memory, ranges, aside, machine }, tell) {
    const disks = machines.get(machine)?.freeze() ?? [];
    let from = { memory, list: pieces(ranges, memory.byteLength) };
    if (aside) from = capture(memory, from.list);
    tell("captured");
    const saved = await keeper.save(from.memory, from.list, (done, total) => tell("progress", { done, total }));
    if (aside) letGo(new Uint8Array(from.memory));
    const frozen = [];
    for (const { index, store } of disks) frozen.push({ index, ...(await store()) });
    return { ...saved, disks: frozen };
  },
  async load(keeper, { memory, digests, ranges, pack }, tell) {
    const list = pieces(ranges, memory.byteLength);
    await keeper.load(memory, digests, list, sourceOf(keeper, pack), undefined, (done, total) => tell("progress", { done, total }));
  },
  async stream(keeper, message) {
    const { pack, seed: image } = message;
    const seed = image ? new (await import("./seed.mjs")).Seed(keeper.store, image, packOf(pack)) : null;
    const touched = await stream(keeper, sourceOf(keeper, pack), message, seed);
    return { touched, kept: seed !== null && (await seed.end()) };
  },
  openPack: async (_, { file }) => {
    const [name, far] = typeof file === "string" ? [file, inBrowser || isUrl(file)] : [file.name ?? "the file", false];
    const { openPack } = await import("./pack.mjs");
    const pack = await openPack(await reader(file), name, far);
    packs.set(nextPack, pack);
    return { pack: nextPack++, text: pack.text };
  },
  closePack: async (_, { pack }) => void packs.delete(pack),
  importPack: async (keeper, { pack }, tell) =>
    (await import("./pack.mjs")).importPack(keeper, packOf(pack), (done, total) => tell("progress", { done, total })),
  exportPack: async ({ store }, { text, refs, file }, tell) => {
    const report = (/** @type {number} */ done, /** @type {number} */ total) => tell("progress", { done, total });
    const { writePack } = await import("./pack.mjs");
    if (!file) {
      /** @type {Blob[]} A blob's bytes are the browser's to keep, on disk when they are many. */
      const parts = [];
      await writePack(store, text, refs, async (bytes) => void parts.push(new Blob([/** @type {any} */ (bytes)])), report);
      return new Blob(parts, { type: "application/x-hartwell" });
    }
    const { writeAside } = await import("../node/files.mjs");
    await writeAside(file, (write) => writePack(store, text, refs, write, report));
    return null;
  },
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
  async openDisks(keeper, message) {
    const number = nextMachine++;
    const { Disks } = await import("./disks.mjs");
    machines.set(number, await Disks.open(keeper, message, (pack) => sourceOf(keeper, pack)));
    return number;
  },
  settleDisks: async (_, { machine }) => machines.get(machine)?.settle(),
  commitDisks: async (_, { machine }) => machines.get(machine)?.commit() ?? [],
  diskErrors: async (_, { machine }) => JSON.stringify(machines.get(machine)?.list.map(({ error }) => error) ?? []),
  async packDisk(_, { machine, index, folder }) {
    return JSON.stringify(await (await import("../node/pack.mjs")).packDisk(diskOf(machine, index), folder));
  },
  async exportDisk(keeper, { which, machine, index, format, file }, tell) {
    const report = (/** @type {number} */ done, /** @type {number} */ total) => tell("progress", { done, total });
    const { blobSink, exportDisk, exportRunning } = await import("./export.mjs");
    const work = (/** @type {import("./export.mjs").Sink} */ sink) =>
      machine
        ? exportRunning(keeper, diskOf(machine, index), format, sink, report, () => tell("taken"))
        : exportDisk(keeper, which, format, sink, report);
    if (file) {
      await (await import("../node/files.mjs")).writeSparse(file, work);
      return null;
    }
    const sink = blobSink();
    await work(sink);
    return sink.blob();
  },
  compactDisk: async (keeper, { which }) => (await import("./export.mjs")).compactDisk(keeper, which),
  growDisk: async (keeper, { which }) => (await import("./export.mjs")).growDisk(keeper, which),
  async closeDisks(_, { machine }) {
    await machines.get(machine)?.close();
    machines.delete(machine);
  },
  collect: (keeper) => keeper.collect(),
  missing: (keeper, { digests }) => keeper.missing(digests),
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

/**
 * @param {any} message
 * @param {(message: any) => void} answer
 */
async function serve(message, answer) {
  if (message.type === "open") {
    opened = openKeeper(message);
    opened.then(() => import("./disks.mjs"), () => {}); // each operation says why
    return;
  }
  const { id, operation } = message;
  try {
    const value = await operations[operation](await opened, message, (event, more) => answer({ id, event, ...more }));
    answer({ id, value });
  } catch (error) {
    const { name, message: text } = /** @type {Error} */ (error);
    answer({ id, error: { name, message: text } });
  }
}

listen((message) => {
  if (message.type !== "connect") return void serve(message, post);
  /** @type {MessagePort} */
  const port = message.port;
  port.onmessage = ({ data }) => void serve(data, (answer) => port.postMessage(answer));
});
