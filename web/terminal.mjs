/**
 * Worker: carries the console of a machine that Python has not adopted yet,
 * between the rings in its memory and the page.
 *
 * Gets {type: "carry", module, memory, place, console, port, shown, keys}, the
 * port being the page's.  On it come {type: "input", data} and {type: "end"}, and
 * go {type: "console", data, quiet} and, after "end" and as the last, {type:
 * "ended", keys}: those that the guest had no room for.
 *
 * The console is one as in hartwell.console: output of the UART and of the
 * virtio console, keys to the latter.  Disks get from here what Machine gives them else.
 */

import { instantiate } from "./instance.mjs";
import { listen, post } from "./port.mjs";
import { waitAsync } from "./wait.mjs";

const AGAIN_MS = 100; // keys that the guest had no room for are tried again then

/** @typedef {{head: number, tail: number, place: number}} Ring offsets: two words, and its bytes */

class Carrier {
  /**
   * @param {MessagePort} page
   * @param {any} message
   * @param {any} exports
   */
  constructor(page, { memory, console: numbers, keys }, exports) {
    this.page = page;
    this.ended = false;
    this.bytes = new Uint8Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.numbers = numbers;
    this.exports = exports;
    /** @type {Uint8Array[]} */
    this.keys = [keys];
  }

  /** @param {number} offset */
  load(offset) {
    return Atomics.load(this.words, offset >> 2) >>> 0;
  }

  /** @param {number} offset @param {number} value */
  store(offset, value) {
    Atomics.store(this.words, offset >> 2, value);
  }

  /** All that is in a ring. @param {Ring} ring */
  read({ head, tail, place }) {
    const size = this.numbers.bytes;
    const from = this.load(tail);
    const count = Math.min((this.load(head) - from) >>> 0, size);
    const data = new Uint8Array(count);
    for (let i = 0; i < count; i++) data[i] = this.bytes[place + ((from + i) % size)];
    if (count) {
      this.store(tail, from + count);
      Atomics.notify(this.words, tail >> 2); // firmware may wait for room
    }
    return data;
  }

  /** Puts keys into the guest's ring, as many as there is room for. */
  write() {
    const { bytes: size, slot, input } = this.numbers;
    const { head, tail, place } = input;
    let wrote = false;
    for (let data = this.keys[0]; data; data = this.keys[0]) {
      const to = this.load(head);
      const count = Math.min(data.length, size - ((to - this.load(tail)) >>> 0));
      for (let i = 0; i < count; i++) this.bytes[place + ((to + i) % size)] = data[i];
      this.store(head, to + count);
      wrote ||= count > 0;
      if (count < data.length) {
        this.keys[0] = data.subarray(count);
        break;
      }
      this.keys.shift();
    }
    if (wrote) this.exports.virtio_input(slot);
  }

  /** Takes what the guest has put out, and gives what was typed. */
  work() {
    const { bell, bit, disk = 0, slot, uart, output } = this.numbers;
    // The rest is for Python.  A disk's request may wait for memory here, which the storage's worker must not.
    if (Atomics.and(this.words, bell >> 2, ~(bit | disk)) & disk) this.exports.disks_serve();
    const said = this.read(uart);
    if (said.length) this.exports.uart_input();
    const more = this.read(output);
    if (more.length) this.exports.virtio_output_drained(slot);
    for (const data of [said, more]) if (data.length) this.page.postMessage({ type: "console", data, quiet: false });
    this.write();
  }

  async run() {
    const word = this.numbers.rings >> 2;
    while (!this.ended) {
      const seen = Atomics.load(this.words, word);
      this.work();
      await waitAsync(this.words, word, seen, AGAIN_MS);
      await new Promise((resolve) => setTimeout(resolve, 0)); // the page's messages, while the guest never rests
    }
  }

  /** @param {Uint8Array} data */
  type(data) {
    this.keys.push(data);
    this.write();
  }

  end() {
    this.ended = true;
    this.work();
    const keys = this.keys.flatMap((data) => [...data]);
    this.page.postMessage({ type: "ended", keys: Uint8Array.from(keys) });
  }
}

/** @param {any} message */
async function carry(message) {
  const { port, shown } = message;
  const exports = await instantiate(message.module, message.memory, message.place);
  port.postMessage({ type: "console", data: shown, quiet: true });
  const carrier = new Carrier(port, message, exports);
  port.onmessage = (/** @type {MessageEvent} */ { data: { type, data } }) => {
    if (type === "input") carrier.type(data);
    else if (type === "end") carrier.end();
  };
  await carrier.run();
}

listen((message) => {
  if (message.type === "carry") carry(message).catch(({ message: text }) => post({ type: "failed", message: text }));
});
