/**
 * What a place that keeps things must do: the one interface of IndexedDB
 * (indexeddb.mjs) and of files in Node (../node/files.mjs).
 *
 * Two sorts of things are kept.  Chunks are bulk: a frame of Zstandard, named
 * by the SHA-256 of what it holds, in hexadecimal; written once, never
 * changed.  Records are small and have a kind ("snapshot", "disk") and a name;
 * a record names the chunks it needs, and a chunk that no record names may be
 * dropped (`collect` in keeper.mjs).
 *
 * @typedef {object} Kept a record
 * @property {string} about some hundred bytes of JSON, for lists
 * @property {string} text the record itself, JSON
 * @property {Uint8Array} refs digests of the chunks it needs, 32 bytes each
 * @property {number} time when it was put, milliseconds since the Unix epoch
 *
 * @typedef {{name: string, about: string, time: number}} Listed
 *
 * @typedef {object} Store
 * @property {(keys: string[]) => Promise<(number | undefined)[]>} sizes of chunks as stored; undefined: not there
 * @property {(chunks: [string, Uint8Array][]) => Promise<void>} put all or none, and on disk when it settles
 * @property {(keys: string[]) => Promise<(Uint8Array | undefined)[]>} get
 * @property {(keys: string[]) => Promise<void>} drop
 * @property {() => Promise<string[]>} keys of all chunks
 * @property {(kind: string, name: string, record: Kept) => Promise<void>} putRecord in place of the old one, at once; on disk when it settles
 * @property {(kind: string, name: string) => Promise<Kept | undefined>} getRecord
 * @property {(kind: string, name: string) => Promise<boolean>} dropRecord whether there was one
 * @property {(kind: string) => Promise<Listed[]>} records
 * @property {() => Promise<Uint8Array[]>} refs of every record of every kind
 * @property {() => Promise<{used: number, quota: number, lasting: boolean}>} estimate bytes
 * @property {(name: string) => Promise<(() => void) | null>} lock for one holder among all tabs (processes); null: held elsewhere
 * @property {<T>(alone: boolean, work: () => Promise<T>) => Promise<T | null>} guard runs beside other guards, or alone; alone gives null when that can't be had at once
 */

export const CHUNK = 65536;
export const DIGEST = 32;
/** Stands for a chunk of zeros, which nobody stores. */
export const ZEROS = "0".repeat(2 * DIGEST);

/** An error with a name that Python knows (hartwell.errors). */
export class StorageError extends Error {
  /**
   * @param {"StorageFull" | "StorageFailed" | "SnapshotCorrupt" | "SnapshotVersion"} name
   * @param {string} message
   */
  constructor(name, message) {
    super(message);
    this.name = name;
  }
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** @param {Uint8Array} bytes */
export function hex(bytes) {
  let text = "";
  for (const byte of bytes) text += HEX[byte];
  return text;
}

/** @param {string} text */
export function unhex(text) {
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

/**
 * Digests one after another, as their names.
 * @param {Uint8Array} refs
 */
export function names(refs) {
  const list = [];
  for (let at = 0; at + DIGEST <= refs.length; at += DIGEST) list.push(hex(refs.subarray(at, at + DIGEST)));
  return list;
}

/**
 * @param {Uint8Array} bytes not in shared memory
 * @returns {Promise<Uint8Array>}
 */
export async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", /** @type {BufferSource} */ (bytes)));
}
