/**
 * Folders that only JavaScript reaches, for the guest to share: the origin's
 * private files (OPFS) and folders that the person picked (File System Access).
 *
 * hartwell.ninep.handles calls `call(method, path, ...)`; the answer is bytes,
 * or an object, which has `error` (a name of Linux's) when it was refused.
 *
 * https://fs.spec.whatwg.org/  https://wicg.github.io/file-system-access/
 */

/** Linux's names for what the specifications throw. @type {Record<string, string>} */
const ERRORS = {
  NotFoundError: "ENOENT",
  TypeMismatchError: "ENOTDIR",
  InvalidModificationError: "ENOTEMPTY",
  NoModificationAllowedError: "EBUSY",
  NotAllowedError: "EACCES",
  SecurityError: "EACCES",
  QuotaExceededError: "ENOSPC",
  TypeError: "EINVAL",
};

const OPEN_AT_ONCE = 64; // files kept open for reading and writing

class Refusal extends Error {
  /** @param {string} code */
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/** The origin's own folder for files that should outlast the page; null where there is none. */
export async function savedFolder() {
  try {
    const root = await navigator.storage.getDirectory();
    return new HandleFolder(await root.getDirectoryHandle("files", { create: true }));
  } catch {
    return null; // private windows of some browsers
  }
}

/** One file while it is used. In the origin's own folder it can be read and written at once; elsewhere
 * what is written shows only once the writer is closed.  Requests come side by side, and are served one
 * after the other: two that ask for access shut each other out, and of two writers one's bytes are lost. */
class OpenFile {
  /** @type {Promise<any>} */
  #last = Promise.resolve();

  /** @param {any} handle */
  constructor(handle) {
    this.handle = handle;
    /** @type {any} */
    this.access = null;
    /** @type {any} */
    this.writer = null;
    /** Milliseconds since 1970 of what was written here and is not on the disk yet. @type {number | undefined} */
    this.written = undefined;
  }

  /**
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  #alone(work) {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {}); // who asked for it hears of it
    return done;
  }

  /** Asks for fast access, which a picked folder does not have. */
  async #fast() {
    if (this.access || this.slow) return this.access;
    try {
      this.access = await this.handle.createSyncAccessHandle();
    } catch (error) {
      if (/** @type {Error} */ (error).name === "NoModificationAllowedError") throw error; // another tab has it
      this.slow = true;
    }
    return this.access;
  }

  async #slowWriter() {
    this.writer ??= await this.handle.createWritable({ keepExistingData: true });
    return this.writer;
  }

  /** @returns {Promise<{size: number, modified: number}>} */
  facts = () =>
    this.#alone(async () => {
      if (this.writer) await this.#flush();
      const file = await this.handle.getFile(); // its size is known before what was written is on the disk
      return { size: this.access ? this.access.getSize() : file.size, modified: this.written ?? file.lastModified };
    });

  /**
   * @param {number} offset
   * @param {number} count
   */
  read = (offset, count) =>
    this.#alone(async () => {
      const access = await this.#fast();
      if (access) {
        const bytes = new Uint8Array(Math.max(0, Math.min(count, access.getSize() - offset)));
        const got = bytes.length ? access.read(bytes, { at: offset }) : 0;
        return bytes.subarray(0, got);
      }
      await this.#flush();
      const file = await this.handle.getFile();
      return new Uint8Array(await file.slice(offset, offset + count).arrayBuffer());
    });

  /**
   * @param {number} offset
   * @param {Uint8Array} data
   */
  write = (offset, data) =>
    this.#alone(async () => {
      this.written = Date.now();
      const access = await this.#fast();
      if (access) {
        if (access.write(data, { at: offset }) !== data.length) throw new Refusal("ENOSPC");
        return;
      }
      const writer = await this.#slowWriter();
      const size = (await this.handle.getFile()).size;
      if (offset > size && offset > (this.end ?? 0)) await writer.write({ type: "truncate", size: offset });
      await writer.write({ type: "write", position: offset, data });
      this.end = Math.max(this.end ?? size, offset + data.length);
    });

  /** @param {number} size */
  truncate = (size) =>
    this.#alone(async () => {
      this.written = Date.now();
      const access = await this.#fast();
      if (access) access.truncate(size);
      else await (await this.#slowWriter()).truncate(size);
    });

  /** To the disk, and lets go of the file. */
  flush = () => this.#alone(() => this.#flush());

  async #flush() {
    const { access, writer } = this;
    this.access = this.writer = null;
    this.end = this.written = undefined;
    if (access) {
      access.flush();
      access.close();
    }
    if (writer) await writer.close();
  }
}

