/**
 * A kept disk as a whole, while no machine has it: written as one file of a
 * format that other programs read, and rid of what its base has anyway.
 */

import { nameOf, openBase } from "./disks.mjs";
import { frozenChanges, storedOverlay } from "./overlay.mjs";
import { CHUNK, StorageError, ZEROS, hex, sha256 } from "./store.mjs";

/** @typedef {import("./keeper.mjs").Keeper} Keeper */
/** @typedef {{name: string | null, base: import("./disks.mjs").DiskPlan["base"], bytes: number}} Which name: the overlay's, or null */
/** @typedef {{write: (bytes: Uint8Array, offset: number) => Promise<void>, end: (size: number) => Promise<void>}} Sink */

// QEMU's docs/interop/qcow2.rst: version 2, clusters of a chunk each, reference counts of 16 bits.
const QCOW2_MAGIC = 0x514649fb;
const CLUSTER_BITS = 16;
const L2_ENTRIES = CHUNK / 8;
const COUNTS = CHUNK / 2; // in a block of reference counts
const COPIED = 1n << 63n;

/**
 * @template T
 * @param {Keeper} keeper
 * @param {Which} which
 * @param {(base: import("./base.mjs").Base, overlay: import("./overlay.mjs").Overlay | null) => Promise<T>} work
 */
async function opened(keeper, { name, base: plan, bytes }, work) {
  const base = await openBase(plan);
  try {
    return await work(base, name === null ? null : await storedOverlay(keeper, { kind: "disk", name, base: nameOf(plan), bytes, owner: null }));
  } finally {
    await base.close?.();
  }
}

/** @typedef {Pick<import("./overlay.mjs").Overlay, "chunks" | "has" | "read">} Changes */
/** @typedef {(done: number, total: number) => void} Report chunks */

/**
 * @param {Keeper} keeper
 * @param {Which} which
 * @param {string} format "raw" or "qcow2"
 * @param {Sink} sink writes never overlap, and go upwards
 * @param {Report} report
 */
export const exportDisk = (keeper, which, format, sink, report) =>
  opened(keeper, which, (base, overlay) => write(which.bytes, base, overlay, format, sink, report));

/**
 * The same of a disk that a machine has, as it is at the call: the machine goes on.
 *
 * @param {Keeper} keeper
 * @param {import("./disks.mjs").Disk} disk
 * @param {string} format
 * @param {Sink} sink
 * @param {Report} report
 * @param {() => void} taken called when what is written later makes no difference any more
 */
export async function exportRunning(keeper, disk, format, sink, report, taken) {
  const done = await keeper.store.guard(false, async () => {
    const storing = disk.freeze();
    taken();
    const changes = frozenChanges(keeper, await storing());
    await write(disk.plan.bytes, disk.base, changes, format, sink, report);
    return true;
  });
  if (!done) throw new StorageError("StorageFailed", "the store is being cleaned up; try again");
}

/**
 * @param {number} bytes of the disk
 * @param {import("./base.mjs").Base} base
 * @param {Changes | null} changes
 * @param {string} format
 * @param {Sink} sink
 * @param {Report} report
 */
async function write(bytes, base, changes, format, sink, report) {
  const zeros = new Map(changes?.chunks());
  const all = Array.from({ length: Math.ceil(bytes / CHUNK) }, (_, chunk) => chunk);
  const filled = all.filter((chunk) => !(zeros.get(chunk) ?? !base.has(chunk)));
  const layout = format === "qcow2" ? qcow2(bytes, filled) : null;
  if (layout) await sink.write(layout.head, 0);
  for (const [i, chunk] of filled.entries()) {
    const found = (changes?.has(chunk) ? await changes.read(chunk) : null) ?? (await base.read(chunk, 1))[0];
    if (found instanceof Error) throw found;
    const place = layout ? layout.data + i * CHUNK : chunk * CHUNK;
    await sink.write(layout ? found : found.subarray(0, bytes - chunk * CHUNK), place);
    if (i % 64 === 0) report(i, filled.length);
  }
  await sink.end(layout ? layout.data + filled.length * CHUNK : bytes);
  report(filled.length, filled.length);
}

