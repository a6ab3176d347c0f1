/**
 * The storage side of a machine's disks (cpu/virtio/disk.h, cpu/virtio/disk_storage.c):
 * fetches chunks that a guest waits for, and commits what it wrote.
 *
 * One loop per machine waits for Machine.disk_bell.  It has an instance of
 * cpu.wasm of its own, so a chunk that has come goes to the guest without
 * anybody else's help.
 */

import { instantiate } from "../instance.mjs";
import { waitAsync } from "../wait.mjs";
import { chunkBase, rangeReader, rawBase, zeros } from "./base.mjs";
import { memoryOverlay, storedOverlay } from "./overlay.mjs";
import { CHUNK, hex, sha256, StorageError } from "./store.mjs";

/** @typedef {import("./keeper.mjs").Keeper} Keeper */
/** @typedef {import("./base.mjs").Base} Base */
/** @typedef {import("./overlay.mjs").Overlay} Overlay */

/**
 * Where a disk's cache lies, and what it is made of; from py/hartwell/disks.py.
 *
 * @typedef {object} DiskPlan
 * @property {number} index
 * @property {number} bytes
 * @property {number} chunks
 * @property {number} frames
 * @property {number} marks offset of the marks
 * @property {number} frameTable offset of struct Frame[]
 * @property {number} data offset of the frames' bytes
 * @property {{kind: string, url?: string, table?: string, digest?: string, size?: number, name: string}} base
 * @property {string | null} overlay its name in the store; null: changes end with the machine
 * @property {string} owner the machine's identity
 * @property {{born: number, generation: number, entries: string, pack: number, scratch: string} | null} from of a machine
 *   that wakes: the snapshot's list (in base64), the file that has its chunks (0: the store), a name for
 *   what is kept for as long as the machine lives
 */

const NONE = 0xffffffff;
const FILLED = 0;
const ZEROES = 1;
const FAILED = 2;
const DROPPED = 3;
const ZERO = 1; // DISK_ZERO
const ZERO_WRITING = 4; // DISK_ZERO_WRITING
const USED = 1; // FRAME_USED
const DIRTY = 4; // FRAME_DIRTY
const WRITING = 8; // FRAME_WRITING
const ZERO_DIRTY = 2; // DISK_ZERO_DIRTY
const LONGEST_RUN = 16; // chunks of one read
const IDLE_MS = 2000; // between two looks without a ring
const LOOK_MS = 2; // the same while a request waits for nothing that is known
const SETTLE_MS = 5000; // changes wait at most so long for a commit that nobody asked for

/** @param {DiskPlan["base"]} base @returns {Promise<Base>} */
export async function openBase(base) {
  if (base.kind === "zeros") return zeros;
  const read = await rangeReader(base.url ?? "");
  if (base.kind === "raw") return rawBase(read, base.size ?? 0);
  const size = base.size ?? 0; // of the table
  const tables = await rangeReader(base.table ?? "");
  const table = size ? await tables(0, size) : new Uint8Array(0);
  await tables.close?.();
  if (hex(await sha256(table)) !== base.digest) throw new StorageError("SnapshotCorrupt", `${base.name}: its table of chunks is damaged (SHA-256)`);
  return chunkBase(read, table, base.name);
}

/** What an overlay remembers its base by. @param {DiskPlan["base"]} base */
export const nameOf = (base) => base.digest ?? `${base.kind} ${base.name}`;

/**
 * @param {Keeper} keeper
 * @param {DiskPlan} plan
 * @param {(pack: number) => import("./keeper.mjs").Source} sourceOf
 */
function openOverlay(keeper, plan, sourceOf) {
  const { overlay: name, bytes, owner, from } = plan;
  const base = nameOf(plan.base);
  if (!from) return name === null ? memoryOverlay(keeper) : storedOverlay(keeper, { kind: "disk", name, base, bytes, owner });
  const entries = Uint8Array.from(atob(from.entries), (letter) => letter.charCodeAt(0));
  const where = name === null ? { kind: "scratch", name: from.scratch } : { kind: "disk", name };
  return storedOverlay(keeper, { ...where, base, bytes, owner }, { ...from, entries }, from.pack ? sourceOf(from.pack) : null);
}

/** One disk. */
export class Disk {
  /**
   * @param {DiskPlan} plan
   * @param {any} exports of cpu.wasm
   * @param {Uint8Array} memory
   * @param {Base} base
   * @param {Overlay} overlay
   * @param {() => void} ring makes the loop of Disks look again
   */
  constructor(plan, exports, memory, base, overlay, ring) {
    this.plan = plan;
    this.exports = exports;
    this.memory = memory;
    this.base = base;
    this.overlay = overlay;
    this.ring = ring;
    /** What went wrong last, for people. @type {string | null} */
    this.error = null;
    /** @type {Promise<void> | null} */
    this.committing = null;
    this.changedSince = 0;
    this.reading = 0; // reads at work
    this.expected = -1; // the chunk after the last run: a reader that goes on there gets more at once
    this.window = 1;
    exports.disk_open(plan.index);
    for (let chunk = 0; chunk < plan.chunks; chunk++) {
      if (!base.has(chunk)) memory[plan.marks + chunk] |= ZERO;
    }
    for (const [chunk, isZero] of overlay.chunks()) {
      if (isZero) memory[plan.marks + chunk] |= ZERO;
      else memory[plan.marks + chunk] &= ~ZERO;
    }
  }

