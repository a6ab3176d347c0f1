/**
 * One machine on this platform: its shared memory, the supervisor's own
 * instance of cpu.wasm and a worker for each hart.
 *
 * What `hartwell.platform.javascript.JavaScriptCore` calls; see
 * py/hartwell/platform/__init__.py for the contract.  The functions are
 * closures, since Pyodide calls a bound function several times faster than it
 * looks up a method.
 */

import { caller, signatures } from "./exports.mjs";
import { instantiate } from "./instance.mjs";
import { waitAsync } from "./wait.mjs";

/**
 * Numbers of the layout that the glue needs, from py/hartwell/layout.py.
 *
 * @typedef {object} Plan
 * @property {number} pages 64 KiB pages of the whole memory
 * @property {number} harts
 * @property {number} stackBase
 * @property {number} stackSize bytes per thread
 * @property {number} supervisorThread
 * @property {number} budget instructions between two returns of hart_run
 * @property {number} again what hart_run returns when the budget is used up
 * @property {number} crash STOP_CRASH, for machine_stop
 * @property {number} aheadTable where the table of translations made ahead belongs
 * @property {number} aheadBytes of the word that says how long it is
 */

/**
 * A worker as its owner sees it, in a browser or in Node.
 *
 * @typedef {object} Thread
 * @property {(message: any, transfer?: Transferable[]) => void} post
 * @property {() => void} terminate
 */

/** @typedef {(listen: (message: any) => void, name: string) => Thread} Spawn */

/** @typedef {{bytes: Uint8Array, module: WebAssembly.Module}} Cpu */

/**
 * @param {Cpu} cpu compiled once, shared by every thread
 * @param {Plan} plan
 * @param {Spawn} spawn starts a worker of hart.mjs
 * @param {() => import("./translations.mjs").Ahead | null} ahead translations made ahead that are at hand
 */
export async function createCore(cpu, plan, spawn, ahead) {
  const memory = allocate(plan.pages);
  const bytes = new Uint8Array(memory.buffer);
  const words = new Int32Array(memory.buffer);
  const exports = await instantiate(cpu.module, memory, stackOf(plan, plan.supervisorThread));
  const call = caller(exports, signatures(cpu.bytes));
  const harts = new Harts(cpu.module, memory, plan, spawn, ahead, (message) => {
    core.failure = message;
    call("machine_stop", plan.crash, 0);
  });

  /**
   * @param {number} offset
   * @param {number} count
   */
  function range(offset, count) {
    if (!(offset >= 0 && count >= 0 && offset + count <= bytes.length)) {
      throw new RangeError(`bytes ${offset} to ${offset + count} are outside the machine's ${bytes.length} bytes`);
    }
    return bytes.subarray(offset, offset + count);
  }

  /** @param {number} offset of a 32-bit word */
  function word(offset) {
    if (offset & 3) throw new RangeError(`word at ${offset}: its offset is not a multiple of 4`);
    return offset >>> 2;
  }

  /** @type {Stage} */
  let stage;

  const core = {
    /** Why a hart's worker ended on its own; null while none has. @type {string | null} */
    failure: null,
    /** The machine itself; the storage worker reads and writes it. */
    memory,
    module: cpu.module,
    /** The C stack of the storage worker's instance. */
    storagePlace: stackOf(plan, plan.supervisorThread + 1),
    /** That of the worker of terminal.mjs. */
    terminalPlace: stackOf(plan, plan.supervisorThread + 2),
    call,
    /** A view of the machine's bytes, for Python's assign() and to_bytes(). */
    view: range,
    /**
     * Names the Python buffer that pull and push copy through.
     * @param {any} proxy a PyProxy of a bytearray
     */
    stageWith: (proxy) => void (stage = new Stage(proxy)),
    /** Memory to the stage. @type {(offset: number, count: number) => void} */
    pull: (offset, count) => stage.bytes().set(range(offset, count)),
    /** The stage to memory. @type {(offset: number, count: number) => void} */
    push: (offset, count) => range(offset, count).set(stage.bytes().subarray(0, count)),
    /**
     * Copies blob[source:source+count] without a detour through Python's heap.
     * @type {(blob: import("./blob.mjs").ByteBlob, source: number, offset: number, count: number) => void}
     */
    place: (blob, source, offset, count) => range(offset, count).set(blob.slice(source, count)),
    /** @type {(offset: number, value: number, count: number) => void} */
    fill: (offset, value, count) => void range(offset, count).fill(value),
    /** @type {(offset: number) => number} */
    load: (offset) => Atomics.load(words, word(offset)) >>> 0,
    /** @type {(offset: number, value: number) => void} */
    store: (offset, value) => void Atomics.store(words, word(offset), value),
    /** @type {(offset: number, bits: number) => number} */
    or: (offset, bits) => Atomics.or(words, word(offset), bits) >>> 0,
    /** @type {(offset: number, bits: number) => number} */
    and: (offset, bits) => Atomics.and(words, word(offset), bits) >>> 0,
    /** @type {(offset: number) => void} */
    notify: (offset) => void Atomics.notify(words, word(offset)),
    /**
     * Sleeps this thread until the word differs from `value`, at most `ms`.
     * @type {(offset: number, value: number, ms: number) => boolean} whether it differs
     */
    block: (offset, value, ms) => {
      const index = word(offset);
      const end = performance.now() + ms;
      while (Atomics.load(words, index) === (value | 0)) {
        const left = end - performance.now();
        if (left <= 0) return false;
        Atomics.wait(words, index, value | 0, left);
      }
      return true;
    },
    /**
     * As block(), but the event loop goes on meanwhile; may come back early.
     * @type {(offset: number, value: number, ms: number) => Promise<boolean>}
     */
    wait: (offset, value, ms) => waitAsync(words, word(offset), value | 0, ms),
    prepareHarts: () => harts.prepare(),
    startHarts: () => harts.start(),
    join: () => harts.join(),
    terminate: () => {
      harts.terminate();
      setTimeout(remind, REMIND_MS, plan.pages).unref?.(); // Node need not wait for it
    },
  };
  return core;
}

