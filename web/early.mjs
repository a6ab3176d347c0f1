/**
 * Wakes the machine that a visit begins with while Python still starts.
 *
 * A snapshot of this very layout has a recipe (py/hartwell/snapshot/recipe.py):
 * which bytes go where in a fresh memory.  With it this does what
 * hartwell.snapshot.wake does, in the same order, and Python adopts the machine
 * when it is up.  Until then its terminal is terminal.mjs's.  Whatever is
 * unusual is left to Python, which also has the words for what is wrong.
 */

import { createCore } from "./core.mjs";
import { EarlyDisks } from "./early-disks.mjs";
import { CHUNK, DIGEST, hex, sha256 } from "./storage/store.mjs";

const KIND = "snapshot";
/** What a recipe may need of its reader beyond what the first readers did (py/hartwell/snapshot/recipe.py has the same). */
const KNOWN = ["disks"];
const HEAD = /^hartwell-snapshot 1 ([0-9a-f]{64})\n/;
/** The guest, Python's start and the page have the processors to themselves for so long. */
const REST_MS = 1500;
const ENTRY = 8 + DIGEST; // of an area's list: number, stored bytes, digest

/** @typedef {import("./storage/client.mjs").StorageClient} StorageClient */

/**
 * @typedef {object} Place what it stands on
 * @property {StorageClient} store
 * @property {(name: string) => Promise<any>} json of a file below static/; null where there is none
 * @property {(name: string) => string} address of such a file
 * @property {() => Promise<import("./core.mjs").Cpu>} cpu
 * @property {import("./core.mjs").Spawn} spawn a hart's worker
 * @property {import("./translations.mjs").Translations} translations made ahead
 * @property {import("./core.mjs").Thread} terminal a worker of terminal.mjs
 * @property {(state: object) => MessagePort} show the machine runs: gives the page its state, and one end of a channel for its terminal
 * @property {() => Promise<{output: Uint8Array, keys: Uint8Array}>} handOver the page gives that up, and says what it had
 */

/**
 * What hartwell.platform.javascript.JavaScriptEarly holds.
 *
 * @typedef {object} Early
 * @property {string} name "": a copy, of the machine that set-up booted
 * @property {string} text the manifest
 * @property {string} identity the machine's: a copy has one of its own
 * @property {any} core of core.mjs
 * @property {string} disks JSON of early-disks.mjs's Served
 * @property {number} woke seconds since the Unix epoch
 * @property {() => boolean} rests no hart has anything to do now
 * @property {() => Promise<{touched: number[], kept: boolean}>} streamed
 * @property {() => Promise<{shown: Uint8Array, output: Uint8Array, keys: Uint8Array}>} takeOver
 * @property {() => Promise<void>} drop
 */

/**
 * @param {Place} place
 * @returns {Promise<Early | null>} null: Python is to look
 */
export async function wakeEarly(place) {
  const { store } = place;
  for (const { name, identity } of await byAge(store)) {
    const lock = `machine ${identity}`;
    if (!(await store.lock(lock))) continue; // another tab has it; an older one may be free
    // What that tab may have saved last is there now.
    const found = await read(store, name);
    const early = found && found.manifest.machine.identity === identity
      ? await wake(place, { name, pack: 0, ...found, leave: () => store.unlock(lock) }).catch(later)
      : undefined;
    if (early) return early;
    await store.unlock(lock);
    return null;
  }
  return openBooted(place);
}

const later = (/** @type {unknown} */ error) => void console.info("The machine wakes when Python is up.", error);

/**
 * As hartwell.hibernation.open_image: a copy of the default image's machine, as set-up booted it.
 * @param {Place} place
 * @returns {Promise<Early | null>}
 */
async function openBooted(place) {
  const { store, json, address } = place;
  const [images, booted, disks] = await Promise.all([json("images/index.json"), json("snapshots/index.json"), store.records("disk")]);
  const image = images?.default;
  if (!booted?.images?.includes(image)) return null;
  // A machine that was booted ahead would hide what was written to the image's disk.
  if (JSON.parse(disks).some((/** @type {{name: string}} */ { name }) => name === image)) return null;
  const { pack, text } = await store.openPack(address(`snapshots/${image}.hartwell`));
  const manifest = await parse(text);
  const early = manifest && (await wake(place, { name: "", pack, text, manifest, leave: async () => {} }).catch(later));
  if (early) return early;
  await store.closePack(pack);
  return null;
}

/**
 * Sleeping machines, the newest first.
 * @param {StorageClient} store
 * @returns {Promise<{name: string, identity: string, time: number}[]>}
 */
async function byAge(store) {
  /** @type {import("./storage/store.mjs").Listed[]} */
  const listed = JSON.parse(await store.records(KIND));
  const told = listed.map(({ name, about, time }) => ({ time: time / 1000, ...JSON.parse(about), name }));
  return told.sort((a, b) => b.time - a.time);
}

/**
 * @param {StorageClient} store
 * @param {string} name
 * @returns {Promise<{text: string, manifest: any} | null>} null: not for this way
 */
async function read(store, name) {
  const text = (await store.getRecord(KIND, name))?.text ?? "";
  const manifest = await parse(text);
  return manifest && { text, manifest };
}

