/**
 * The supervisor: the worker in which Python owns the machine.
 *
 * Starts Python, gives it the glue it works through (`host`), and passes
 * messages between it and the page; docs/contracts.md names them all.
 */

import { ByteBlob, countingFetches, download } from "./blob.mjs";
import { createCore } from "./core.mjs";
import { wakeEarly } from "./early.mjs";
import { startNetwork } from "./network/start.mjs";
import { StorageClient } from "./storage/client.mjs";
import { Translations } from "./translations.mjs";
// What those import: a round of requests earlier.  What only Python needs comes when the wake has begun.
import "./early-disks.mjs";
import "./exports.mjs";
import "./instance.mjs";
import "./storage/store.mjs";
import "./wait.mjs";

/** @typedef {import("./core.mjs").Cpu} Cpu */

/**
 * Python's start leaves a woken machine and the page that shows it the processors: the first echo needs
 * them more (decisions/0043).  For so long at least, then until that is drawn and the guest
 * has rested for a moment, and at most so long.
 */
const GUEST_FIRST = { leastMs: 400, lookMs: 50, restLooks: 3, mostMs: 2500 };
const HEARD = 2; // of an "interrupt": supervisor-client.mjs sends no signal from then on
const SPARE_HARTS = 1; // as images have that say nothing; a worker that nobody takes costs 10 MB
/** The page's own code and what it is built on: where this module is, below a path that names its version. */
const CODE = new URL("static/", location.href);
/** Images, snapshots and what serve.py says: at the same address in every version. */
const SITE = new URL(location.pathname.replace(/(v\/[0-9a-f]+\/)?[^/]*$/, ""), location.href);
const STATIC = new URL("static/", SITE);

/**
 * @param {any} message
 * @param {Transferable[]} [transfer]
 */
function post(message, transfer = []) {
  self.postMessage(message, { transfer });
}

/** @type {import("./blob.mjs").Report} */
const report = (what, loaded, total) => post({ type: "progress", what, loaded, total });

/**
 * @param {string} name below static/
 * @param {string} what
 * @param {import("./blob.mjs").Report} tell
 */
async function need(name, what, tell = report) {
  const bytes = await download(new URL(name, CODE), what, tell);
  if (!bytes) throw new Error(`static/${name} is missing; run \`python3 serve.py\` once more, it builds what is absent`);
  return bytes;
}

/** @type {Promise<Cpu> | undefined} */
let cpu;

/** @returns {Promise<Cpu>} */
function loadCpu() {
  cpu ??= (async () => {
    // From the response itself: an engine keeps the code that it makes of it for the next visit.
    const response = await fetch(new URL("cpu.wasm", CODE));
    if (!response.ok) throw new Error(`static/cpu.wasm: the server answered ${response.status}; run \`python3 serve.py\` once more`);
    const copy = response.clone();
    const [module, bytes] = await Promise.all([WebAssembly.compileStreaming(response), copy.arrayBuffer()]);
    return { bytes: new Uint8Array(bytes), module };
  })();
  cpu.catch(() => (cpu = undefined));
  return cpu;
}

/** A heap that Node made fits where the engine is Node's. */
const likeNode = /Chrom(e|ium)\//.test(navigator.userAgent);

/** Of a machine's first harts: they start while Python does, or what a machine boots is fetched. @type {Worker[]} */
const spare = [];

/** @param {number} count of them shall be there at least */
function startSpare(count) {
  while (spare.length < count) {
    const worker = startWorker("hart.mjs", `hart ${spare.length}`);
    worker.onerror = () => spare.splice(spare.indexOf(worker), 1); // the one that a machine starts then says why
    spare.push(worker);
  }
}

/** @type {import("./core.mjs").Spawn} */
const spawn = (listen, name) => connectWorker(spare.shift() ?? startWorker("hart.mjs", name), listen);

/**
 * @param {string} module
 * @param {string} name
 */
const startWorker = (module, name) => new Worker(new URL(module, import.meta.url), { type: "module", name });

/**
 * @param {string} module
 * @param {(message: any) => void} listen
 * @param {string} name
 * @returns {import("./core.mjs").Thread}
 */
const spawnWorker = (module, listen, name) => connectWorker(startWorker(module, name), listen);

/**
 * @param {Worker} worker
 * @param {(message: any) => void} listen
 * @returns {import("./core.mjs").Thread}
 */