const REMIND_MS = 1000; // by then who had the machine has let go of it

/**
 * Has a memory collected that nothing names any more.  V8 does not count what a
 * shared one has in use, so nothing makes it look: each machine that was closed or
 * fell asleep kept its 80 MB and more for hours.  A buffer as large, which is
 * counted and never touched, does.
 *
 * @param {number} pages 64 KiB pages that it had
 */
function remind(pages) {
  try {
    new ArrayBuffer(pages << 16);
  } catch {
    // Where there is no room for it the engine has looked.
  }
}

/** @param {number} pages */
function allocate(pages) {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (error) {
    const megabytes = Math.round(pages / 16);
    throw new Error(
      `the machine needs ${megabytes} MB of shared memory and this engine did not give it ` +
        `(${/** @type {Error} */ (error).message}); ask for less memory, or close other tabs`,
    );
  }
}

/**
 * @param {Plan} plan
 * @param {number} thread
 */
function stackOf(plan, thread) {
  return { stackTop: plan.stackBase + (thread + 1) * plan.stackSize };
}

/** A Python bytearray as JavaScript sees it. */
class Stage {
  /** @param {any} proxy */
  constructor(proxy) {
    this.proxy = proxy;
    this.buffer = proxy.getBuffer("u8");
  }

  /** @returns {Uint8Array} */
  bytes() {
    if (this.buffer.data.length === 0) {
      // Python's heap has grown, which detaches every view of it.
      this.buffer.release();
      this.buffer = this.proxy.getBuffer("u8");
    }
    return this.buffer.data;
  }
}

/** The workers of a machine's harts. They outlive a reset of the machine. */
class Harts {
  /**
   * @param {WebAssembly.Module} module
   * @param {WebAssembly.Memory} memory
   * @param {Plan} plan
   * @param {Spawn} spawn
   * @param {() => import("./translations.mjs").Ahead | null} ahead
   * @param {(message: string) => void} failed told once per failing hart
   */
  constructor(module, memory, plan, spawn, ahead, failed) {
    this.module = module;
    this.memory = memory;
    this.plan = plan;
    this.spawn = spawn;
    this.ahead = ahead;
    this.failed = failed;
    /** @type {Hart[]} */
    this.list = [];
    this.ended = false;
  }

  /** Begins to start those workers that there are not yet. */
  prepare() {
    const { plan, module, memory } = this;
    for (let hart = 0; hart < plan.harts; hart++) {
      if (this.list[hart]?.alive) continue;
      this.list[hart] = new Hart(this.spawn, hart, this.failed);
      this.list[hart].post({
        type: "prepare", module, memory, place: stackOf(plan, hart), hart, budget: plan.budget, again: plan.again,
      });
    }
  }

  async start() {
    await this.join();
    if (this.ended) throw new Error("the machine was closed meanwhile");
    this.prepare();
    await Promise.all(this.list.map((hart) => hart.prepared));
    const ahead = this.ahead();
    if (ahead) {
      new Uint8Array(this.memory.buffer).set(ahead.table, this.plan.aheadTable);
      Atomics.store(new Int32Array(this.memory.buffer), this.plan.aheadBytes >>> 2, ahead.table.length);
    }
    for (const hart of this.list) hart.run(ahead?.module);
  }

  /** Until every worker has left hart_run. */
  async join() {
    await Promise.all(this.list.map((hart) => hart.stopped));
  }

  terminate() {
    this.ended = true;
    for (const hart of this.list) hart.terminate();
    this.list = [];
  }
}

/** The owner's side of one hart's worker. */
class Hart {
  /**
   * @param {Spawn} spawn
   * @param {number} index
   * @param {(message: string) => void} failed
   */
  constructor(spawn, index, failed) {
    this.alive = true;
    /** @type {Promise<void>} settled while the hart is not in hart_run */
    this.stopped = Promise.resolve();
    this.leave = () => {};
    const { promise, resolve, reject } = deferred();
    this.prepared = promise;
    this.giveUp = reject;
    this.thread = spawn((message) => {
      if (message.type === "prepared") resolve();
      else if (message.type === "stopped") this.leave();
      else if (message.type === "failed" && this.alive) {
        const text = `hart ${index}: ${message.message}`;
        if (message.stack) console.warn(`${text}\n${message.stack}`);
        reject(new Error(text));
        failed(text);
        this.terminate();
      }
    }, `hart ${index}`);
    this.prepared.catch(() => {}); // start() hears of it; without start() nobody need
  }

  /** @param {any} message */
  post(message) {
    this.thread.post(message);
  }

  /** @param {WebAssembly.Module} [ahead] */
  run(ahead) {
    const { promise, resolve } = deferred();
    this.stopped = promise;
    this.leave = resolve;
    this.post({ type: "run", ahead });
  }

  terminate() {
    this.alive = false;
    this.thread.terminate();
    this.giveUp(new Error("it was ended before it began")); // who waits for it must not wait for ever
    this.leave();
  }
}

/** @returns {{promise: Promise<void>, resolve: () => void, reject: (error: Error) => void}} */
function deferred() {
  let resolve = () => {};
  /** @type {(error: Error) => void} */
  let reject = () => {};
  /** @type {Promise<void>} */
  const promise = new Promise((yes, no) => ((resolve = yes), (reject = no)));
  return { promise, resolve, reject };
}
