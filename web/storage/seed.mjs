/**
 * Chunks of an image's snapshot that a first save would store: they are put into
 * the store as they have come from the file, so that it need not make and write them.
 *
 * A record of its own kind names them until a machine's does (py/hartwell/snapshot/seed.py).
 */

import { DIGEST, unhex } from "./store.mjs";

const KIND = "seed";
const TOGETHER = 128; // chunks of a transaction: each waits for the disk
const LEAST_ROOM = 4; // times what is stored, as long as the browser tells a quota

export class Seed {
  /** @type {Map<string, Uint8Array>} */
  #frames = new Map();
  /** @type {Promise<void>} what was put is there; rejects when it can't be */
  #put;
  #busy = true;
  #failed = false;

  /**
   * @param {import("./store.mjs").Store} store
   * @param {string} name of the image
   * @param {import("./pack.mjs").Pack} pack where the chunks come from
   */
  constructor(store, name, { keys, bytes }) {
    this.store = store;
    this.#put = this.#begin(name, keys, bytes);
    this.#settled();
  }

  /**
   * @param {string} name
   * @param {string[]} keys
   * @param {number} bytes
   */
  async #begin(name, keys, bytes) {
    const { used, quota } = await this.store.estimate();
    if (quota && LEAST_ROOM * bytes > quota - used) throw new Error("there is little room");
    const refs = new Uint8Array(DIGEST * keys.length);
    for (const [i, key] of keys.entries()) refs.set(unhex(key), DIGEST * i);
    // First, so that nobody drops what has come until the rest has.
    await this.store.putRecord(KIND, name, { about: "{}", text: "", refs, time: Date.now() });
  }

  #settled() {
    this.#put.then(
      () => (this.#busy = false),
      (error) => {
        this.#failed = true;
        this.#frames.clear();
        console.info("A first save will store all of the image’s memory.", error);
      },
    );
  }

  /**
   * @param {string} key
   * @param {Uint8Array} frame
   */
  add(key, frame) {
    if (!this.#failed) this.#frames.set(key, frame);
  }

  /** Puts what has come, when it is much. @param {number} [least] chunks */
  put(least = TOGETHER) {
    if (this.#busy || this.#failed || this.#frames.size < least) return;
    const frames = [...this.#frames];
    this.#frames.clear();
    this.#busy = true;
    this.#put = this.store.put(frames);
    this.#settled();
  }

  /** Is all that was added in the store? */
  async end() {
    try {
      await this.#put;
      this.put(1);
      await this.#put;
    } catch {
      // it is said above
    }
    return !this.#failed;
  }
}