  /** Begins to fetch what is waited for; each chunk is served when it comes. */
  fetch() {
    const { exports, plan } = this;
    for (let chunk; (chunk = exports.disk_next(plan.index) >>> 0) !== NONE; ) {
      if (this.overlay.has(chunk)) {
        void this.#fromOverlay(chunk);
      } else if (this.base.has(chunk)) {
        void this.#fromBase(chunk);
      } else {
        exports.disk_filled(plan.index, chunk, 0, ZEROES);
        exports.disk_serve(plan.index);
      }
    }
  }

  /** Does a request wait though nothing is on its way that could let it go on? */
  get idleButParked() {
    return this.reading === 0 && !this.committing && this.exports.disk_parked(this.plan.index) !== 0;
  }

  /** @param {number} chunk */
  async #fromOverlay(chunk) {
    this.reading++;
    try {
      const bytes = await this.overlay.read(chunk);
      if (bytes) await this.#place(chunk, bytes);
      else this.exports.disk_filled(this.plan.index, chunk, 0, ZEROES);
    } catch (error) {
      this.#failed(chunk, error);
    }
    this.reading--;
    this.exports.disk_serve(this.plan.index);
  }

  /** @param {number} chunk */
  async #fromBase(chunk) {
    const { exports, plan } = this;
    this.window = chunk === this.expected ? Math.min(2 * this.window, LONGEST_RUN) : 1;
    const most = this.base.run(chunk, this.window);
    let count = 1;
    while (count < most && !this.overlay.has(chunk + count) && exports.disk_claim(plan.index, chunk + count)) count++;
    this.expected = chunk + count;
    this.reading++;
    try {
      const found = await this.base.read(chunk, count);
      for (const [i, bytes] of found.entries()) {
        if (bytes instanceof Error) this.#failed(chunk + i, bytes);
        else await this.#place(chunk + i, bytes, i > 0);
      }
    } catch (error) {
      this.#failed(chunk, error);
      for (let i = 1; i < count; i++) exports.disk_filled(plan.index, chunk + i, 0, DROPPED);
    }
    this.reading--;
    exports.disk_serve(plan.index);
  }

  /**
   * @param {number} chunk
   * @param {Uint8Array} bytes
   * @param {boolean} [early] nobody asked for it
   */
  async #place(chunk, bytes, early = false) {
    const { exports, plan } = this;
    let offset = exports.disk_place(plan.index, chunk) >>> 0;
    if (!offset && !early) {
      await this.commit().catch(() => {}); // makes frames free
      offset = exports.disk_place(plan.index, chunk) >>> 0;
    }
    if (offset) {
      this.memory.set(bytes, offset);
      exports.disk_filled(plan.index, chunk, offset, FILLED);
    } else {
      exports.disk_filled(plan.index, chunk, 0, early ? DROPPED : FAILED);
    }
  }

  /**
   * @param {number} chunk
   * @param {unknown} error
   */
  #failed(chunk, error) {
    this.error = `chunk ${chunk}: ${/** @type {Error} */ (error).message}`;
    this.exports.disk_filled(this.plan.index, chunk, 0, FAILED);
  }

  /** Begins a commit when one is wanted, or when changes have waited long enough. */
  tend() {
    if (this.committing) return;
    if (this.exports.disk_commit_wanted(this.plan.index)) void this.commit().catch(() => {});
    else if (this.exports.disk_unsaved_changes(this.plan.index)) {
      const now = performance.now();
      this.changedSince ||= now;
      if (this.plan.overlay !== null && now - this.changedSince > SETTLE_MS) void this.commit().catch(() => {});
    }
  }

  /** All that was written before is in the overlay when it settles; rejects when it is not. @returns {Promise<void>} */
  async commit() {
    while (this.committing) await this.committing.catch(() => {});
    this.changedSince = 0;
    this.committing = this.#commit().finally(() => {
      this.committing = null;
      // Who asked for another commit meanwhile rang when none could begin: tend() looks again.
      this.ring();
    });
    return this.committing;
  }

  async #commit() {
    const { exports, plan } = this;
    const count = exports.disk_commit_begin(plan.index);
    try {
      if (count) await this.overlay.commit(this.#changes());
      exports.disk_commit_end(plan.index, 1);
    } catch (error) {
      this.error = /** @type {Error} */ (error).message;
      exports.disk_commit_end(plan.index, 0);
      throw error;
    }
  }

  /** Copies of what this commit writes, each taken while no request touches it. */
  #changes() {
    const { exports, memory, plan } = this;
    const table = new Uint32Array(memory.buffer, plan.frameTable, 2 * plan.frames);
    /** @type {import("./overlay.mjs").Change[]} */
    const changes = [];
    for (let frame = 0; frame < plan.frames; frame++) {
      if (!(table[2 * frame + 1] & WRITING)) continue;
      exports.disk_lock(plan.index);
      const bytes = memory.slice(plan.data + frame * CHUNK, plan.data + (frame + 1) * CHUNK);
      exports.disk_unlock(plan.index);
      changes.push({ chunk: table[2 * frame], bytes });
    }
    for (let chunk = 0; chunk < plan.chunks; chunk++) {
      if (memory[plan.marks + chunk] & ZERO_WRITING) changes.push({ chunk, bytes: null });
    }
    return changes;
  }

  /**
   * The whole disk as it is now, for a snapshot: no request is being served.
   * What this gives puts it into the store.
   */
  freeze() {
    const { exports, memory, plan } = this;
    const table = new Uint32Array(memory.buffer, plan.frameTable, 2 * plan.frames);
    /** @type {import("./overlay.mjs").Change[]} */
    const changes = [];
    exports.disk_lock(plan.index);
    for (let frame = 0; frame < plan.frames; frame++) {
      const flags = table[2 * frame + 1];
      if (!(flags & USED) || !(flags & (DIRTY | WRITING))) continue;
      changes.push({ chunk: table[2 * frame], bytes: memory.slice(plan.data + frame * CHUNK, plan.data + (frame + 1) * CHUNK) });
    }
    for (let chunk = 0; chunk < plan.chunks; chunk++) {
      const mark = memory[plan.marks + chunk];
      if (mark & ZERO && mark & (ZERO_DIRTY | ZERO_WRITING)) changes.push({ chunk, bytes: null });
    }
    exports.disk_unlock(plan.index);
    return this.overlay.freeze(changes);
  }

  /** The overlay's record is this disk's. */
  async settle() {
    while (this.committing) await this.committing.catch(() => {});
    this.committing = this.overlay.settle().finally(() => {
      this.committing = null;
      this.ring();
    });
    return this.committing;
  }

  /**
   * The disk's present bytes of a chunk, whatever holds them.
   * @param {number} chunk
   * @returns {Promise<Uint8Array | null>} null: zeros
   */
  async current(chunk) {
    if (this.overlay.has(chunk)) return this.overlay.read(chunk);
    if (!this.base.has(chunk)) return null;
    const [bytes] = await this.base.read(chunk, 1);
    if (bytes instanceof Error) throw bytes;
    return bytes;
  }
}

