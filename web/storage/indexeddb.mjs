/**
 * The store in a browser: IndexedDB alone.
 *
 * Every write asks for strict durability: its transaction completes when the
 * bytes are on disk, so what a record names is there whenever the record is.
 */

import { StorageError } from "./store.mjs";

/** @typedef {import("./store.mjs").Store} Store */
/** @typedef {import("./store.mjs").Kept} Kept */

const NAME = "hartwell";
const VERSION = 1;
const GUARD = "hartwell-storage";
/**
 * Bytes of a chunk's value; what is left lies under the key with BEHIND.  Chromium makes a file
 * of each value above 64 KiB, which a chunk of noise is: twice the time to write, ten times to read.
 */
const PART = 60_000;
const BEHIND = "+";

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(inWords(request.error));
  });
}

/** @param {DOMException | null} error */
function inWords(error) {
  if (error?.name === "QuotaExceededError") {
    return new StorageError(
      "StorageFull",
      "the browser gives this site no more storage; what was stored is untouched. Delete sleeping machines that you no longer need, or free disk space",
    );
  }
  return new StorageError("StorageFailed", `IndexedDB: ${error?.name ?? "AbortError"}: ${error?.message ?? "the transaction was aborted"}`);
}

/**
 * @param {Uint8Array} bytes
 * @param {Uint8Array | undefined} rest
 */
function joined(bytes, rest) {
  const whole = new Uint8Array(bytes.length + (rest?.length ?? 0)); // without it a wake says that the chunk is damaged
  whole.set(bytes);
  if (rest) whole.set(rest, bytes.length);
  return whole;
}

/** @returns {Promise<IDBDatabase>} */
function open() {
  const request = indexedDB.open(NAME, VERSION);
  request.onupgradeneeded = () => {
    const database = request.result;
    for (const name of ["chunks", "sizes", "records", "abouts"]) database.createObjectStore(name);
  };
  return settled(request);
}

/** @returns {Promise<Store>} */
export async function indexedDbStore() {
  const database = await open();
  // A newer page wants another version: it shall not wait for this one.
  database.onversionchange = () => database.close();

  /**
   * @param {string[]} stores
   * @param {(...stores: IDBObjectStore[]) => void} work
   * @returns {Promise<void>} settled when the transaction is on disk
   */
  function write(stores, work) {
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(stores, "readwrite", { durability: "strict" });
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(inWords(transaction.error));
      work(...stores.map((name) => transaction.objectStore(name)));
    });
  }

  /**
   * @param {string} store
   * @param {(store: IDBObjectStore) => IDBRequest[]} work
   * @returns {Promise<any[]>}
   */
  function read(store, work) {
    return Promise.all(work(database.transaction(store).objectStore(store)).map(settled));
  }

  /** @param {string} kind */
  const ofKind = (kind) => IDBKeyRange.bound([kind], [kind, []]);

  return {
    sizes: (keys) => read("sizes", (store) => keys.map((key) => store.get(key))),
    put: (chunks) =>
      write(["chunks", "sizes"], (store, sizes) => {
        for (const [key, bytes] of chunks) {
          store.put(bytes.length < PART ? bytes : bytes.slice(0, PART), key);
          if (bytes.length >= PART) store.put(bytes.slice(PART), key + BEHIND);
          sizes.put(bytes.length, key);
        }
      }),
    get: async (keys) => {
      const found = await read("chunks", (store) => keys.map((key) => store.get(key)));
      const cut = keys.filter((_, i) => found[i]?.length === PART);
      if (!cut.length) return found;
      const rest = await read("chunks", (store) => cut.map((key) => store.get(key + BEHIND)));
      const whole = new Map(cut.map((key, i) => [key, rest[i]]));
      return found.map((bytes, i) => (bytes?.length === PART ? joined(bytes, whole.get(keys[i])) : bytes));
    },
    drop: (keys) =>
      write(["chunks", "sizes"], (store, sizes) => {
        for (const key of keys) {
          store.delete(key);
          store.delete(key + BEHIND);
          sizes.delete(key);
        }
      }),
    keys: async () => /** @type {string[]} */ ((await read("sizes", (store) => [store.getAllKeys()]))[0]),
    putRecord: (kind, name, { about, text, refs, time }) =>
      write(["records", "abouts"], (records, abouts) => {
        records.put({ text, refs }, [kind, name]);
        abouts.put({ about, time }, [kind, name]);
      }),
    getRecord: async (kind, name) => {
      const [[record], [about]] = await Promise.all([
        read("records", (store) => [store.get([kind, name])]),
        read("abouts", (store) => [store.get([kind, name])]),
      ]);
      return record && about && { ...record, ...about };
    },
    dropRecord: async (kind, name) => {
      const [there] = await read("abouts", (store) => [store.count([kind, name])]);
      await write(["records", "abouts"], (records, abouts) => {
        records.delete([kind, name]);
        abouts.delete([kind, name]);
      });
      return there > 0;
    },
    records: async (kind) => {
      const [keys, values] = await read("abouts", (store) => [store.getAllKeys(ofKind(kind)), store.getAll(ofKind(kind))]);
      return keys.map((/** @type {string[]} */ key, /** @type {number} */ i) => ({ name: key[1], ...values[i] }));
    },
    refs: async () => (await read("records", (store) => [store.getAll()]))[0].map((/** @type {Kept} */ { refs }) => refs),
    estimate: async () => {
      const { usage = 0, quota = 0 } = await navigator.storage.estimate();
      return { used: usage, quota, lasting: await navigator.storage.persisted().catch(() => false) };
    },
    lock: (name) =>
      new Promise((resolve, reject) => {
        navigator.locks
          .request(`hartwell ${name}`, { ifAvailable: true }, (lock) => {
            if (!lock) return resolve(null);
            return new Promise((release) => resolve(() => release(undefined)));
          })
          .catch(reject);
      }),
    guard: (alone, work) =>
      /** @type {any} */ (
        navigator.locks.request(GUARD, alone ? { ifAvailable: true } : { mode: "shared" }, (lock) => (lock ? work() : null))
      ),
  };
}