/** Of the version that it is good for. @param {any} recipe @returns {number | undefined} */
const layoutOf = (recipe) => recipe?.digest ?? recipe?.layout;

/**
 * @param {string} text
 * @returns {Promise<any>} a manifest that this way can wake, else null
 */
async function parse(text) {
  const head = HEAD.exec(text);
  if (!head) return null;
  const body = text.slice(head[0].length);
  if (hex(await sha256(new TextEncoder().encode(body))) !== head[1]) return null;
  const manifest = JSON.parse(body);
  const { needs = [] } = manifest.recipe ?? {};
  const known = needs.every((/** @type {string} */ need) => KNOWN.includes(need));
  return layoutOf(manifest.recipe) === undefined || !known || manifest.machine.paused ? null : manifest;
}

/**
 * @param {Place} place
 * @param {{name: string, pack: number, text: string, manifest: any, leave: () => Promise<void>}} found
 *   pack: an open file that has its chunks, 0: the store; leave: gives the machine's lock back
 * @returns {Promise<Early | undefined>}
 */
async function wake({ store, address, cpu, spawn, translations, terminal, show, handOver }, { name, pack, text, manifest, leave }) {
  const { recipe, areas, console: shown } = manifest;
  const identity = name ? manifest.machine.identity : crypto.randomUUID();
  const disks = new EarlyDisks(store, address, manifest, identity, pack);
  const guard = await store.begin(); // nobody drops a chunk that is still to come
  const core = await createCore(await cpu(), recipe.core, spawn, translations.of(manifest.machine.image));
  const taken = disks.take();
  taken.catch(() => {}); // heard of below
  try {
    if (core.call("layout_digest") !== layoutOf(recipe)) throw new Error("it was saved by another version");
    core.prepareHarts();
    put(core, recipe.state); // machine_init looks at the plan in it
    core.call("machine_init");
    await Promise.all([
      taken,
      bring(store, core, areas.rings, recipe.rings, pack),
      bring(store, core, areas.blob, recipe.blob, pack), // of disks that are all in memory
    ]);
    put(core, recipe.state);
    // What tells the guest that it woke; random bytes go to no shared memory.
    core.view(recipe.generation, 16).set(crypto.getRandomValues(new Uint8Array(16)));
    core.call("machine_woken");
    await disks.open(core);
    const ram = listed(areas.ram.chunks);
    const flags = core.view(recipe.chunks, Math.ceil(areas.ram.bytes / CHUNK));
    for (const index of ram.indexes) flags[index] = 1;
    core.call("chunks_absent");
    const streamed = store.stream(core, ram.digests, ram.indexes, manifest.order, JSON.stringify({ ...recipe.places, learnMs: 0, restMs: REST_MS }), pack, pack ? manifest.machine.image : "");
    const over = () => store.end(guard);
    streamed.then(over, over);
    await core.startHarts();
    const before = Uint8Array.from([...new TextEncoder().encode(`\x1bc${shown.base}`), ...bytes(shown.since)]);
    core.call("machine_resume");
    const { image, harts, memory } = manifest.machine;
    const port = show({ state: "running", image, name: name || null, harts, memory });
    terminal.post({
      type: "carry", module: core.module, memory: core.memory, place: core.terminalPlace, console: recipe.console,
      port, shown: before, keys: bytes(shown.typed),
    }, [port]);
    core.call("devices_hold", 0);
    return {
      name, text, identity, core, woke: Date.now() / 1000, disks: JSON.stringify(disks.served), streamed: () => streamed,
      rests: () => core.call("machine_rests") === 1,
      takeOver: async () => {
        const rest = await handOver();
        terminal.terminate();
        return { shown: before, ...rest };
      },
      drop: async () => {
        core.terminate();
        await disks.close();
        await leave();
      },
    };
  } catch (error) {
    core.terminate();
    await taken.catch(() => {});
    await disks.close();
    await store.end(guard);
    throw error;
  }
}

/**
 * All of an area, at once.
 *
 * @param {StorageClient} store
 * @param {any} core
 * @param {{bytes: number, chunks: string}} area
 * @param {number} place where it lies
 * @param {number} pack
 */
async function bring(store, core, { bytes: size, chunks }, place, pack) {
  const { indexes, digests } = listed(chunks);
  const ranges = indexes.flatMap((index) => [place + index * CHUNK, Math.min(CHUNK, size - index * CHUNK)]);
  if (indexes.length) await store.load(core, digests, ranges, pack, () => {});
}

/**
 * @param {any} core
 * @param {[number, string][]} state offsets, and bytes in base64
 */
function put(core, state) {
  for (const [offset, data] of state) {
    const piece = bytes(data);
    core.view(offset, piece.length).set(piece);
  }
}

/**
 * Places and digests of an area's chunks.
 * @param {string} packed as a manifest has them
 */
function listed(packed) {
  const data = bytes(packed);
  const view = new DataView(data.buffer);
  const count = data.length / ENTRY;
  const indexes = Array.from({ length: count }, (_, i) => view.getUint32(i * ENTRY, true));
  const digests = new Uint8Array(DIGEST * count);
  for (let i = 0; i < count; i++) digests.set(data.subarray(i * ENTRY + 8, (i + 1) * ENTRY), i * DIGEST);
  return { indexes, digests };
}

/** @param {string} base64 */
function bytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}
