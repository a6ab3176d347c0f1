/**
 * What a disk is made of before anybody wrote to it: bytes of a file or an
 * address, read in ranges as they are needed.
 *
 *     raw     a raw image: nothing vouches for its bytes
 *     chunks  an image of Hartwell's (docs/images.md): chunks of zeros are left
 *             out, each other one is held to its SHA-256
 *     zeros   an empty disk
 */

import { askRange } from "./ranges.mjs";
import { CHUNK, DIGEST, StorageError, hex, sha256 } from "./store.mjs";

/**
 * @typedef {object} Base
 * @property {(chunk: number) => boolean} has false: it is all zeros
 * @property {(chunk: number, most: number) => number} run how many chunks from this one on, at most `most`, are one read
 * @property {(chunk: number, count: number) => Promise<(Uint8Array | Error)[]>} read chunks of a run, each of CHUNK bytes
 * @property {(chunk: number) => string} [digest] of a chunk that it has, where that is known without reading it
 * @property {() => Promise<void>} [close]
 */

/** @typedef {((offset: number, count: number) => Promise<Uint8Array>) & {close?: () => Promise<void>}} ReadRange exactly `count` bytes, or an error */

/**
 * @param {string} url of a file (in Node) or of a server
 * @returns {Promise<ReadRange>}
 */
export async function rangeReader(url) {
  if (url.startsWith("file:")) {
    const { open } = await import("node:fs/promises");
    const handle = await open(new URL(url), "r");
    const read = async (/** @type {number} */ offset, /** @type {number} */ count) => {
      const bytes = new Uint8Array(count);
      const { bytesRead } = await handle.read(bytes, 0, count, offset);
      if (bytesRead !== count) throw new StorageError("StorageFailed", `${url}: it ends at byte ${offset + bytesRead}, in the middle of the disk`);
      return bytes;
    };
    return Object.assign(read, { close: () => handle.close() });
  }
  return async (offset, count) => {
    const { status, bytes } = await askRange(url, offset, count);
    if (status !== 206) {
      throw new StorageError("StorageFailed", `${url}: the server answered ${status} to a request for a byte range, not 206`);
    }
    if (bytes.length !== count) throw new StorageError("StorageFailed", `${url}: ${bytes.length} bytes came of ${count} from ${offset} on`);
    return bytes;
  };
}

/** @type {Base} */
export const zeros = {
  has: () => false,
  run: () => 1,
  read: async () => [new Uint8Array(CHUNK)],
};

/**
 * @param {ReadRange} read
 * @param {number} size bytes
 * @returns {Base}
 */
export function rawBase(read, size) {
  return {
    close: read.close,
    has: (chunk) => chunk * CHUNK < size,
    run: (chunk, most) => Math.max(1, Math.min(most, Math.ceil(size / CHUNK) - chunk)),
    read: async (chunk, count) => {
      const begin = chunk * CHUNK;
      const bytes = await read(begin, Math.min(count * CHUNK, size - begin));
      return Array.from({ length: count }, (_, i) => {
        const part = bytes.subarray(i * CHUNK, (i + 1) * CHUNK);
        if (part.length === CHUNK) return part;
        const whole = new Uint8Array(CHUNK); // the last one of a grown or an odd disk
        whole.set(part);
        return whole;
      });
    },
  };
}

/**
 * @param {ReadRange} read of the file of chunks
 * @param {Uint8Array} table for each chunk that is not zeros, in their order: its number (u32, little-endian), its SHA-256
 * @param {string} name for messages
 * @returns {Base}
 */
export function chunkBase(read, table, name) {
  const entry = 4 + DIGEST;
  if (table.length % entry) throw new StorageError("SnapshotCorrupt", `${name}: its table of ${table.length} bytes is no multiple of ${entry}`);
  const view = new DataView(table.buffer, table.byteOffset, table.length);
  const numbers = Array.from({ length: table.length / entry }, (_, i) => view.getUint32(i * entry, true));
  const index = new Map(numbers.map((chunk, i) => [chunk, i]));
  if (index.size !== numbers.length) throw new StorageError("SnapshotCorrupt", `${name}: its table names a chunk twice`);
  /** @param {number} i which entry */
  const digest = (i) => hex(table.subarray(i * entry + 4, (i + 1) * entry));
  return {
    close: read.close,
    has: (chunk) => index.has(chunk),
    digest: (chunk) => digest(index.get(chunk) ?? 0),
    run: (chunk, most) => {
      const first = index.get(chunk) ?? 0;
      let count = 1;
      while (count < most && numbers[first + count] === chunk + count) count++;
      return count;
    },
    read: async (chunk, count) => {
      const first = index.get(chunk) ?? 0;
      const bytes = await read(first * CHUNK, count * CHUNK);
      return Promise.all(
        Array.from({ length: count }, async (_, i) => {
          const part = bytes.subarray(i * CHUNK, (i + 1) * CHUNK);
          const wanted = digest(first + i);
          const found = hex(await sha256(part.slice()));
          if (found === wanted) return part;
          return new StorageError(
            "SnapshotCorrupt",
            `${name}: chunk ${chunk + i} is damaged: the SHA-256 of its bytes is ${found.slice(0, 16)}..., not ${wanted.slice(0, 16)}...`,
          );
        }),
      );
    },
  };
}