function connectWorker(worker, listen) {
  worker.onmessage = (event) => listen(event.data);
  worker.onerror = (event) => {
    event.preventDefault();
    listen({ type: "failed", message: event.message || "its worker did not start" });
  };
  return { post: (message, transfer = []) => worker.postMessage(message, transfer), terminate: () => worker.terminate() };
}

/** @param {string} name below static/ */
async function readStatic(name) {
  const response = await fetch(new URL(name, STATIC));
  return response.ok ? response : null;
}

/** As an earlier visit read it. @param {string} name below static/, whose contents never change */
async function readCached(name) {
  const response = await fetch(new URL(name, STATIC), { cache: "only-if-cached", mode: "same-origin" }).catch(() => null);
  return response?.ok ? response : null;
}

const translations = new Translations(loadCpu, readStatic, readCached);

/** Who waits for the page to say what its terminal shows, by question. @type {Map<number, (json: string) => void>} */
const asked = new Map();
let questions = 0;

/** What `hartwell.platform.javascript.JavaScriptPlatform` stands on. */
const host = {
  name: "browser",
  store: new StorageClient((listen) => spawnWorker("storage/worker.mjs", listen, "storage"), { statics: CODE.href }),
  /** @param {string} plan JSON of core.mjs's Plan @param {string} image whose translations made ahead are used, or "" */
  create: async (plan, image) => createCore(await loadCpu(), JSON.parse(plan), spawn, translations.of(image)),
  /** A machine is about to be made. @param {number} harts @param {string} image whose translations made ahead it uses, or "" */
  expectHarts: (harts, image) => {
    startSpare(harts);
    void loadCpu().catch(() => {}); // create() says what is wrong
    translations.expect(image);
  },
  /** Where serve.py has Debian's archive. */
  mirror: new URL("mirror/", SITE).href,
  /** @type {typeof import("./network/request.mjs").request} */
  request: async (...asked) => (await import("./network/request.mjs")).request(...asked),
  /** Where serve.py's relay to the internet is. */
  relay: new URL("ws/network", SITE).href.replace(/^http/, "ws"),
  /** @param {any} core @param {string} json @param {(json: string, frame: Uint8Array) => void} heard */
  network: (core, json, heard) =>
    startNetwork((listen) => spawnWorker("network/worker.mjs", listen, "network"), core.module, core, json, heard),
  /** @type {(port: number, connect: any) => Promise<number>} gdb's port, by way of serve.py */
  gdb: async (port, connect) => (await import("./gdb-bridge.mjs")).bridge(new URL("ws/gdb", SITE), port, connect),
  /** @param {string} source a name below static/, or a URL */
  fetch: async (source) => {
    const url = /^[a-z]+:\/\//i.test(source) ? new URL(source) : new URL(source, STATIC);
    const bytes = await download(url, source, report);
    return bytes && new ByteBlob(bytes);
  },
  /** @param {string} name below static/ */
  address: (name) => new URL(name, STATIC).href,
  /** What the page's terminal shows: JSON of {position, text, screen}, or of null. @returns {Promise<string>} */
  terminal: () => {
    const question = ++questions;
    post({ type: "terminal", question });
    return new Promise((resolve) => asked.set(question, resolve));
  },
  /**
   * Where ranges of a source can be read, and its size in bytes.
   * @param {string} source a name below static/, or a URL
   */
  locate: async (source) => {
    const url = /^[a-z]+:\/\//i.test(source) ? new URL(source) : new URL(source, STATIC);
    const response = await fetch(url, { method: "HEAD" });
    if (response.status === 404) return undefined;
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return { url: url.href, size: Number(response.headers.get("content-length")) };
  },
  /** Supervisors of this origin's pages hear each other. @param {(json: string) => void} heard */
  channel: (heard) => {
    const channel = new BroadcastChannel("hartwell machines");
    channel.onmessage = ({ data }) => heard(String(data));
    return (/** @type {string} */ json) => channel.postMessage(json);
  },
  /**
   * @param {Uint8Array} data
   * @param {boolean} quiet shown again: the terminal shall answer nothing
   */
  console: (data, quiet) => post({ type: "console", data, quiet }, [data.buffer]),
  /**
   * @param {string} kind
   * @param {string} json
   */
  emit: (kind, json) => post({ ...JSON.parse(json), type: kind }),
  /** The machine that woke before Python was up, once. */
  early: async () => {
    const found = await woken;
    woken = Promise.resolve(null);
    return found ?? undefined; // Python's None
  },
};