export class HandleFolder {
  /** @type {Map<string, OpenFile>} */
  #open = new Map();
  /** Those that are looked for. @type {Map<string, Promise<OpenFile>>} */
  #opening = new Map();
  /** Numbers that tell files apart, as inodes do. @type {Map<string, number>} */
  #numbers = new Map();
  #next = 1;

  /** @param {FileSystemDirectoryHandle} root */
  constructor(root) {
    this.root = /** @type {any} */ (root);
  }

  /**
   * @param {string} method
   * @param {string} path parts with "/" between them, "" for the folder itself
   * @param {...any} rest
   */
  call = async (method, path, ...rest) => {
    try {
      return (await /** @type {any} */ (this)[method](path, ...rest)) ?? {};
    } catch (error) {
      const { name, code } = /** @type {any} */ (error);
      return { error: error instanceof Refusal ? code : (ERRORS[name] ?? "EIO") };
    }
  };

  /** @param {string} path */
  async stat(path) {
    const handle = await this.#find(path);
    let number = this.#numbers.get(path);
    if (!number) this.#numbers.set(path, (number = this.#next++));
    if (handle.kind === "directory") return { folder: true, size: 0, modified: 0, number };
    const open = this.#open.get(path);
    if (open) return { folder: false, ...(await open.facts()), number };
    const file = await handle.getFile();
    return { folder: false, size: file.size, modified: file.lastModified, number };
  }

