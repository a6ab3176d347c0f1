/**
 * The store in Node: plain files below one folder.
 *
 *     chunks/ab/abcdef...      a frame of Zstandard
 *     records/KIND/NAME.json   {"name", "about", "text", "refs", "time"}
 *     locks/NAME               the process that holds it, and when that began
 *
 * A file is written aside, flushed and renamed: it is whole or not there.
 */

import { createHash } from "node:crypto";
import { link, mkdir, open, readFile, readdir, rename, rm, stat, statfs, utimes, writeFile } from "node:fs/promises";
import { rmSync } from "node:fs";
import path from "node:path";
import { threadId } from "node:worker_threads";

import { StorageError } from "../storage/store.mjs";

/** @typedef {import("../storage/store.mjs").Store} Store */

const YOUNG_MS = 10 * 60 * 1000; // a chunk this young may belong to a record that is still to be written
const WIDTH = 64; // files at work at a time
const LONGEST_NAME = 200; // of a file, in bytes: file systems take 255, and ours go on behind it
const LONG = "%."; // no encoded name begins so

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
  const digest = (/** @type {string} */ name) => createHash("sha256").update(name).digest("hex");
  // Names are people's: as a file name they lose what a file system could take amiss, and those too long for one are told by a digest.
  const record = (/** @type {string} */ kind, /** @type {string} */ name) => {
    const short = encodeURIComponent(name).replaceAll(".", "%2E");
    return path.join(folder, "records", kind, `${short.length > LONGEST_NAME ? LONG + digest(name) : short}.json`);
  };
  const lockFile = (/** @type {string} */ name) => path.join(folder, "locks", digest(name));

  /** @param {string} file */
  async function readRecord(file) {
    try {
      const { name, about, text, refs, time } = JSON.parse(await readFile(file, "utf8"));
      return {
        name: name === undefined ? "" : String(name), about: String(about), text: String(text),
        refs: Uint8Array.from(Buffer.from(refs, "base64")), time: Number(time),
      };
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
      writeWhole(record(kind, name), JSON.stringify({ name, about, time, refs: Buffer.from(refs).toString("base64"), text })),
    getRecord: (kind, name) => readRecord(record(kind, name)),
    dropRecord: (kind, name) => rm(record(kind, name)).then(() => true, (error) => (isAbsent(error) ? false : Promise.reject(inWords(error, name)))),
    records: async (kind) => {
      const at = path.join(folder, "records", kind);
      const files = (await namesIn(at)).filter((name) => name.endsWith(".json"));
      const read = await each(files, async (file) => {
        const kept = await readRecord(path.join(at, file)).catch(() => undefined);
        const name = file.startsWith(LONG) ? kept?.name ?? file : decodeURIComponent(file.slice(0, -5));
        return { name, about: kept?.about ?? "{}", time: kept?.time ?? 0 };
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
      const aside = `${file}.${process.pid}.${threadId}.${count++}`;
      const own = `${process.pid} ${await begun(process.pid)}\n`;
      try {
        // Linked when it is whole: nobody finds a lock that names no holder yet.
        await writeFile(aside, own);
        for (let tries = 0; tries < 3; tries++) {
          const free = await link(aside, file).then(() => true, (error) => error.code !== "EEXIST" && Promise.reject(inWords(error, file)));
          if (free) {
            const release = () => rmSync(file, { force: true });
            process.once("exit", release);
            return () => (process.removeListener("exit", release), release());
          }
          const held = await readFile(file, "utf8").catch(() => "");
          if (held && (await isHeld(held))) return null;
          // Its process ended without a word.  Moved, not removed: another one may have taken it since that look.
          const moved = `${aside}.old`;
          if (!(await rename(file, moved).then(() => true, () => false))) continue;
          const found = await readFile(moved, "utf8").catch(() => "");
          if (found !== held && (await isHeld(found))) await link(moved, file).catch(() => {});
          await rm(moved, { force: true });
        }
        return null;
      } finally {
        await rm(aside, { force: true });
      }
    },
    guard: (_, work) => work(), // see `drop`: the age of a chunk is the guard
  };
}

/** When a process began, where that can be told: numbers are given again, in containers soon. @param {number} pid */
async function begun(pid) {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? ""; // field 22 of proc(5), the 20th behind the name
}

/** @param {string} held what a lock's file says */
async function isHeld(held) {
  const [pid, since = ""] = held.trim().split(" ");
  if (!(Number(pid) > 0) || !isAlive(Number(pid))) return false;
  return !since || since === (await begun(Number(pid)));
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
