/**
 * What was written to a disk since its base: for each chunk that differs, the
 * digest under which the store has it.
 *
 * A commit puts the changed chunks into the store first and then, in one step,
 * a record with the new list: kind "disk", its text {version, bytes, base, born,
 * generation, owner, chunks}, its refs the chunks' digests in that order.  So after
 * whatever end the record names one whole state, the last one committed.
 *
 * A snapshot has such a list too (`freeze`), and the disk of a machine that
 * woke begins with that one.  The record, which may be further on, is
 * replaced when the machine is awake (`settle`): a wake that fails leaves it.
 */

import { importPack } from "./pack.mjs";
import { CHUNK, DIGEST, StorageError, ZEROS, hex, names, unhex } from "./store.mjs";

/** @typedef {import("./keeper.mjs").Keeper} Keeper */

const VERSION = 1;
const ENTRY = 4 + DIGEST; // of a packed list: chunk (u32, little-endian), digest (zeros: it is all zeros)

/** @typedef {{chunk: number, bytes: Uint8Array | null}} Change null: zeros */

/** @typedef {{born: number, generation: number, entries: Uint8Array}} Frozen a list as a snapshot has it: whose it is, and how far */

/**
 * @typedef {object} Overlay
 * @property {number} generation commits so far
 * @property {() => Iterable<[number, boolean]>} chunks each with: is it all zeros?
 * @property {(chunk: number) => boolean} has
 * @property {(chunk: number) => Promise<Uint8Array | null>} read null: zeros
 * @property {(changes: Change[]) => Promise<void>} commit
 * @property {(changes: Change[]) => () => Promise<Frozen>} freeze the state that a commit of `changes` would make,
 *   as it is at the call; what it gives puts the chunks into the store.  Nothing is committed by it.
 * @property {() => Promise<void>} settle the record says what the disk is
 * @property {(same: (chunk: number, digest: string) => Promise<boolean>) => Promise<number>} [forget] drops those chunks of
 *   which `same` says that the base has them so; how many.  Only one in the store can
 */

/**
 * One that ends with its worker: packed chunks in memory.
 * @param {Keeper} keeper
 * @returns {Overlay}
 */
export function memoryOverlay(keeper) {
  const { store, zstd } = keeper;
  /** @type {Map<number, {frame: Uint8Array, size: number, digest?: string} | null>} */
  const kept = new Map();
  /** @param {{frame: Uint8Array, size: number}} value */
  const unpack = ({ frame, size }) => zstd.decompress(frame, size)?.slice() ?? null;
  return {
    generation: 0,
    chunks: () => [...kept].map(([chunk, value]) => [chunk, value === null]),
    has: (chunk) => kept.has(chunk),
    read: async (chunk) => {
      const value = kept.get(chunk);
      return value ? unpack(value) : null;
    },
    async commit(changes) {
      for (const { chunk, bytes } of changes) {
        kept.set(chunk, bytes && bytes.some((byte) => byte) ? { frame: zstd.compress(bytes), size: bytes.length } : null);
      }
      this.generation++;
    },
    freeze(changes) {
      const values = [...kept];
      const generation = this.generation;
      return async () => {
        /** @type {Map<number, string>} */
        const digests = new Map();
        // What an earlier snapshot put there may have been dropped with it.
        const named = values.map(([, value]) => value?.digest ?? ZEROS);
        const there = await store.sizes(named);
        for (const [i, [chunk, value]] of values.entries()) {
          if (value && !(value.digest && there[i] !== undefined)) {
            const [[, digest]] = await put(keeper, [{ chunk, bytes: unpack(value) }]);
            value.digest = digest;
          }
          digests.set(chunk, value?.digest ?? ZEROS);
        }
        for (const [chunk, digest] of await put(keeper, changes)) digests.set(chunk, digest);
        return { born: 0, generation, entries: pack(digests) };
      };
    },
    settle: async () => {},
  };
}

/**
 * @typedef {object} Where an overlay is kept, and who has it
 * @property {string} kind "disk", or "scratch": gone with its machine
 * @property {string} name
 * @property {string} base what it was made over: another one is refused
 * @property {number} bytes of the disk
 * @property {string | null} owner the machine's identity; null: whose it was
 */

/**
 * One in the store.
 *
 * @param {Keeper} keeper
 * @param {Where} where
 * @param {Frozen | null} [from] a snapshot's list, to begin with
 * @param {import("./keeper.mjs").Source | null} [source] where the chunks of `from` are; null: in the store
 * @returns {Promise<Overlay>}
 */
