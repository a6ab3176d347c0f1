/**
 * Starts Pyodide with hartwell's packages in it: from a memory snapshot
 * when one fits (about 0.3 s), by a normal start and an installation else (2 to 5 s).
 *
 * A snapshot is Pyodide's whole heap after everything was imported.  Set-up
 * makes one ahead (node/heap.mjs), for engines that are like Node's; a normal
 * start leaves one for the next time.  Its key
 * names what it was made of (Pyodide, each part's digest, the engine), so a
 * new version never meets an old heap.  Files are no part of the heap: after a
 * start from a snapshot they are put back, for tracebacks and for modules that
 * are imported later; hartwell's own are all in the heap, so that need not be at once.
 *
 * `_makeSnapshot`, `makeMemorySnapshot` and `_loadSnapshot` are not public in
 * Pyodide; its version is pinned, and any failure here ends in a normal start.
 */

import { letGo } from "./blob.mjs";

/** @typedef {{name: string, bytes: Uint8Array, digest?: string} | {name: string, digest: string}} Part a wheel or a file that the heap is made of */

/**
 * Where snapshots are kept.
 * @typedef {object} Store
 * @property {(key: string) => Promise<Uint8Array | null>} load
 * @property {(key: string, bytes: Uint8Array) => Promise<void>} save keeps this one, drops others
 * @property {() => Promise<void>} clear
 */

/**
 * @typedef {object} Source
 * @property {(options: any) => Promise<any>} loadPyodide
 * @property {string} version of Pyodide
 * @property {string} indexURL
 * @property {string} engine the browser's name and version
 * @property {Part[]} parts
 * @property {(pyodide: any) => Promise<void>} install puts hartwell's packages into a fresh Python
 * @property {(pyodide: any) => void} restore puts their files back after a start from a snapshot
 * @property {Store} store
 * @property {() => Promise<Uint8Array | null>} [ahead] what makeAhead() gave, where the engine is like the one that made it
 * @property {(text: string, stream: "stdout" | "stderr") => void} print
 * @property {(step: string) => void} report
 */

const FORMAT = 2; // of what prepare() leaves in the heap: part of the key

/** Imported before the snapshot is taken, so that a start from it imports nothing. */
const WARM_UP = `
import asyncio, base64, code, io, json, random, re, struct, traceback
import elftools.elf.elffile, pyte
import importlib, pkgutil, hartwell, hartwell.snapshot.structures
for found in pkgutil.walk_packages(hartwell.__path__, "hartwell."):
    if not re.match(r"hartwell\\.(cli|setup|platform\\.wasmtime)", found.name):
        importlib.import_module(found.name)
hartwell.snapshot.structures.prepare()
`;

/**
 * Leaves no trace of the installer: it holds JavaScript objects, which a
 * snapshot cannot keep.  Its modules' dictionaries are emptied since classes
 * and functions of it live on in caches of the standard library.
 */
const FORGET_INSTALLER = `
def forget():
    import gc, sys
    for name in [n for n in sys.modules if n.split(".")[0] in ("micropip", "packaging")]:
        vars(sys.modules.pop(name)).clear()
    globals().pop("micropip", None)
    gc.collect()

forget()
del forget
`;

const SITE_PACKAGES = "import site; site.getsitepackages()[0]";

/**
 * @param {Source} source
 * @returns {Promise<{pyodide: any, how: "snapshot" | "ahead" | "normal", saved: Promise<boolean>}>}
 *   `saved` becomes true when a snapshot was written for the next time.
 */
export async function startPython(source) {
  // On its way while the rest is found out: most starts need it.
  const module = import(`${source.indexURL}pyodide.asm.mjs`);
  module.catch(() => {}); // who needs it says so
  const key = await snapshotKey(source);
  const kept = await source.store.load(key).catch(() => null);
  if (kept) {
    try {
      const pyodide = await fromSnapshot(source, kept);
      letGo(kept);
      return { pyodide, how: "snapshot", saved: Promise.resolve(false) };
    } catch (error) {
      console.info("The snapshot of Python did not load.", error);
      await source.store.clear().catch(() => {});
    }
  }
  const heap = await madeAhead(source);
  if (heap) {
    try {
      return { pyodide: await fromSnapshot(source, heap), how: "ahead", saved: save(source, key, heap) };
    } catch (error) {
      console.info("Python’s memory that was made ahead did not load; starting normally.", error);
    }
  }
  source.report("Python");
  const pyodide = await normally(source);
  return { pyodide, how: "normal", saved: keep(source, pyodide, key) };
}

const AHEAD = "made ahead"; // in place of the engine
const KEY_LENGTH = 64; // hexadecimal digits, behind the heap

/**
 * Makes what `ahead` gives later: the heap, then its key.
 *
 * @param {Source} source its engine does not count
 * @returns {Promise<Uint8Array>}
 */
export async function makeAhead(source) {
  const pyodide = await normally(source);
  const heap = takeHeap(pyodide);
  const file = new Uint8Array(KEY_LENGTH + heap.length);
  file.set(heap);
  file.set(new TextEncoder().encode(await snapshotKey({ ...source, engine: AHEAD })), heap.length);
  return file;
}

