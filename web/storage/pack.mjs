/**
 * A snapshot in one file: docs/snapshot-format.md, "One file".
 *
 *      0  "HARTWELL"
 *      8  u32 format, 1
 *     12  u32 bytes of the manifest
 *     16  u32 number of chunks
 *     20  u32 0
 *     24  SHA-256 of manifest and index
 *     56  the manifest, UTF-8
 *         the index: for each chunk its digest (32 bytes), u64 offset in the file, u32 bytes, u32 0
 *         the chunks' frames, in the order in which a wake wants them
 *
 * All numbers are little endian.
 */

import { askRange } from "./ranges.mjs";
import { DIGEST, StorageError, hex, names, sha256, unhex } from "./store.mjs";

const MAGIC = "HARTWELL";
const FORMAT = 1;
const HEADER = 56;
const ENTRY = 48;
const LARGEST_MANIFEST = 64 << 20;
const MOST_CHUNKS = 1 << 17; // 8 GiB of them
const LARGEST_FRAME = 1 << 17;
const TOGETHER = 4 << 20; // bytes that are read at once
const BATCH = 64;

/** @typedef {(offset: number, count: number) => Promise<Uint8Array>} ReadAt shorter at the end */

/**
 * @typedef {object} Pack
 * @property {string} text the manifest
 * @property {string[]} keys of its chunks
 * @property {number} bytes of them all, as stored
 * @property {import("./keeper.mjs").Source} source
 */

/**
 * Opens a file from anywhere: nothing in it is believed before it is checked.
 *
 * @param {ReadAt} read
 * @param {string} name for messages
 * @param {boolean} [far] it is read over a network
 * @returns {Promise<Pack>}
 */
export async function openPack(read, name, far = false) {
  const bad = (/** @type {string} */ what) => new StorageError("SnapshotCorrupt", `${name}: ${what}`);
  const head = await read(0, HEADER);
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  if (head.length < HEADER || new TextDecoder("latin1").decode(head.subarray(0, 8)) !== MAGIC) {
    throw bad("it is no file of a sleeping machine (it does not begin with HARTWELL)");
  }
  const [format, manifest, count] = [8, 12, 16].map((at) => view.getUint32(at, true));
  if (format !== FORMAT) {
    throw new StorageError("SnapshotVersion", `${name}: the file is in format ${format}, this Hartwell reads format ${FORMAT}`);
  }
  if (manifest > LARGEST_MANIFEST || count > MOST_CHUNKS) throw bad(`a manifest of ${manifest} bytes and ${count} chunks are more than any real one has`);
  const body = await read(HEADER, manifest + ENTRY * count);
  if (body.length !== manifest + ENTRY * count) throw bad(`it is cut short: ${body.length} of ${manifest + ENTRY * count} bytes of its manifest and index are there`);
  if (hex(await sha256(body.slice())) !== hex(head.subarray(24, 56))) throw bad("its manifest or index is damaged (their SHA-256 is another)");
  /** @type {Map<string, {at: number, size: number}>} */
  const places = new Map();
  const index = new DataView(body.buffer, body.byteOffset + manifest);
  for (let i = 0; i < count; i++) {
    const key = hex(body.subarray(manifest + ENTRY * i, manifest + ENTRY * i + DIGEST));
    const [at, size] = [Number(index.getBigUint64(ENTRY * i + 32, true)), index.getUint32(ENTRY * i + 40, true)];
    if (size > LARGEST_FRAME || at < HEADER || at > Number.MAX_SAFE_INTEGER - size) throw bad(`chunk ${key.slice(0, 16)} is said to be at ${at}, ${size} bytes long`);
    places.set(key, { at, size });
  }

  /** @param {string[]} keys */
  async function get(keys) {
    /** @type {(Uint8Array | undefined)[]} */
    const frames = keys.map(() => undefined);
    const wanted = keys.map((key, i) => ({ i, place: places.get(key) })).filter(({ place }) => place);
    wanted.sort((a, b) => /** @type {any} */ (a.place).at - /** @type {any} */ (b.place).at);
    for (let first = 0; first < wanted.length; ) {
      const from = /** @type {any} */ (wanted[first].place).at;
      let end = from;
      let next = first;
      // Neighbours are read together; what lies between two of them costs less than another request.
      while (next < wanted.length) {
        const { at, size } = /** @type {{at: number, size: number}} */ (wanted[next].place);
        if (at > end + 65536 || at + size - from > TOGETHER) break;
        end = Math.max(end, at + size);
        next++;
      }
      const bytes = await read(from, end - from);
      for (; first < next; first++) {
        const { at, size } = /** @type {{at: number, size: number}} */ (wanted[first].place);
        frames[wanted[first].i] = bytes.slice(at - from, at - from + size); // short where the file is cut: no frame then
      }
    }
    return frames;
  }

  const text = new TextDecoder().decode(body.subarray(0, manifest));
  const bytes = [...places.values()].reduce((sum, { size }) => sum + size, 0);
  return { text, keys: [...places.keys()], bytes, source: { name, get, far } };
}