/** @type {Promise<import("./early.mjs").Early | null>} */
let woken = Promise.resolve(null);
/** Told when the page has given up its channel to the terminal's worker. @type {(had: {output: Uint8Array, keys: Uint8Array}) => void} */
let handed = () => {};

/** Wakes the visit's machine while Python comes. */
async function wakeMeanwhile() {
  let lost = false;
  const terminal = spawnWorker("terminal.mjs", ({ type }) => {
    lost ||= type === "failed";
    if (lost) handOver(); // if Python waits for it, it need not
  }, "terminal");
  let asked = false;
  const handOver = () => asked && post({ type: "handover", lost });
  const early = await wakeEarly({
    store: host.store,
    json: async (name) => (await readStatic(name))?.json() ?? null,
    address: host.address,
    cpu: loadCpu,
    spawn,
    translations,
    terminal,
    show: (state) => {
      const { port1, port2 } = new MessageChannel();
      post({ type: "early", port: port1 }, [port1]);
      post({ ...state, type: "state" });
      return port2;
    },
    handOver: () => {
      asked = true;
      handOver();
      return new Promise((resolve) => (handed = resolve));
    },
  }).catch((error) => (console.info("No machine woke before Python.", error), null));
  if (!early) terminal.terminate();
  return early;
}

/** Has the page drawn what the machine's terminal showed when it fell asleep? */
let drawn = false;

/** Until a machine that woke has done what it was woken for, as far as can be seen. @param {import("./early.mjs").Early} early */
async function guestFirst(early) {
  const begun = performance.now();
  const past = (/** @type {number} */ ms) => performance.now() - begun >= ms;
  for (let rested = 0; !past(GUEST_FIRST.mostMs) && !(past(GUEST_FIRST.leastMs) && rested >= GUEST_FIRST.restLooks); ) {
    await new Promise((resolve) => setTimeout(resolve, GUEST_FIRST.lookMs));
    rested = drawn && early.rests() ? rested + 1 : 0;
  }
}

/** What a boot's translator may have ahead, while Python comes. @param {string | null} image null: the default one */
async function lookAhead(image) {
  const name = image ?? (await (await readStatic("images/index.json"))?.json())?.default;
  if (!name) return;
  await translations.look(String(name));
  const found = translations.at(String(name));
  if (found) spare[0]?.postMessage({ type: "warm", module: found.module });
}

/** Until Python is up. @param {MessageEvent} event */
self.onmessage = ({ data }) => {
  if (data.type === "handed") handed(data);
  else if (data.type === "drawn") drawn = true;
};

