/**
 * One network card of the guest: the worker's side of cpu/virtio/net.c.
 *
 * A segment is what a card is plugged into:
 *
 * @typedef {object} Segment
 * @property {(card: Card) => void} attach calls card.linked() once frames can pass
 * @property {(frame: Uint8Array<ArrayBuffer>) => void} send takes a frame of the guest's
 * @property {() => boolean} ready false while what was sent piles up
 * @property {() => void} close
 */

import { waitAsync } from "../wait.mjs";

const BELL_BYTES = 4096;
const FRAME_BYTES = 65536;
const BATCH = 64; // frames between two looks at the event loop
const CONGESTED_MS = 3;
export const DOWN_MS = 300; // long enough for a guest to see that the cable was out
const WAITING_BYTES = 4 << 20; // of frames that the guest has no room for yet; more are dropped

const turn = new MessageChannel();
/** Cards that wait for their turn: several may at once. @type {((value: void) => void)[]} */
const yielding = [];
turn.port1.onmessage = () => yielding.shift()?.();

/** Lets the event loop run once; a timer would take four milliseconds. @returns {Promise<void>} */
function yieldOnce() {
  return new Promise((resolve) => {
    yielding.push(resolve);
    turn.port2.postMessage(0);
  });
}

export class Card {
  /** @type {(status: object) => void} */
  tell = () => {};
  /** Asks for the answer to a guest's DHCP message. @type {(frame: Uint8Array) => void} */
  ask = () => {};
  /** @type {Segment | null} */
  #segment = null;
  #up = false;
  /** @type {Uint8Array[]} */
  #waiting = [];
  #waitingBytes = 0;
  sent = 0;
  received = 0;
  dropped = 0;

  /**
   * @param {any} exports of cpu.wasm
   * @param {WebAssembly.Memory} memory
   * @param {number} slot
   * @param {number} area byte offset
   */
  constructor(exports, memory, slot, area) {
    this.exports = exports;
    this.slot = slot;
    this.bytes = new Uint8Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.bell = area / 4;
    this.out = area + BELL_BYTES;
    this.in = this.out + FRAME_BYTES;
  }

  /** The MAC address, as the guest's driver sees it. */
  mac = "";

  /** @param {Segment | null} segment */
  plug(segment) {
    this.#segment?.close();
    this.#up = false;
    this.unlink();
    this.#segment = segment;
    if (!segment) {
      this.tell({ state: "unplugged" });
      return;
    }
    // Not at once: a guest that woke with its cable in has to see that it was out.
    setTimeout(() => {
      if (this.#segment === segment) segment.attach(this);
    }, DOWN_MS);
  }

  /** The segment has a network now. @param {object} about */
  linked(about) {
    this.#up = true;
    this.exports.net_link(this.slot, 1);
    this.#ring();
    this.tell({ state: "connected", ...about });
  }

  /** The segment has none any more. @param {string} error */
  lost(error) {
    this.#up = false;
    this.unlink();
    this.tell({ state: "failed", error });
  }

  unlink() {
    this.exports.net_link(this.slot, 0);
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  /** The cable as it was before unlink(). */
  relink() {
    if (this.#up) this.exports.net_link(this.slot, 1);
  }

  /** A frame for the guest. @param {Uint8Array} frame */
  receive(frame) {
    if (frame.length > FRAME_BYTES) return;
    if (this.#waiting.length || !this.#give(frame)) {
      if (this.#waitingBytes + frame.length > WAITING_BYTES) {
        this.dropped++;
        return;
      }
      this.#waiting.push(frame);
      this.#waitingBytes += frame.length;
    }
  }

  /** Carries frames for as long as the worker lives. */
  async serve() {
    for (;;) {
      const bell = Atomics.load(this.words, this.bell);
      while (this.#waiting.length && this.#give(this.#waiting[0])) {
        this.#waitingBytes -= /** @type {Uint8Array} */ (this.#waiting.shift()).length;
      }
      const more = this.#outwards();
      if (more === "more") await yieldOnce();
      else if (!(await waitAsync(this.words, this.bell, bell, more === "congested" ? CONGESTED_MS : 1000))) await yieldOnce();
    }
  }

  #outwards() {
    for (let count = 0; count < BATCH; count++) {
      if (this.#up && this.#segment && !this.#segment.ready()) return "congested";
      const length = this.exports.net_take(this.slot);
      if (!length) return "empty";
      if (!this.#up) continue; // a cable that leads nowhere
      this.sent++;
      this.#segment?.send(/** @type {Uint8Array<ArrayBuffer>} */ (this.bytes.slice(this.out, this.out + length)));
    }
    return "more";
  }

  /** @param {Uint8Array} frame @returns {boolean} false: it has to wait */
  #give(frame) {
    this.bytes.set(frame, this.in);
    const result = this.exports.net_give(this.slot, frame.length);
    if (result === 1) this.received++;
    else if (result === 2) this.dropped++;
    return result !== 0;
  }

  #ring() {
    Atomics.add(this.words, this.bell, 1);
    Atomics.notify(this.words, this.bell);
  }
}