/**
 * @param {Source} source
 * @returns {Promise<Uint8Array | null>} a heap; null where there is none, or one of other parts
 */
async function madeAhead(source) {
  const file = await source.ahead?.().catch(() => null);
  if (!file || file.length <= KEY_LENGTH) return null;
  const key = await snapshotKey({ ...source, engine: AHEAD });
  const end = file.length - KEY_LENGTH;
  return new TextDecoder().decode(file.subarray(end)) === key ? file.subarray(0, end) : null;
}

/** @param {Source} source */
async function snapshotKey({ version, engine, parts }) {
  const words = [`format ${FORMAT}`, `pyodide ${version}`, engine, WARM_UP, FORGET_INSTALLER];
  for (const part of parts) words.push(`${part.name} ${part.digest ?? (await sha256(/** @type {any} */ (part).bytes))}`);
  return sha256(new TextEncoder().encode(words.join("\n")));
}

/** @param {Uint8Array} bytes */
async function sha256(bytes) {
  const digest = await crypto.subtle.digest("SHA-256", /** @type {BufferSource} */ (bytes));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {Source} source */
function common({ indexURL, print }) {
  return {
    convertNullToNone: true, // else null is an object of its own in Python, and `is None` false
    indexURL,
    stdout: (/** @type {string} */ text) => print(`${text}\n`, "stdout"),
    stderr: (/** @type {string} */ text) => print(`${text}\n`, "stderr"),
  };
}

/**
 * @param {Source} source
 * @param {Uint8Array} snapshot
 */
async function fromSnapshot(source, snapshot) {
  source.report("Python’s snapshot");
  const { default: createModule } = await import(`${source.indexURL}pyodide.asm.mjs`);
  const pyodide = await source.loadPyodide({
    ...common(source),
    // A heap starts at its smallest; it must hold the snapshot's before that is copied over it.
    createPyodideModule: async (/** @type {any} */ settings) => grown(await createModule(settings), snapshot.length),
    _loadSnapshot: snapshot,
    _snapshotDeserializer: () => ({}),
  });
  source.restore(pyodide);
  // Every start from the same heap would draw the same random numbers.
  pyodide.runPython("import importlib, random; importlib.invalidate_caches(); random.seed()");
  return pyodide;
}

/**
 * @param {any} module Emscripten's
 * @param {number} bytes
 */
function grown(module, bytes) {
  if (module.HEAP8.length < bytes) module._free(module._malloc(bytes - module.HEAP8.length));
  // What malloc found free already is not enough if that was at the end.
  if (module.HEAP8.length < bytes) module._free(module._malloc(bytes));
  return module;
}

/** @param {Source} source */
async function normally(source) {
  const pyodide = await source.loadPyodide({ ...common(source), _makeSnapshot: true });
  source.report("Python packages");
  await source.install(pyodide);
  await pyodide.runPythonAsync(WARM_UP);
  await new Promise((resolve) => setTimeout(resolve, 0)); // lets finished promises go
  return pyodide;
}

/** Is it of the packages that install others?  @param {string} name a wheel's */
export const isInstaller = (name) => /^(micropip|packaging)-/.test(name);

/**
 * Writes a wheel's files to site-packages, without an installer.
 *
 * @param {any} pyodide
 * @param {{bytes: Uint8Array}} wheel
 */
export function unpackWheel(pyodide, { bytes }) {
  pyodide.unpackArchive(bytes, "wheel", { extractDir: pyodide.runPython(SITE_PACKAGES) });
}

/**
 * Takes the snapshot at once, before a machine's objects are in the heap, and
 * writes it in the background.
 *
 * @param {Source} source
 * @param {any} pyodide
 * @param {string} key
 */
function keep(source, pyodide, key) {
  try {
    return save(source, key, takeHeap(pyodide));
  } catch (error) {
    console.info("No snapshot of Python could be made; the next start is a normal one.", error);
    return Promise.resolve(false);
  }
}

/**
 * @param {Source} source
 * @param {string} key
 * @param {Uint8Array} heap is let go afterwards, with all of its buffer
 */
function save(source, key, heap) {
  return source.store
    .save(key, heap)
    .then(
      () => true,
      (error) => (console.info("No snapshot of Python was kept.", error), false),
    )
    .finally(() => letGo(new Uint8Array(heap.buffer)));
}

/**
 * @param {any} pyodide
 * @returns {Uint8Array}
 */
function takeHeap(pyodide) {
  pyodide.runPython(FORGET_INSTALLER);
  // A heap with packages counts as foreign to Pyodide: the list is of files, which it does not keep.
  for (const name of Object.keys(pyodide.loadedPackages)) delete pyodide.loadedPackages[name];
  return pyodide.makeMemorySnapshot({ serializer: leftover });
}

/**
 * What the installer's last download leaves in the heap, used by nobody; any
 * other JavaScript object there is a mistake, and then there is no snapshot.
 *
 * @param {unknown} object
 */
function leftover(object) {
  if (object instanceof Response || object === Response.prototype.arrayBuffer) return "gone";
  throw new Error(`the heap holds a JavaScript object: ${object}`);
}
