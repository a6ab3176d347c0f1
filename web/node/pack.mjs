/**
 * Writes a disk as an image of Hartwell's (docs/images.md): DISK.bin has its
 * chunks that are not zeros one after another, DISK.table each one's number and
 * SHA-256.
 */

import { open, writeFile } from "node:fs/promises";
import path from "node:path";

import { CHUNK, DIGEST, hex, sha256 } from "../storage/store.mjs";

/**
 * @param {any} disk of disks.mjs; nothing writes to it any more
 * @param {string} folder
 */
export async function packDisk(disk, folder) {
  await disk.commit();
  const { bytes, chunks } = disk.plan;
  const file = await open(path.join(folder, "disk.bin"), "w");
  /** @type {Uint8Array[]} */
  const entries = [];
  try {
    for (let chunk = 0; chunk < chunks; chunk++) {
      const found = await disk.current(chunk);
      if (!found || !found.some((/** @type {number} */ byte) => byte)) continue;
      const entry = new Uint8Array(4 + DIGEST);
      new DataView(entry.buffer).setUint32(0, chunk, true);
      entry.set(await sha256(found), 4);
      entries.push(entry);
      await file.write(found);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  const table = new Uint8Array(entries.length * (4 + DIGEST));
  entries.forEach((entry, i) => table.set(entry, i * entry.length));
  await writeFile(path.join(folder, "disk.table"), table);
  return { bytes, chunk: CHUNK, stored: entries.length, table: hex(await sha256(table)) };
}