/**
 * Everything of a qcow2 file that comes before its data: header, table and
 * blocks of reference counts, the two levels of the mapping.
 *
 * @param {number} bytes of the disk
 * @param {number[]} filled its chunks that have a cluster, upwards
 */
function qcow2(bytes, filled) {
  const l1Size = Math.ceil(bytes / CHUNK / L2_ENTRIES);
  const l1Clusters = Math.ceil((8 * l1Size) / CHUNK);
  const tables = [...new Set(filled.map((chunk) => Math.floor(chunk / L2_ENTRIES)))];
  const rest = 1 + l1Clusters + tables.length + filled.length; // beside the reference counts
  let [blocks, countClusters] = [1, 1];
  // Counts count their own clusters too.
  while (blocks * COUNTS < rest + blocks + countClusters) {
    blocks++;
    countClusters = Math.ceil((8 * blocks) / CHUNK);
  }
  const l1 = (1 + countClusters + blocks) * CHUNK;
  const l2 = l1 + l1Clusters * CHUNK;
  const data = l2 + tables.length * CHUNK;
  const head = new Uint8Array(data);
  const view = new DataView(head.buffer);
  view.setUint32(0, QCOW2_MAGIC);
  view.setUint32(4, 2);
  view.setUint32(20, CLUSTER_BITS);
  view.setBigUint64(24, BigInt(bytes));
  view.setUint32(36, l1Size);
  view.setBigUint64(40, BigInt(l1));
  view.setBigUint64(48, BigInt(CHUNK));
  view.setUint32(56, countClusters);
  for (let i = 0; i < blocks; i++) view.setBigUint64(CHUNK + 8 * i, BigInt((1 + countClusters + i) * CHUNK));
  for (let i = 0; i < rest + blocks + countClusters; i++) view.setUint16((1 + countClusters) * CHUNK + 2 * i, 1);
  tables.forEach((table, i) => view.setBigUint64(l1 + 8 * table, BigInt(l2 + i * CHUNK) | COPIED));
  const places = new Map(tables.map((table, i) => [table, l2 + i * CHUNK]));
  filled.forEach((chunk, i) => {
    const table = places.get(Math.floor(chunk / L2_ENTRIES)) ?? 0;
    view.setBigUint64(table + 8 * (chunk % L2_ENTRIES), BigInt(data + i * CHUNK) | COPIED);
  });
  return { head, data };
}

/**
 * Forgets changes that make no difference to the base: blocks that were
 * discarded where it has zeros, or written again as they were.
 *
 * @param {Keeper} keeper
 * @param {Which} which
 * @returns {Promise<number>} chunks
 */
export async function compactDisk(keeper, which) {
  const count = await opened(keeper, which, async (base, overlay) =>
    overlay?.forget?.(async (chunk, digest) => {
      if (!base.has(chunk)) return digest === ZEROS;
      if (base.digest) return base.digest(chunk) === digest;
      const [found] = await base.read(chunk, 1);
      if (found instanceof Error) return false; // it stays as it is
      return digest === (found.some((byte) => byte) ? hex(await sha256(found.slice())) : ZEROS);
    }),
  );
  await keeper.collect();
  return count ?? 0;
}

/**
 * Makes a disk larger: what it is when a machine has it next.
 *
 * @param {Keeper} keeper
 * @param {Which} which
 */
export const growDisk = (keeper, which) => opened(keeper, which, async (_, overlay) => overlay?.commit([]));

/** Collects what is written as a Blob. @returns {Sink & {blob: () => Blob}} */
export function blobSink() {
  /** @type {Blob[]} */
  const parts = [];
  let at = 0;
  const fill = (/** @type {number} */ to) => {
    for (; at < to; at += Math.min(1 << 20, to - at)) parts.push(new Blob([new Uint8Array(Math.min(1 << 20, to - at))]));
  };
  return {
    write: async (bytes, offset) => {
      fill(offset);
      parts.push(new Blob([/** @type {any} */ (bytes)]));
      at += bytes.length;
    },
    end: async (size) => fill(size),
    blob: () => new Blob(parts, { type: "application/octet-stream" }),
  };
}