  /** @param {string} path */
  async list(path) {
    const names = [];
    for await (const name of (await this.#folder(path)).keys()) names.push(name);
    return { names };
  }

  /**
   * @param {string} path
   * @param {number} offset
   * @param {number} count
   */
  async read(path, offset, count) {
    return (await this.#file(path)).read(offset, count);
  }

  /**
   * @param {string} path
   * @param {number} offset
   * @param {Uint8Array} data
   */
  async write(path, offset, data) {
    await (await this.#file(path)).write(offset, data);
  }

  /**
   * @param {string} path
   * @param {number} size
   */
  async truncate(path, size) {
    await (await this.#file(path)).truncate(size);
  }

  /** @param {string} path */
  async flush(path) {
    const open = this.#open.get(path);
    this.#open.delete(path);
    await open?.flush();
  }

  /**
   * @param {string} path
   * @param {boolean} exclusive
   */
  async create(path, exclusive) {
    const [folder, name] = await this.#parent(path);
    if (exclusive && (await this.#exists(folder, name))) throw new Refusal("EEXIST");
    await folder.getFileHandle(name, { create: true }).catch(turn("TypeMismatchError", "EISDIR"));
  }

  /** @param {string} path */
  async make_folder(path) {
    const [folder, name] = await this.#parent(path);
    if (await this.#exists(folder, name)) throw new Refusal("EEXIST");
    await folder.getDirectoryHandle(name, { create: true });
  }

  /**
   * @param {string} path
   * @param {boolean} folderWanted
   */
  async remove(path, folderWanted) {
    const handle = await this.#find(path);
    if (folderWanted !== (handle.kind === "directory")) throw new Refusal(folderWanted ? "ENOTDIR" : "EISDIR");
    await this.#letGo(path);
    const [folder, name] = await this.#parent(path);
    await folder.removeEntry(name);
    this.#numbers.delete(path);
  }

  /**
   * @param {string} from
   * @param {string} to
   */
  async rename(from, to) {
    const handle = await this.#find(from);
    if (from === to) return; // a copy onto itself would be removed below
    await this.#letGo(from);
    await this.#letGo(to);
    const [folder, name] = await this.#parent(to);
    if (handle.kind === "directory" && (await this.#exists(folder, name))) throw new Refusal("EEXIST");
    if (!(await moved(handle, folder, name))) {
      const replaces = await this.#exists(folder, name);
      try {
        await copy(handle, folder, name);
      } catch (error) {
        if (!replaces) await folder.removeEntry(name, { recursive: true }).catch(() => {}); // half of it, or none
        throw error;
      }
      const [before, old] = await this.#parent(from);
      await before.removeEntry(old, { recursive: true });
    }
    this.#renumber(from, to);
  }

  async space() {
    const { quota = 0, usage = 0 } = await navigator.storage.estimate();
    return { quota, usage };
  }

  /** Closes what is open at `path` and below it. @param {string} path */
  async #letGo(path) {
    for (const open of [...this.#open.keys()]) {
      if (open === path || open.startsWith(`${path}/`)) await this.flush(open);
    }
  }

  /**
   * What was moved is what it was, and all below it; what it took the place of is gone.
   *
   * @param {string} from
   * @param {string} to
   */
  #renumber(from, to) {
    this.#numbers.delete(to);
    for (const [path, number] of [...this.#numbers]) {
      if (path !== from && !path.startsWith(`${from}/`)) continue;
      this.#numbers.delete(path);
      this.#numbers.set(to + path.slice(from.length), number);
    }
  }

  /** @param {string} path */
  async #file(path) {
    const file = this.#open.get(path);
    if (file) return file;
    let opening = this.#opening.get(path);
    if (!opening) {
      opening = this.#opened(path).finally(() => this.#opening.delete(path));
      this.#opening.set(path, opening);
    }
    return opening;
  }

  /** @param {string} path */
  async #opened(path) {
    const handle = await this.#find(path);
    if (handle.kind === "directory") throw new Refusal("EISDIR");
    const file = new OpenFile(handle);
    const [oldest] = this.#open.keys();
    if (this.#open.size >= OPEN_AT_ONCE) await this.flush(oldest);
    this.#open.set(path, file);
    return file;
  }

  /** @param {string} path */
  async #folder(path) {
    let folder = this.root;
    for (const name of path ? path.split("/") : []) folder = await folder.getDirectoryHandle(name);
    return folder;
  }

  /** @param {string} path @returns {Promise<[any, string]>} */
  async #parent(path) {
    const cut = path.lastIndexOf("/");
    return [await this.#folder(path.slice(0, Math.max(cut, 0))), path.slice(cut + 1)];
  }

  /** @param {string} path */
  async #find(path) {
    if (!path) return this.root;
    const [folder, name] = await this.#parent(path);
    try {
      return await folder.getFileHandle(name);
    } catch (error) {
      if (/** @type {Error} */ (error).name !== "TypeMismatchError") throw error;
      return folder.getDirectoryHandle(name);
    }
  }

  /**
   * @param {any} folder
   * @param {string} name
   */
  async #exists(folder, name) {
    try {
      await folder.getFileHandle(name);
      return true;
    } catch (error) {
      return /** @type {Error} */ (error).name === "TypeMismatchError";
    }
  }
}

/**
 * @param {string} name
 * @param {string} code
 */
function turn(name, code) {
  return (/** @type {Error} */ error) => {
    throw error.name === name ? new Refusal(code) : error;
  };
}

/**
 * The file system's own move, which not every folder has.
 *
 * @param {any} handle
 * @param {any} folder
 * @param {string} name
 */
async function moved(handle, folder, name) {
  if (typeof handle.move !== "function") return false;
  try {
    await handle.move(folder, name);
    return true;
  } catch {
    return false;
  }
}

/**
 * @param {any} handle
 * @param {any} folder
 * @param {string} name
 */
async function copy(handle, folder, name) {
  if (handle.kind === "directory") {
    const made = await folder.getDirectoryHandle(name, { create: true });
    for await (const [inner, entry] of handle.entries()) await copy(entry, made, inner);
    return;
  }
  const made = await folder.getFileHandle(name, { create: true });
  const writer = await made.createWritable();
  await (await handle.getFile()).stream().pipeTo(writer);
}