/**
 * @param {string} url
 * @returns {ReadAt} by range requests; a server that knows none gives all at once
 */
export function readUrl(url) {
  /** @type {Uint8Array | null} */
  let whole = null;
  return async (offset, count) => {
    if (whole) return whole.subarray(offset, offset + count);
    const { status, bytes } = await askRange(url, offset, count, [200, 206]);
    if (status === 416 || status === 206) return bytes;
    if (status !== 200) throw new StorageError("StorageFailed", `${url}: the server answered ${status}`);
    whole = bytes;
    return whole.subarray(offset, offset + count);
  };
}

/**
 * @param {Blob} blob
 * @returns {ReadAt}
 */
export function readBlob(blob) {
  return async (offset, count) => new Uint8Array(await blob.slice(offset, offset + count).arrayBuffer());
}

/**
 * Writes a snapshot into one file.
 *
 * @param {import("./store.mjs").Store} store
 * @param {string} text the manifest
 * @param {Uint8Array} refs digests in the order in which a wake wants them
 * @param {(bytes: Uint8Array) => Promise<void>} write appends
 * @param {(done: number, total: number) => void} report bytes
 */
export async function writePack(store, text, refs, write, report) {
  const manifest = new TextEncoder().encode(text);
  const keys = [...new Set(names(refs))];
  const sizes = await store.sizes(keys);
  const body = new Uint8Array(manifest.length + ENTRY * keys.length);
  const index = new DataView(body.buffer, manifest.length);
  body.set(manifest);
  let at = HEADER + body.length;
  for (const [i, key] of keys.entries()) {
    const size = sizes[i];
    if (size === undefined) throw missing(key);
    body.set(unhex(key), manifest.length + ENTRY * i);
    index.setBigUint64(ENTRY * i + 32, BigInt(at), true);
    index.setUint32(ENTRY * i + 40, size, true);
    at += size;
  }
  const head = new Uint8Array(HEADER);
  const view = new DataView(head.buffer);
  head.set(new TextEncoder().encode(MAGIC));
  view.setUint32(8, FORMAT, true);
  view.setUint32(12, manifest.length, true);
  view.setUint32(16, keys.length, true);
  head.set(await sha256(body), 24);
  await write(head);
  await write(body);
  let done = HEADER + body.length;
  for (let first = 0; first < keys.length; first += BATCH) {
    const wanted = keys.slice(first, first + BATCH);
    for (const [i, frame] of (await store.get(wanted)).entries()) {
      if (!frame || frame.length !== sizes[first + i]) throw missing(wanted[i]);
      await write(frame);
      done += frame.length;
    }
    report(done, at);
  }
}

/** @param {string} key */
function missing(key) {
  return new StorageError("SnapshotCorrupt", `chunk ${key.slice(0, 16)} is missing in the store, or damaged`);
}

/**
 * Takes a file's chunks into the store, each held to its digest.
 *
 * @param {import("./keeper.mjs").Keeper} keeper
 * @param {Pick<Pack, "keys" | "source">} pack
 * @param {(done: number, total: number) => void} report chunks
 */
export async function importPack(keeper, { keys, source }, report) {
  const known = await keeper.store.sizes(keys);
  const fresh = keys.filter((_, i) => known[i] === undefined);
  for (let first = 0; first < fresh.length; first += BATCH) {
    const wanted = fresh.slice(first, first + BATCH);
    const frames = await source.get(wanted);
    await Promise.all(wanted.map((key, i) => keeper.verify(key, frames[i], source)));
    await keeper.store.put(wanted.map((key, i) => [key, /** @type {Uint8Array} */ (frames[i])]));
    report(Math.min(first + BATCH, fresh.length), fresh.length);
  }
}
