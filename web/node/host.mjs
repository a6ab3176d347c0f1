/**
 * Hartwell without a page: Pyodide in Node, on the same glue as in a browser.
 *
 *     node web/node/host.mjs '{"image": "debian", "harts": 2}'
 *
 * The options go to `hartwell.headless.main`, whose result is the exit code.
 * The guest's console is this process's stdin and stdout.  Python is that of
 * the checkout (py/); its packages come from static/wheels.
 */

import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";

import { listen } from "./gdb.mjs";
import { ByteBlob, download } from "../blob.mjs";
import { createCore } from "../core.mjs";
import { startNetwork } from "../network/start.mjs";
import { startPython, unpackWheel } from "../python.mjs";
import { StorageClient } from "../storage/client.mjs";
import { Translations } from "../translations.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const STATIC = process.env.HARTWELL_STATIC ?? path.join(ROOT, "static");
const CACHE = path.join(STATIC, ".cache");
/** Where sleeping machines and disks are kept (XDG Base Directory Specification). */
const DATA =
  process.env.HARTWELL_DATA ?? path.join(process.env.XDG_DATA_HOME || path.join(homedir(), ".local", "share"), "hartwell");
const INDEX = "images/index.json"; // below static/
const MOUNT = "/hartwell"; // where Python sees py/
const SHARE = "/shared"; // where it sees the folder of --share

/** @typedef {import("../core.mjs").Cpu} Cpu */
/** @typedef {import("../python.mjs").Part} Part */

/**
 * @param {string} file
 * @returns {Promise<Uint8Array | null>} null when there is none
 */
async function readIfThere(file) {
  try {
    const buffer = await readFile(file);
    // Pyodide knows no Buffer, and a small one is a part of a shared pool.
    return buffer.byteOffset === 0 ? new Uint8Array(buffer.buffer, 0, buffer.length) : Uint8Array.from(buffer);
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EISDIR"].includes(/** @type {any} */ (error).code)) return null;
    throw error;
  }
}

/** @param {string} name below static/ */
async function need(name) {
  const bytes = await readIfThere(path.join(STATIC, name));
  if (!bytes) throw new Error(`static/${name} is missing; \`python3 serve.py\` builds and fetches what is absent`);
  return bytes;
}

/** @type {import("../core.mjs").Spawn} */
const spawn = (listen, name) => spawnWorker("../hart.mjs", listen, name);

/**
 * @param {string} module
 * @param {(message: any) => void} listen
 * @param {string} name
 * @returns {import("../core.mjs").Thread}
 */
function spawnWorker(module, listen, name) {
  const worker = new Worker(new URL(module, import.meta.url), { name });
  worker.on("message", listen);
  worker.on("error", (error) => listen({ type: "failed", message: String(error), stack: error.stack }));
  return { post: (message) => worker.postMessage(message), terminate: () => void worker.terminate() };
}

/** The images there are, with another default for this process alone. @param {string} name */
async function defaultImage(name) {
  const index = JSON.parse(new TextDecoder().decode(await need(INDEX)));
  return new ByteBlob(new TextEncoder().encode(JSON.stringify({ ...index, default: name })));
}

/** @type {Promise<Cpu> | undefined} */
let cpu;

/** @returns {Promise<Cpu>} */
function loadCpu() {
  cpu ??= need("cpu.wasm").then(async (bytes) => ({
    bytes,
    module: await WebAssembly.compile(/** @type {BufferSource} */ (bytes)),
  }));
  return cpu;
}

/** As a server would give it. @param {string} name below static/ */
async function readStatic(name) {
  const bytes = await readIfThere(path.join(STATIC, name));
  return bytes && new Response(/** @type {BodyInit} */ (bytes), { headers: { "Content-Type": "application/wasm" } });
}

const translations = new Translations(loadCpu, readStatic);

/** @type {(kind: string, json: string) => void} */
let heard = () => {};

/** What `hartwell.platform.javascript.JavaScriptPlatform` stands on. */
const host = {
  name: "node",
  store: new StorageClient((listen) => spawnWorker("../storage/worker.mjs", listen, "storage"), {
    statics: pathToFileURL(STATIC + path.sep).href,
    folder: DATA,
  }),
  /** Threads start fast enough. */
  expectHarts: () => {},
  /** @param {string} plan JSON of core.mjs's Plan @param {string} image whose translations made ahead are used, or "" */
  create: async (plan, image) => createCore(await loadCpu(), JSON.parse(plan), spawn, translations.of(image)),
  /** Processes hear nothing of each other. */
  channel: null,
  /** Where a relay to the internet is, by an option of `hartwell run --net`. */
  relay: "",
  mirror: "",
  // Nothing here bounds what a fetch reaches, as the browser's rules do.
  request: null,
  /** @param {any} core @param {string} json @param {(json: string, frame: Uint8Array) => void} heard */
  network: (core, json, heard) =>
    startNetwork((listen) => spawnWorker("../network/worker.mjs", listen, "network"), core.module, core, json, heard),
  /** @param {string} source a path, a name below static/, or a URL */
  fetch: async (source) => {
    if (source === INDEX && process.env.HARTWELL_IMAGE) return defaultImage(process.env.HARTWELL_IMAGE);
    const bytes = /^https?:\/\//i.test(source)
      ? await download(source, source, () => {})
      : ((await readIfThere(source)) ?? (await readIfThere(path.join(STATIC, source))));
    return bytes && new ByteBlob(bytes);
  },
  /** @param {string} name below static/ */
  address: (name) => path.join(STATIC, name),
  /** There is no page to ask. */
  terminal: async () => "null",
  /**
   * Where ranges of a source can be read, and its size in bytes.
   * @param {string} source a path, a name below static/, or a URL
   */
  locate: async (source) => {
    if (/^https?:\/\//i.test(source)) {
      const response = await fetch(source, { method: "HEAD" });
      if (response.status === 404) return undefined;
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      return { url: source, size: Number(response.headers.get("content-length")) };
    }
    for (const file of [path.resolve(source), path.join(STATIC, source)]) {
      const facts = await stat(file).catch(() => null);
      if (facts?.isFile()) return { url: pathToFileURL(file).href, size: facts.size };
    }
    return undefined;
  },
  /** @param {Uint8Array} data */
  console: (data) => void process.stdout.write(data),
  /**
   * @param {string} kind
   * @param {string} json
   */
  emit: (kind, json) => heard(kind, json),
  /** gdb's port. */
  gdb: listen,
  /** Python's ear for events such as "state". @param {(kind: string, json: string) => void} handler */
  onEvent: (handler) => void (heard = handler),
};

