/**
 * Keeps Pyodide's snapshot in the browser's private file system (OPFS), where
 * 30 MB come back in some 30 ms.  One file, named by its key: what was made
 * of other versions is dropped when a new one is saved.
 */

/** @typedef {import("./python.mjs").Store} Store */

const FOLDER = "hartwell-python";

/** @returns {Promise<FileSystemDirectoryHandle>} */
async function folder() {
  const root = await navigator.storage.getDirectory();
  return root.getDirectoryHandle(FOLDER, { create: true });
}

/** @type {Store & {empty: () => Promise<boolean>}} */
export const browserStore = {
  /** Nothing was ever kept here: it is a first visit. */
  async empty() {
    for await (const _ of /** @type {any} */ (await folder()).keys()) return false;
    return true;
  },

  async load(key) {
    const handle = await (await folder()).getFileHandle(key).catch(() => null);
    if (!handle) return null;
    const file = await handle.getFile();
    return file.size ? new Uint8Array(await file.arrayBuffer()) : null; // empty: never finished
  },

  async save(key, bytes) {
    const directory = await folder();
    for await (const name of /** @type {any} */ (directory).keys()) {
      if (name !== key) await directory.removeEntry(name).catch(() => {});
    }
    const handle = await directory.getFileHandle(key, { create: true });
    // Written aside and put in place by close(): a torn write leaves nothing.
    const stream = await handle.createWritable();
    await stream.write(/** @type {any} */ (bytes));
    await stream.close();
  },

  async clear() {
    const root = await navigator.storage.getDirectory();
    await root.removeEntry(FOLDER, { recursive: true });
  },
};