async function start() {
  const indexURL = new URL("pyodide/", CODE).href;
  // While Python comes: a visit begins with a look at what sleeps here, and with a machine.
  host.store.start();
  loadCpu().catch(() => {}); // who makes a machine hears of it
  startSpare(SPARE_HARTS);
  const beginning = new URLSearchParams(location.search);
  if (beginning.has("arrive")) woken = wakeMeanwhile();
  else if (beginning.has("image")) void lookAhead(beginning.get("image") || null).catch(() => {}); // a boot does without
  const ahead = () => (likeNode ? need("python.heap", "Python’s snapshot") : Promise.resolve(null));
  const keeps = import("./snapshot-store.mjs");
  const early = keeps.then(({ browserStore }) => browserStore.empty()).then((empty) => (empty ? ahead() : undefined));
  early.catch(() => {}); // a normal start does without
  const [{ loadPyodide, version }, { startPython }, { browserStore }, { HandleFolder, savedFolder }, { Wheels }] =
    await Promise.all([import(`${indexURL}pyodide.mjs`), import("./python.mjs"), keeps, import("./folders.mjs"), import("./wheels.mjs")]);
  const folder = savedFolder();
  const wheels = new Wheels(new URL("wheels/", CODE), (name) => need(`wheels/${name}`, name, () => {}));
  const parts = await wheels.list();
  const began = performance.now();
  const { pyodide, how, saved } = await startPython({
    loadPyodide: async (options) => {
      // The wake first: Python's start leaves this thread no time.
      const early = await woken;
      if (early) await guestFirst(early);
      return countingFetches("Python", report, () => loadPyodide(options));
    },
    version,
    indexURL,
    engine: navigator.userAgent,
    parts,
    install: (fresh) => wheels.install(fresh, parts),
    restore: (restored) => void wheels.unpackLater(restored, parts).catch((error) => console.info("Tracebacks have no source lines.", error)),
    store: browserStore,
    ahead: async () => (await early) ?? ahead(),
    print: (text, stream) => post({ type: "print", text, stream }),
    report: (step) => report(step, 0, 0), // "Python" gets its bytes from countingFetches
  });
  void saved.then((done) => post({ type: "snapshot", saved: done }));
  const interrupt = new SharedArrayBuffer(8); // Python's signal, and what has become of the page's wish for one
  const signal = new Int32Array(interrupt);
  pyodide.setInterruptBuffer(signal);
  pyodide.globals.set("_host", host);
  const { adopt, ask, cancel, write, resize, attach, upload, download: give, http, exportFile, importFile } = pyodide
    .runPython(SET_UP, { filename: "<glue>" })
    .toJs({ dict_converter: Object.fromEntries });

  /** @param {any} message */
  async function serve(message) {
    const { type, id } = message;
    if (type === "handed") {
      handed(message);
    } else if (type === "input") {
      write(message.data);
    } else if (type === "resize") {
      resize(message.cols, message.rows);
    } else if (type === "terminal") {
      asked.get(message.question)?.(JSON.stringify(message.shown));
      asked.delete(message.question);
    } else if (type === "export" || type === "import") {
      // A Blob goes either way as it is; its bytes stay the browser's.
      const { value, error } = await (type === "export" ? exportFile(message.name) : importFile(message.file));
      post({ type: error ? "error" : "result", id, value, ...error });
    } else if (type === "interrupt") {
      Atomics.store(signal, 1, HEARD);
      Atomics.store(signal, 0, 0);
      cancel();
      post({ type: "interrupted" });
    } else if (type === "folder") {
      attach(message.name, new HandleFolder(message.handle), message.writable);
    } else if (type === "upload" || type === "download") {
      const [json, bytes] = type === "upload" ? await upload(message.path, message.data) : await give(message.path);
      const answer = JSON.parse(json);
      const data = Uint8Array.from(bytes); // of its own, so that it can be given away
      post({ type: "traceback" in answer ? "error" : "result", id, ...answer, data }, [data.buffer]);
    } else if (type === "http") {
      const [json, bytes] = await http(JSON.stringify(message.request), message.body ?? new Uint8Array());
      const answer = JSON.parse(json);
      const data = Uint8Array.from(bytes);
      post({ type: "traceback" in answer ? "error" : "result", id, ...answer, data }, [data.buffer]);
    } else if (type === "python") {
      const answer = JSON.parse(await ask(message.code, message.show === true));
      Atomics.store(signal, 0, 0); // a signal that came too late is for nobody else
      post({ type: "json" in answer ? "result" : "error", id, ...answer });
    }
  }

  const files = await folder;
  if (files) attach("saved", files, true);
  self.onmessage = ({ data }) => {
    serve(data).catch((error) => post({ type: "print", text: `${error.message ?? error}\n`, stream: "stderr" }));
  };
  const adopted = await adopt();
  post({ type: "ready", adopted, how, interrupt, milliseconds: Math.round(performance.now() - began) });
}

/** Joins hartwell.supervisor to the glue and gives what messages call. */
const SET_UP = `
def _set_up(host):
    import hartwell.hibernation as hibernation
    import hartwell.supervisor as supervisor
    from hartwell.ninep.handles import HandleFolder
    from hartwell.platform.javascript import Answers, HostFolder, JavaScriptPlatform, value_of

    supervisor.start(JavaScriptPlatform(host))
    answers = Answers()
    return {
        "adopt": supervisor.adopt,
        "ask": lambda code, show: answers.ask(supervisor.show if show else supervisor.run, code),
        "cancel": answers.cancel,
        "write": lambda data: supervisor.write(data.to_bytes()),
        "resize": supervisor.resize,
        "exportFile": lambda name: value_of(hibernation.export_snapshot(name)),
        "importFile": lambda file: value_of(hibernation.import_snapshot(file)),
        "attach": lambda name, folder, writable: supervisor.attach(
            name, HandleFolder(HostFolder(folder), writable=writable)),
        "upload": lambda path, data: answers.file(supervisor.upload(path, data.to_bytes())),
        "http": lambda request, body: answers.file(supervisor.http(request, body.to_bytes())),
        "download": lambda path: answers.file(supervisor.download(path)),
    }

_set_up(globals().pop("_host"))
`;

start().catch((error) => {
  post({ type: "failed", name: error.name, message: String(error.message ?? error) });
});
