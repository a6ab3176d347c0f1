/**
 * The store in Node: plain files below one folder.
 *
 *     chunks/ab/abcdef...      a frame of Zstandard
 *     records/KIND/NAME.json   {"about", "text", "refs", "time"}
 *     locks/NAME               the process that holds it
 *
 * A file is written aside, flushed and renamed: it is whole or not there.
 */

import { createHash } from "node:crypto";
import { mkdir, open, readFile, readdir, rename, rm, stat, statfs, utimes } from "node:fs/promises";
import { rmSync } from "node:fs";
import path from "node:path";
import { threadId } from "node:worker_threads";

import { StorageError } from "../storage/store.mjs";

/** @typedef {import("../storage/store.mjs").Store} Store */

const YOUNG_MS = 10 * 60 * 1000; // a chunk this young may belong to a record that is still to be written
const WIDTH = 64; // files at work at a time

/** @param {any} error */
const isAbsent = (error) => error.code === "ENOENT" || error.code === "ENOTDIR";

/**
 * @template A, B
 * @param {A[]} list
 * @param {(item: A) => Promise<B>} work
 */
async function each(list, work) {
  /** @type {B[]} */
  const results = [];
  for (let at = 0; at < list.length; at += WIDTH) {
    results.push(...(await Promise.all(list.slice(at, at + WIDTH).map(work))));
  }
  return results;
}

let count = 0;

/**
 * @param {string} file
 * @param {Uint8Array | string} data
 */