export async function storedOverlay(keeper, { kind, name, base, bytes, owner }, from = null, source = null) {
  const { store } = keeper;
  /** @type {Map<number, string>} */
  const digests = new Map();
  let [generation, born, holder] = [0, Date.now(), owner ?? ""];
  const record = await store.getRecord(kind, name);
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
    const found = names(record.refs);
    if (!from) facts.chunks.forEach((/** @type {number} */ chunk, /** @type {number} */ i) => digests.set(chunk, found[i]));
    generation = facts.generation;
    born = facts.born ?? 0;
    holder = owner ?? facts.owner ?? "";
  }
  if (from) {
    unpackInto(digests, from.entries);
    generation = Math.max(generation, from.generation);
    if (!record) born = from.born || born;
  }
  let settled = !from;

  /** What the record is to name must be in the store before it. */
  async function adopt() {
    const keys = [...new Set(digests.values())].filter((key) => key !== ZEROS);
    if (source) await importPack(keeper, { keys, source }, () => {});
    source = null;
  }

  /** A new record in place of the old one. @param {Map<number, string>} list */
  async function replace(list) {
    const refs = new Uint8Array(DIGEST * list.size);
    let at = 0;
    for (const digest of list.values()) {
      refs.set(unhex(digest), at);
      at += DIGEST;
    }
    const facts = { version: VERSION, bytes, base, born, generation: overlay.generation + 1, owner: holder, chunks: [...list.keys()] };
    const about = JSON.stringify({ bytes, base, born, generation: facts.generation, owner: holder, changed: list.size });
    await store.putRecord(kind, name, { about, text: JSON.stringify(facts), refs, time: Date.now() });
    overlay.generation++;
  }

  /** @type {Overlay} */
  const overlay = {
    generation,
    ...listed(keeper, digests, async (digest) => (source && (await store.sizes([digest]))[0] === undefined ? source : keeper.source)),
    async commit(changes) {
      await store.guard(false, async () => {
        await adopt();
        // A copy until the record is written: a commit that fails changes nothing.
        const next = new Map(digests);
        for (const [chunk, digest] of await put(keeper, changes)) next.set(chunk, digest);
        await replace(next);
        for (const [chunk, digest] of next) digests.set(chunk, digest);
        settled = true;
      });
    },
    freeze(changes) {
      const state = new Map(digests);
      const now = overlay.generation;
      return async () => {
        await adopt();
        for (const [chunk, digest] of await put(keeper, changes)) state.set(chunk, digest);
        return { born, generation: now, entries: pack(state) };
      };
    },
    settle: async () => {
      if (!settled) await overlay.commit([]);
    },
    async forget(same) {
      /** @type {Set<number>} */
      const dropped = new Set();
      for (const [chunk, digest] of digests) if (await same(chunk, digest)) dropped.add(chunk);
      await replace(new Map([...digests].filter(([chunk]) => !dropped.has(chunk))));
      for (const chunk of dropped) digests.delete(chunk);
      return dropped.size;
    },
  };
  return overlay;
}

/**
 * What a list of chunks has, to be read.
 * @param {Keeper} keeper
 * @param {Map<number, string>} digests as they are whenever it is asked
 * @param {(digest: string) => Promise<import("./keeper.mjs").Source>} [where] a chunk's bytes are
 * @returns {Pick<Overlay, "chunks" | "has" | "read">}
 */
function listed(keeper, digests, where = async () => keeper.source) {
  return {
    chunks: () => [...digests].map(([chunk, digest]) => [chunk, digest === ZEROS]),
    has: (chunk) => digests.has(chunk),
    read: async (chunk) => {
      const digest = digests.get(chunk);
      if (!digest || digest === ZEROS) return null;
      const place = new Uint8Array(keeper.zstd.largest);
      await keeper.load(place.buffer, unhex(digest), [{ offset: 0, count: place.length }], await where(digest));
      return place;
    },
  };
}

/**
 * A frozen list, to be read.
 * @param {Keeper} keeper
 * @param {Frozen} frozen
 */
export function frozenChanges(keeper, frozen) {
  /** @type {Map<number, string>} */
  const digests = new Map();
  unpackInto(digests, frozen.entries);
  return listed(keeper, digests);
}

/**
 * Changed chunks into the store.
 * @param {Keeper} keeper
 * @param {Change[]} changes
 * @returns {Promise<[number, string][]>} each chunk's digest
 */
async function put(keeper, changes) {
  const filled = changes.filter(({ bytes }) => bytes);
  const memory = new Uint8Array(CHUNK * filled.length);
  const list = filled.map(({ bytes }, i) => {
    memory.set(bytes ?? [], CHUNK * i);
    return { offset: CHUNK * i, count: bytes?.length ?? 0 };
  });
  const digests = names((await keeper.save(memory.buffer, list)).digests);
  const zeroed = changes.filter(({ bytes }) => !bytes);
  return [
    ...zeroed.map(({ chunk }) => /** @type {[number, string]} */ ([chunk, ZEROS])),
    ...filled.map(({ chunk }, i) => /** @type {[number, string]} */ ([chunk, digests[i]])),
  ];
}

/** @param {Map<number, string>} digests */
function pack(digests) {
  const entries = new Uint8Array(ENTRY * digests.size);
  const view = new DataView(entries.buffer);
  for (const [i, chunk] of [...digests.keys()].sort((a, b) => a - b).entries()) {
    view.setUint32(ENTRY * i, chunk, true);
    entries.set(unhex(digests.get(chunk) ?? ZEROS), ENTRY * i + 4);
  }
  return entries;
}

/**
 * @param {Map<number, string>} digests
 * @param {Uint8Array} entries
 */
function unpackInto(digests, entries) {
  const view = new DataView(entries.buffer, entries.byteOffset, entries.length);
  for (let at = 0; at + ENTRY <= entries.length; at += ENTRY) {
    digests.set(view.getUint32(at, true), hex(entries.subarray(at + 4, at + ENTRY)));
  }
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
