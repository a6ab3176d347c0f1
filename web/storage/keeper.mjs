/**
 * Moves bytes between a machine's shared memory and a store, in chunks.
 *
 * Nothing here is as large as what it moves: a batch is read, digested,
 * compressed and written while the next one is read.
 */

import { letGo } from "../blob.mjs";
import { CHUNK, DIGEST, StorageError, ZEROS, hex, names, sha256 } from "./store.mjs";

/** @typedef {import("./store.mjs").Store} Store */
/** @typedef {import("./zstd.mjs").Zstd} Zstd */

const BATCH = 64; // chunks on their way together: 4 MiB
const WRITTEN_AT_ONCE = 128; // chunks of a transaction, at least: each waits for the disk
const LARGEST_CAPTURE = 64 << 20;
/** The record that counts collections which dropped something. @type {[string, string]} */
const DROPS = ["store", "drops"];

/** @typedef {{offset: number, count: number}} Piece at most CHUNK bytes of a machine's memory */

/**
 * @typedef {object} Saved
 * @property {Uint8Array} digests of the pieces, 32 bytes each; zeros for a piece of zeros
 * @property {Uint32Array} sizes as stored
 * @property {number} written bytes that were not stored before
 */

/**
 * @typedef {object} Source where chunks come from: a store, or a file of a snapshot (pack.mjs)
 * @property {string} name for messages
 * @property {(keys: string[]) => Promise<(Uint8Array | undefined)[]>} get
 * @property {boolean} [far] every call of get costs a request over a network
 */

/**
 * @param {number[]} ranges offset, count, offset, count, ...
 * @param {number} limit bytes there are
 * @returns {Piece[]}
 */
export function pieces(ranges, limit) {
  const list = [];
  for (let i = 0; i + 1 < ranges.length; i += 2) {
    const [offset, count] = [ranges[i], ranges[i + 1]];
    if (!(offset >= 0 && count >= 0 && offset + count <= limit)) {
      throw new RangeError(`bytes ${offset} to ${offset + count} are outside the machine's ${limit} bytes`);
    }
    for (let at = 0; at < count; at += CHUNK) list.push({ offset: offset + at, count: Math.min(CHUNK, count - at) });
  }
  return list;
}

/** @param {Uint8Array} bytes */
function isZero(bytes) {
  const words = bytes.length & ~3;
  const list = new Uint32Array(bytes.buffer, bytes.byteOffset, words >> 2); // pieces begin at multiples of 4
  for (let i = 0; i < list.length; i++) if (list[i]) return false;
  for (let i = words; i < bytes.length; i++) if (bytes[i]) return false;
  return true;
}

/**
 * Copies pieces aside at once, for a machine that waits for it.
 *
 * @param {ArrayBufferLike} memory
 * @param {Piece[]} list
 * @returns {{memory: ArrayBuffer, list: Piece[]}} what to save instead
 */
export function capture(memory, list) {
  const total = list.reduce((sum, { count }) => sum + ((count + 3) & ~3), 0);
  if (total > LARGEST_CAPTURE) throw new RangeError(`${total} bytes to copy aside at once; at most ${LARGEST_CAPTURE}`);
  const aside = new Uint8Array(total);
  const bytes = new Uint8Array(memory);
  let at = 0;
  const moved = list.map(({ offset, count }) => {
    aside.set(bytes.subarray(offset, offset + count), at);
    const piece = { offset: at, count };
    at += (count + 3) & ~3;
    return piece;
  });
  return { memory: aside.buffer, list: moved };
}

export class Keeper {
  /**
   * @param {Store} store
   * @param {Zstd} zstd
   */
  constructor(store, zstd) {
    this.store = store;
    this.zstd = zstd;
    /** @type {Source} */
    this.source = { name: "the store", get: (keys) => store.get(keys) };
  }

  /**
   * @param {ArrayBufferLike} memory
   * @param {Piece[]} list
   * @param {(done: number, total: number) => void} [report] bytes
   * @returns {Promise<Saved>} when all of it is on disk
   */
  async save(memory, list, report = () => {}) {
    const bytes = new Uint8Array(memory);
    const digests = new Uint8Array(DIGEST * list.length);
    const sizes = new Uint32Array(list.length);
    const total = list.reduce((sum, { count }) => sum + count, 0);
    const raw = [0, 1].map(() => new Uint8Array(BATCH * CHUNK));
    /** Of all that this call has stored. @type {Map<string, number>} */
    const stored = new Map();
    /** @type {Map<string, Uint8Array>} */
    let fresh = new Map();
    let written = 0;
    /** @type {Promise<void>} */
    let writing = Promise.resolve();

    /** Copies a batch and asks for its digests and what of it is known; both come while this thread compresses the one before. */
    const look = async (/** @type {number} */ first, /** @type {Uint8Array} */ into) => {
      /** @type {{index: number, plain: Uint8Array}[]} */
      const filled = [];
      let at = 0;
      for (const [i, { offset, count }] of list.slice(first, first + BATCH).entries()) {
        if (isZero(bytes.subarray(offset, offset + count))) continue;
        const plain = into.subarray(at, at + count);
        plain.set(bytes.subarray(offset, offset + count));
        filled.push({ index: first + i, plain });
        at += count;
      }
      const found = await Promise.all(filled.map(({ plain }) => sha256(plain)));
      const keys = found.map(hex);
      return { filled, found, keys, known: await this.store.sizes(keys) };
    };
    const flush = async () => {
      const frames = fresh;
      fresh = new Map();
      await writing;
      writing = this.store.put([...frames]).then(() => frames.forEach(letGo));
      writing.catch(() => {}); // the next round, or the end, hears of it
    };

    let next = look(0, raw[0]);
    let done = 0;
    for (let first = 0; first < list.length; first += BATCH) {
      const { filled, found, keys, known } = await next;
      if (first + BATCH < list.length) {
        next = look(first + BATCH, raw[(first / BATCH + 1) % 2]);
        next.catch(() => {}); // heard of above, unless something else ends this first
      }
      for (const [i, { index, plain }] of filled.entries()) {
        digests.set(found[i], DIGEST * index);
        let size = known[i] ?? stored.get(keys[i]);
        if (size === undefined) {
          const frame = this.zstd.compress(plain);
          fresh.set(keys[i], frame);
          stored.set(keys[i], (size = frame.length));
          written += size;
        }
        sizes[index] = size;
      }
      if (fresh.size >= WRITTEN_AT_ONCE) await flush();
      for (const { count } of list.slice(first, first + BATCH)) done += count;
      report(done, total);
    }
    if (fresh.size) await flush();
    await writing;
    raw.forEach(letGo);
    return { digests, sizes, written };
  }