/** The disks of one machine. */
export class Disks {
  /**
   * @param {Keeper} keeper
   * @param {{memory: WebAssembly.Memory, module: WebAssembly.Module, place: import("../instance.mjs").Place, bell: number, disks: DiskPlan[]}} message
   * @param {(pack: number) => import("./keeper.mjs").Source} sourceOf
   */
  static async open(keeper, { memory, module, place, bell, disks }, sourceOf) {
    const exports = await instantiate(module, memory, place);
    const bytes = new Uint8Array(memory.buffer);
    const words = new Int32Array(memory.buffer);
    const list = [];
    for (const plan of disks) {
      const base = await openBase(plan.base);
      const overlay = await openOverlay(keeper, plan, sourceOf);
      list.push(new Disk(plan, exports, bytes, base, overlay, () => ring(words, bell >>> 2)));
    }
    return new Disks(list, words, bell);
  }

  /**
   * @param {Disk[]} list
   * @param {Int32Array} words
   * @param {number} bell offset of Machine.disk_bell
   */
  constructor(list, words, bell) {
    this.list = list;
    this.words = words;
    this.bell = bell >>> 2;
    this.ended = false;
    this.running = this.#run();
  }

  async #run() {
    while (!this.ended) {
      const seen = Atomics.load(this.words, this.bell);
      for (const disk of this.list) {
        disk.fetch();
        disk.tend();
      }
      // A second look costs little, and lets go on whoever parked between a chunk's coming and its serving.
      for (const disk of this.list) if (disk.idleButParked) disk.exports.disk_serve(disk.plan.index);
      await waitAsync(this.words, this.bell, seen, this.list.some((disk) => disk.idleButParked) ? LOOK_MS : IDLE_MS);
    }
  }

  /** What was written up to now is kept. @returns {Promise<number[]>} the overlays' generations */
  async commit() {
    for (const disk of this.list) await disk.commit();
    return this.list.map((disk) => disk.overlay.generation);
  }

  /** Each disk as it is now; see Disk.freeze. */
  freeze() {
    return this.list.map((disk) => ({ index: disk.plan.index, store: disk.freeze() }));
  }

  /** The records are what the disks are. */
  async settle() {
    for (const disk of this.list) await disk.settle();
  }

  /** Commits what is left, and ends. */
  async close() {
    await this.commit().catch(() => {}); // nobody is left to be told
    this.ended = true;
    ring(this.words, this.bell);
    await this.running;
    for (const disk of this.list) await disk.base.close?.();
  }
}

/**
 * @param {Int32Array} words
 * @param {number} index
 */
function ring(words, index) {
  Atomics.add(words, index, 1);
  Atomics.notify(words, index);
}