/** @returns {Promise<Part[]>} the files of py/, for the snapshot's key */
async function sources() {
  const folder = path.join(ROOT, "py");
  const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith(".py")).sort();
  return Promise.all(names.map(async (name) => ({ name, bytes: await readFile(path.join(folder, name)) })));
}

/** @returns {Promise<{name: string, bytes: Uint8Array}[]>} what hartwell needs beside itself */
async function wheels() {
  const names = Object.keys(JSON.parse(new TextDecoder().decode(await need("wheels/wheels.json"))));
  const others = names.filter((name) => !/^(hartwell|micropip|packaging)-/.test(name));
  return Promise.all(others.map(async (name) => ({ name, bytes: await need(`wheels/${name}`) })));
}

/** @type {import("../python.mjs").Store} */
const store = {
  load: (key) => readIfThere(path.join(CACHE, `${key}.snapshot`)),
  save: async (key, bytes) => {
    await mkdir(CACHE, { recursive: true });
    for (const name of await readdir(CACHE)) {
      if (name.endsWith(".snapshot") && !name.startsWith(key)) await rm(path.join(CACHE, name), { force: true });
    }
    // Written aside and put in place at once: two commands may start together.
    const aside = path.join(CACHE, `${key}.${process.pid}`);
    await writeFile(aside, bytes);
    await rename(aside, path.join(CACHE, `${key}.snapshot`));
  },
  clear: () => rm(CACHE, { recursive: true, force: true }),
};

/** @returns {Promise<any>} Pyodide with hartwell importable */
async function python() {
  const indexURL = path.join(STATIC, "pyodide") + path.sep;
  const { loadPyodide, version } = await import(pathToFileURL(path.join(indexURL, "pyodide.mjs")).href);
  const [files, packages] = await Promise.all([sources(), wheels()]);
  const place = (/** @type {any} */ pyodide) => {
    for (const wheel of packages) unpackWheel(pyodide, wheel);
    pyodide.mountNodeFS(MOUNT, path.join(ROOT, "py"));
    pyodide.runPython(`import sys\nif "${MOUNT}" not in sys.path: sys.path.insert(0, "${MOUNT}")`);
  };
  const { pyodide, saved } = await startPython({
    loadPyodide,
    version,
    indexURL,
    engine: `node ${process.version}`,
    parts: [...files, ...packages],
    install: async (fresh) => place(fresh),
    restore: place,
    store,
    print: (text, stream) => void process[stream].write(text),
    report: () => {},
  });
  await saved;
  return pyodide;
}

/** Keys typed here go to the guest; QEMU's habit ends the machine: Ctrl-A x. Ctrl-A s sends it to sleep. */
function listenToKeys(/** @type {(data: Uint8Array) => void} */ write, /** @type {() => void} */ sleep) {
  if (process.stdin.isTTY) process.stdin.setRawMode(true);
  let escaped = false;
  process.stdin.on("data", (data) => {
    /** @type {number[]} */
    const kept = [];
    for (const byte of data) {
      if (escaped && (byte === 0x78 || byte === 0x58)) leave(0);
      if (escaped && (byte === 0x73 || byte === 0x53)) {
        escaped = false;
        sleep();
        continue;
      }
      if (!escaped && byte === 0x01 && process.stdin.isTTY) {
        escaped = true;
      } else {
        escaped = false;
        kept.push(byte);
      }
    }
    if (kept.length) write(Uint8Array.from(kept));
  });
}

/** @param {number} code */
function leave(code) {
  if (process.stdin.isTTY) process.stdin.setRawMode(false);
  process.stdout.write("", () => process.exit(code));
}

async function main() {
  const options = JSON.parse(process.argv[2] ?? "{}"); // a mistake here is the caller's, better seen before Python is up
  const { share, relay } = options;
  const pyodide = await python();
  host.relay = relay ?? "";
  if (share) pyodide.mountNodeFS(SHARE, share.folder);
  pyodide.globals.set("_host", host);
  const { run, write, sleep } = pyodide.runPython(SET_UP).toJs({ dict_converter: Object.fromEntries });
  listenToKeys(write, sleep);
  leave(await run(JSON.stringify(options)));
}

const SET_UP = `
def _set_up(host):
    import json
    import hartwell.headless as headless
    from hartwell.platform.javascript import JavaScriptPlatform

    platform = JavaScriptPlatform(host)
    return {
        "run": lambda options: headless.main(platform, json.loads(options)),
        "write": lambda data: headless.write(data.to_bytes()),
        "sleep": headless.sleep,
    }

_set_up(globals().pop("_host"))
`;

main().catch((error) => {
  process.stderr.write(`hartwell: ${error.message ?? error}\n`);
  leave(1);
});