  /**
   * Brings chunks into memory, each held to its digest before a byte is placed.
   *
   * @param {ArrayBufferLike} memory
   * @param {Uint8Array} digests
   * @param {Piece[]} list
   * @param {Source} source
   * @param {(piece: Piece, index: number, frame: Uint8Array | undefined) => void} [placed] frame: as it is stored, of what is not zeros
   * @param {(done: number, total: number) => void} [report] bytes
   */
  async load(memory, digests, list, source = this.source, placed = () => {}, report = () => {}) {
    const bytes = new Uint8Array(memory);
    const keys = names(digests);
    if (keys.length !== list.length) throw new RangeError(`${keys.length} digests for ${list.length} chunks`);
    const total = list.reduce((sum, { count }) => sum + count, 0);
    let done = 0;
    for (let first = 0; first < list.length; first += BATCH) {
      const batch = list.slice(first, first + BATCH);
      const wanted = keys.slice(first, first + BATCH);
      const frames = await source.get(wanted.filter((key) => key !== ZEROS));
      let next = 0;
      const theirs = wanted.map((key) => (key === ZEROS ? undefined : frames[next++]));
      /** @type {(Uint8Array | null)[]} */
      const plains = wanted.map((key, i) => (key === ZEROS ? null : this.#unpack(key, theirs[i], batch[i].count, source)));
      await Promise.all(plains.map((plain, i) => plain && this.#check(wanted[i], plain, source)));
      for (const [i, { offset, count }] of batch.entries()) {
        const plain = plains[i];
        if (plain) bytes.set(plain, offset);
        else bytes.fill(0, offset, offset + count);
        done += count;
        placed(batch[i], first + i, theirs[i]);
      }
      report(done, total);
    }
  }

  /**
   * @param {string} key
   * @param {Uint8Array | undefined} frame
   * @param {number} count
   * @param {Source} source
   */
  #unpack(key, frame, count, source) {
    if (!frame) {
      throw new StorageError("SnapshotCorrupt", `chunk ${key.slice(0, 16)} is missing in ${source.name}; delete what needs it, or import it again`);
    }
    const plain = this.zstd.decompress(frame, count);
    if (!plain) {
      throw new StorageError(
        "SnapshotCorrupt",
        `chunk ${key.slice(0, 16)} in ${source.name} is damaged: its ${frame.length} bytes are no Zstandard frame of ${count} bytes`,
      );
    }
    return plain.slice();
  }

  /**
   * @param {string} key
   * @param {Uint8Array} plain
   * @param {Source} source
   */
  async #check(key, plain, source) {
    const found = hex(await sha256(plain));
    if (found !== key) {
      throw new StorageError(
        "SnapshotCorrupt",
        `chunk ${key.slice(0, 16)} in ${source.name} is damaged: the SHA-256 of its bytes is ${found.slice(0, 16)}...`,
      );
    }
  }

  /**
   * Holds a chunk from outside to its digest.
   *
   * @param {string} key
   * @param {Uint8Array | undefined} frame
   * @param {Source} source
   */
  async verify(key, frame, source) {
    const plain = frame && this.zstd.unpack(frame)?.slice();
    if (!plain) {
      throw new StorageError("SnapshotCorrupt", `${source.name}: chunk ${key.slice(0, 16)} is cut short or damaged`);
    }
    await this.#check(key, plain, source);
  }

  /**
   * Drops chunks that no record names; skipped while anybody saves.
   * @returns {Promise<number>} how many
   */
  async collect() {
    const dropped = await this.store.guard(true, async () => {
      const [keys, refs] = await Promise.all([this.store.keys(), this.store.refs()]);
      const needed = new Set(refs.flatMap(names));
      const idle = keys.filter((key) => !needed.has(key));
      if (idle.length) {
        // First, so that nobody who relies on them misses that they may be gone.
        const count = Number((await this.store.getRecord(...DROPS))?.text ?? 0) + 1;
        await this.store.putRecord(...DROPS, { about: "{}", text: String(count), refs: new Uint8Array(), time: Date.now() });
        await this.store.drop(idle);
      }
      return idle.length;
    });
    return dropped ?? 0;
  }

  /**
   * Which of these chunks are not in the store.
   * @param {Uint8Array} digests
   * @returns {Promise<Uint8Array>} theirs
   */
  async missing(digests) {
    const sizes = await this.store.sizes(names(digests));
    const gone = sizes.flatMap((size, i) => (size === undefined ? [digests.subarray(DIGEST * i, DIGEST * (i + 1))] : []));
    const found = new Uint8Array(DIGEST * gone.length);
    for (const [i, digest] of gone.entries()) found.set(digest, DIGEST * i);
    return found;
  }
}
