/**
 * Lazy wake: brings a machine's memory while its harts run.
 *
 * A page that is not here yet is flagged in page_flags.  A thread that needs
 * it writes its number into a slot of `wanted` and waits for absent_pages to
 * change (cpu/machine/snapshot.c).  Here the slots are looked at before every batch:
 * what somebody waits for comes first, then what was touched first the last
 * time, then the rest.  Batches are under way side by side: one is read
 * while another is unpacked, and what is waited for meanwhile waits for neither.
 */

import { waitAsync } from "../wait.mjs";
import { CHUNK, DIGEST, hex } from "./store.mjs";

/**
 * @typedef {object} Places offsets in the machine's memory
 * @property {number} ram
 * @property {number} ramBytes
 * @property {number} flags a byte for each page of RAM
 * @property {number} absentBit in it
 * @property {number} absent word: pages that are not here
 * @property {number} wanted words: page + 1 that a thread waits for
 * @property {number} waiters how many of those
 * @property {number} requests word that rises with each of those
 * @property {number} control word that says what the machine is to do
 * @property {number} stop in it: it ends
 * @property {number} learnMs for so long only what is waited for comes, so that all of it is noted
 * @property {number} restMs for so long only that and `order` come: others have work to do then
 */

const PAGE = 4096;
const FAR = 16; // chunks of a batch that nobody waits for yet, from afar: a request costs as much as a dozen
const NEAR = 8; // the same from the store
const FIRST = 2; // of the first batch from there, which everybody waits for; each of the next has twice as many
const AHEAD_LANES = 2; // that bring those
const LOOK_MS = 100; // nobody tells a lane that the others have brought the rest

/**
 * @param {import("./keeper.mjs").Keeper} keeper
 * @param {import("./keeper.mjs").Source} source
 * @param {{memory: SharedArrayBuffer, digests: Uint8Array, chunks: number[], order: number[], places: Places}} work
 * @param {import("./seed.mjs").Seed | null} [seed] gets the chunks that have come
 * @returns {Promise<number[]>} the chunks that were waited for, in their order
 */
export async function stream(keeper, source, { memory, digests, chunks, order, places }, seed = null) {
  const flags = new Uint8Array(memory, places.flags, Math.ceil(places.ramBytes / PAGE));
  const words = new Int32Array(memory);
  /** Chunk in RAM to its place in `chunks`, of those still to come. */
  const left = new Map(chunks.map((chunk, i) => [chunk, i]));
  const queue = [...new Set([...order, ...chunks])];
  /** @type {number[]} */
  const touched = [];
  let next = 0;
  let many = source.far ? FAR : FIRST;

  function waitedFor() {
    const found = new Set();
    for (let slot = 0; slot < places.waiters; slot++) {
      const page = Atomics.load(words, (places.wanted >> 2) + slot) - 1;
      const chunk = Math.floor((page * PAGE) / CHUNK);
      if (page >= 0 && left.has(chunk)) found.add(chunk);
    }
    return [...found];
  }

  /** @param {number} chunk */
  function here(chunk) {
    const first = (chunk * CHUNK) / PAGE;
    let pages = 0;
    for (let page = first; page < flags.length && page < first + CHUNK / PAGE; page++) {
      if (Atomics.and(flags, page, ~places.absentBit) & places.absentBit) pages++;
    }
    Atomics.sub(words, places.absent >> 2, pages);
    Atomics.notify(words, places.absent >> 2);
  }

  const begun = performance.now();
  const hurried = new Set(order).size;

  /** What nobody waits for yet, to make `batch` so long. @param {number[]} batch @param {number} count */
  function fill(batch, count) {
    while (batch.length < count && next < queue.length) {
      const chunk = queue[next++];
      if (left.has(chunk) && !batch.includes(chunk)) batch.push(chunk);
    }
  }

  /** @param {number[]} batch of those that are left */
  async function bring(batch) {
    const names = new Uint8Array(DIGEST * batch.length);
    const list = batch.map((chunk, i) => {
      const at = /** @type {number} */ (left.get(chunk)) * DIGEST;
      names.set(digests.subarray(at, at + DIGEST), DIGEST * i);
      left.delete(chunk);
      return { offset: places.ram + chunk * CHUNK, count: Math.min(CHUNK, places.ramBytes - chunk * CHUNK) };
    });
    await keeper.load(memory, names, list, source, (_, i, frame) => {
      here(batch[i]);
      if (frame) seed?.add(hex(names.subarray(DIGEST * i, DIGEST * (i + 1))), frame);
    });
  }

  /** Milliseconds for which only what is waited for comes. */
  function idle() {
    const quiet = hurried && next >= hurried ? Math.max(places.learnMs, places.restMs) : places.learnMs;
    return Math.max(0, begun + quiet - performance.now());
  }

  /** @param {number} ahead chunks of a batch that nobody waits for; 0: brings what is waited for and nothing else */
  async function lane(ahead) {
    while (left.size) {
      const requests = Atomics.load(words, places.requests >> 2);
      const batch = waitedFor();
      touched.push(...batch);
      const pause = ahead ? idle() : Number.POSITIVE_INFINITY;
      if (!batch.length && pause > 0) {
        await waitAsync(words, places.requests >> 2, requests, Math.min(pause, LOOK_MS));
        continue;
      }
      if (ahead && (!batch.length || source.far)) {
        fill(batch, many);
        many = Math.min(2 * many, ahead);
      }
      if (batch.length) await bring(batch);
      if (pause <= 0) seed?.put(); // before that others have work to do
    }
  }

  const lanes = [0, ...Array(AHEAD_LANES).fill(source.far ? FAR : NEAR)];
  const ends = lanes.map((ahead) => lane(ahead).catch((error) => {
    left.clear(); // the other lanes end
    // Who waits must not wait for ever, Python's thread least of all, which is to say what went wrong.
    Atomics.store(words, places.control >> 2, places.stop);
    Atomics.notify(words, places.absent >> 2);
    throw error;
  }));
  await Promise.allSettled(ends); // nothing is written to a memory that is given up
  await Promise.all(ends);
  return touched;
}
