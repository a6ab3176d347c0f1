/**
 * What was written to a disk since its base: for each chunk that differs, the
 * digest under which the store has it.
 *
 * A commit puts the changed chunks into the store first and then, in one step,
 * a record with the new list: kind "disk", its text {version, bytes, base,
 * generation, chunks}, its refs the chunks' digests in that order.  So after
 * whatever end the record names one whole state, the last one committed.
 */

import { DIGEST, StorageError, ZEROS, hex, unhex } from "./store.mjs";

/** @typedef {import("./keeper.mjs").Keeper} Keeper */

const KIND = "disk";
const VERSION = 1;

/** @typedef {{chunk: number, bytes: Uint8Array | null}} Change null: zeros */

/**
 * @typedef {object} Overlay
 * @property {number} generation commits so far
 * @property {() => Iterable<[number, boolean]>} chunks each with: is it all zeros?
 * @property {(chunk: number) => boolean} has
 * @property {(chunk: number) => Promise<Uint8Array | null>} read null: zeros
 * @property {(changes: Change[]) => Promise<void>} commit
 */

/**
 * One that ends with its worker: packed chunks in memory.
 * @param {Keeper} keeper
 * @returns {Overlay}
 */
export function memoryOverlay({ zstd }) {
  /** @type {Map<number, {frame: Uint8Array, size: number} | null>} */
  const kept = new Map();
  return {
    generation: 0,
    chunks: () => [...kept].map(([chunk, value]) => [chunk, value === null]),
    has: (chunk) => kept.has(chunk),
    read: async (chunk) => {
      const value = kept.get(chunk);
      return value ? (zstd.decompress(value.frame, value.size)?.slice() ?? null) : null;
    },
    async commit(changes) {
      for (const { chunk, bytes } of changes) {
        kept.set(chunk, bytes && bytes.some((byte) => byte) ? { frame: zstd.compress(bytes), size: bytes.length } : null);
      }
      this.generation++;
    },
  };
}

/**
 * One in the store.
 *
 * @param {Keeper} keeper
 * @param {string} name
 * @param {string} base what it was made over: another one is refused
 * @param {number} bytes of the disk
 * @returns {Promise<Overlay>}
 */
export async function storedOverlay(keeper, name, base, bytes) {
  const { store } = keeper;
  /** @type {Map<number, string>} */
  const digests = new Map();
  let generation = 0;
  const record = await store.getRecord(KIND, name);
  if (record) {
    const facts = read(name, record.text);
    if (facts.base !== base) {
      throw new StorageError(
        "SnapshotCorrupt",
        `disk ${JSON.stringify(name)} has changes over another image (${facts.base}, not ${base}); reset it, or boot the image that it belongs to`,
      );
    }
    if (facts.bytes > bytes) throw new StorageError("SnapshotCorrupt", `disk ${JSON.stringify(name)} has ${facts.bytes} bytes, more than the ${bytes} asked for`);
    if (record.refs.length !== DIGEST * facts.chunks.length) throw new StorageError("SnapshotCorrupt", `disk ${JSON.stringify(name)}: its list of chunks is damaged`);
    facts.chunks.forEach((/** @type {number} */ chunk, /** @type {number} */ i) => digests.set(chunk, hex(record.refs.subarray(DIGEST * i, DIGEST * (i + 1)))));
    generation = facts.generation;
  }
  /** @type {Overlay} */
  const overlay = {
    generation,
    chunks: () => [...digests].map(([chunk, digest]) => [chunk, digest === ZEROS]),
    has: (chunk) => digests.has(chunk),
    read: async (chunk) => {
      const digest = digests.get(chunk);
      if (!digest || digest === ZEROS) return null;
      const place = new Uint8Array(keeper.zstd.largest);
      await keeper.load(place.buffer, unhex(digest), [{ offset: 0, count: place.length }]);
      return place;
    },
    async commit(changes) {
      await store.guard(false, async () => {
        const filled = changes.filter(({ bytes }) => bytes);
        const memory = new Uint8Array(filled.reduce((sum, { bytes }) => sum + (bytes?.length ?? 0), 0));
        let offset = 0;
        const list = filled.map(({ bytes }) => {
          const piece = { offset, count: bytes?.length ?? 0 };
          memory.set(bytes ?? [], offset);
          offset += piece.count;
          return piece;
        });
        const saved = await keeper.save(memory.buffer, list);
        // A copy until the record is written: a commit that fails changes nothing.
        const next = new Map(digests);
        for (const { chunk, bytes } of changes) if (!bytes) next.set(chunk, ZEROS);
        filled.forEach(({ chunk }, i) => next.set(chunk, hex(saved.digests.subarray(DIGEST * i, DIGEST * (i + 1)))));
        const refs = new Uint8Array(DIGEST * next.size);
        let at = 0;
        for (const digest of next.values()) {
          refs.set(unhex(digest), at);
          at += DIGEST;
        }
        const facts = { version: VERSION, bytes, base, generation: overlay.generation + 1, chunks: [...next.keys()] };
        const about = JSON.stringify({ bytes, base, generation: facts.generation, changed: next.size });
        await store.putRecord(KIND, name, { about, text: JSON.stringify(facts), refs, time: Date.now() });
        for (const [chunk, digest] of next) digests.set(chunk, digest);
        overlay.generation++;
      });
    },
  };
  return overlay;
}

/**
 * @param {string} name
 * @param {string} text
 */
function read(name, text) {
  /** @type {any} */
  let facts = null;
  try {
    facts = JSON.parse(text);
  } catch {
    // said below
  }
  const good =
    facts && facts.version === VERSION && Number.isSafeInteger(facts.bytes) && Number.isSafeInteger(facts.generation) &&
    typeof facts.base === "string" && Array.isArray(facts.chunks) && facts.chunks.every(Number.isSafeInteger);
  if (!good) throw new StorageError("SnapshotCorrupt", `disk ${JSON.stringify(name)}: its record is damaged, or of a newer version of Hartwell`);
  return facts;
}