async function writeWhole(file, data) {
  await mkdir(path.dirname(file), { recursive: true });
  const aside = `${file}.${process.pid}.${threadId}.${count++}.part`;
  try {
    const handle = await open(aside, "w");
    try {
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(aside, file);
  } catch (error) {
    await rm(aside, { force: true });
    throw inWords(error, file);
  }
}

/**
 * @param {any} error
 * @param {string} file
 */
function inWords(error, file) {
  if (["ENOSPC", "EDQUOT"].includes(error.code)) {
    return new StorageError("StorageFull", `the disk is full (${file}); what was stored is untouched. Free some space, or set HARTWELL_DATA to a folder elsewhere`);
  }
  return new StorageError("StorageFailed", `${file}: ${error.message}`);
}

/**
 * Writes a file piece by piece; it is whole or not there.
 *
 * @param {string} file
 * @param {(handle: import("node:fs/promises").FileHandle) => Promise<void>} work
 */
async function writeBy(file, work) {
  const aside = `${file}.${process.pid}.part`;
  const handle = await open(aside, "w").catch((error) => Promise.reject(inWords(error, file)));
  try {
    try {
      await work(handle);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(aside, file);
  } catch (error) {
    await rm(aside, { force: true });
    throw error instanceof StorageError ? error : inWords(error, file);
  }
}

/**
 * @param {string} file whole or not there
 * @param {(write: (bytes: Uint8Array) => Promise<void>) => Promise<void>} work
 */
export function writeAside(file, work) {
  return writeBy(file, (handle) => work(async (bytes) => void (await handle.write(bytes))));
}

/**
 * As writeAside, with gaps that take no room on file systems that know holes.
 * @param {string} file
 * @param {(sink: import("../storage/export.mjs").Sink) => Promise<void>} work
 */
export function writeSparse(file, work) {
  return writeBy(file, (handle) =>
    work({
      write: async (bytes, offset) => void (await handle.write(bytes, 0, bytes.length, offset)),
      end: (size) => handle.truncate(size),
    }),
  );
}

/**
 * @param {string} file
 * @returns {Promise<import("../storage/pack.mjs").ReadAt>}
 */
export async function readFileAt(file) {
  const handle = await open(file, "r").catch((error) => Promise.reject(inWords(error, file)));
  return async (offset, count) => {
    const { size } = await handle.stat();
    const bytes = new Uint8Array(Math.max(0, Math.min(count, size - offset)));
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, offset);
    return bytes.subarray(0, bytesRead);
  };
}

/**
 * @param {string} folder
 * @returns {Store}
 */
export function fileStore(folder) {
  const chunk = (/** @type {string} */ key) => path.join(folder, "chunks", key.slice(0, 2), key);
  // Names are people's: as a file name they lose what a file system could take amiss.
  const record = (/** @type {string} */ kind, /** @type {string} */ name) =>
    path.join(folder, "records", kind, `${encodeURIComponent(name).replaceAll(".", "%2E")}.json`);
  const lockFile = (/** @type {string} */ name) => path.join(folder, "locks", createHash("sha256").update(name).digest("hex"));

  /** @param {string} file */
  async function readRecord(file) {
    try {
      const { about, text, refs, time } = JSON.parse(await readFile(file, "utf8"));
      return { about: String(about), text: String(text), refs: Uint8Array.from(Buffer.from(refs, "base64")), time: Number(time) };
    } catch (error) {
      if (isAbsent(error)) return undefined;
      if (error instanceof SyntaxError || error instanceof TypeError) {
        throw new StorageError("SnapshotCorrupt", `${file} is damaged: it is no record (${error.message})`);
      }
      throw inWords(error, file);
    }
  }

  /** @param {string} at */
  const namesIn = (at) => readdir(at).catch((error) => (isAbsent(error) ? [] : Promise.reject(inWords(error, at))));

  return {
    sizes: (keys) =>
      each(keys, async (key) => {
        const now = new Date();
        // Its time says that somebody is about to name it: see `drop`.
        return utimes(chunk(key), now, now).then(async () => (await stat(chunk(key))).size, () => undefined);
      }),
    put: async (chunks) => void (await each(chunks, ([key, bytes]) => writeWhole(chunk(key), bytes))),
    get: (keys) =>
      each(keys, async (key) =>
        readFile(chunk(key)).catch((error) => (isAbsent(error) ? undefined : Promise.reject(inWords(error, chunk(key))))),
      ),
    drop: async (keys) =>
      void (await each(keys, async (key) => {
        const facts = await stat(chunk(key)).catch(() => null);
        if (facts && Date.now() - facts.mtimeMs > YOUNG_MS) await rm(chunk(key), { force: true });
      })),
    keys: async () => {
      const folders = await namesIn(path.join(folder, "chunks"));
      const lists = await each(folders, (name) => namesIn(path.join(folder, "chunks", name)));
      return lists.flat().filter((name) => /^[0-9a-f]{64}$/.test(name));
    },
    putRecord: (kind, name, { about, text, refs, time }) =>
      writeWhole(record(kind, name), JSON.stringify({ about, time, refs: Buffer.from(refs).toString("base64"), text })),
    getRecord: (kind, name) => readRecord(record(kind, name)),
    dropRecord: (kind, name) => rm(record(kind, name)).then(() => true, (error) => (isAbsent(error) ? false : Promise.reject(inWords(error, name)))),
    records: async (kind) => {
      const at = path.join(folder, "records", kind);
      const files = (await namesIn(at)).filter((name) => name.endsWith(".json"));
      const read = await each(files, async (file) => {
        const kept = await readRecord(path.join(at, file)).catch(() => undefined);
        return { name: decodeURIComponent(file.slice(0, -5)), about: kept?.about ?? "{}", time: kept?.time ?? 0 };
      });
      return read;
    },
    refs: async () => {
      const kinds = await namesIn(path.join(folder, "records"));
      const files = await each(kinds, async (kind) => (await namesIn(path.join(folder, "records", kind))).map((name) => path.join(folder, "records", kind, name)));
      // A damaged record stops a collection: what it needed is not known.
      const kept = await each(files.flat().filter((name) => name.endsWith(".json")), readRecord);
      return kept.filter((one) => one !== undefined).map((one) => one.refs);
    },
    estimate: async () => {
      await mkdir(folder, { recursive: true });
      const { bavail, bsize } = await statfs(folder);
      return { used: 0, quota: bavail * bsize, lasting: true };
    },
    lock: async (name) => {
      const file = lockFile(name);
      await mkdir(path.dirname(file), { recursive: true });
      for (let tries = 0; tries < 3; tries++) {
        try {
          const handle = await open(file, "wx");
          await handle.writeFile(`${process.pid}\n`);
          await handle.close();
          const release = () => rmSync(file, { force: true });
          process.once("exit", release);
          return () => (process.removeListener("exit", release), release());
        } catch (error) {
          if (/** @type {any} */ (error).code !== "EEXIST") throw inWords(error, file);
          const pid = Number(await readFile(file, "utf8").catch(() => ""));
          if (pid && isAlive(pid)) return null;
          await rm(file, { force: true }); // its process ended without a word
        }
      }
      return null;
    },
    guard: (_, work) => work(), // see `drop`: the age of a chunk is the guard
  };
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {any} */ (error).code === "EPERM";
  }
}
