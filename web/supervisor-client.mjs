/**
 * The page's one line to the supervisor: calls that answer, events that tell.
 *
 * Events (CustomEvent, `detail` is the message of docs/contracts.md):
 * "ready", "state", "console", "terminal", "progress", "print", "failed".
 *
 * A machine that wakes before Python is up has its terminal at a channel of its
 * own (terminal.mjs) until Python takes it over: every key goes to one of the
 * two, and no output of the second comes before the last of the first.
 */

const SIGINT = 2;
const ASKED = 1; // in the word behind the signal's; supervisor.mjs says that it has heard
const BUSY_MS = 250; // a supervisor that has not read a message by then is in a Python loop
const AGAIN_MS = 1000; // and one that has not by then is in it still
const UNSEEN_MS = 1000; // a page that nobody looks at draws nothing

/** An error that Python raised. */
export class PythonError extends Error {
  /** @param {{name: string, message: string, traceback: string}} error */
  constructor({ name, message, traceback }) {
    super(message);
    this.name = name;
    this.traceback = traceback;
  }
}

export class Supervisor extends EventTarget {
  /** @type {Worker} */
  #worker;
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
  #calls = new Map();
  #next = 1;
  /** @type {Int32Array | null} */
  #interrupt = null;
  /** To the terminal of a machine without Python. @type {MessagePort | null} */
  #early = null;
  /** What came from there. @type {Uint8Array[]} */
  #output = [];
  /** Keys for whom there is nobody yet. @type {Uint8Array[]} */
  #typed = [];
  #up = false;

  /** @param {string} beginning what the page begins with (options.mjs): what sleeps here may wake before Python is up */
  constructor(beginning) {
    super();
    this.#worker = new Worker(new URL(`supervisor.mjs?${beginning}`, import.meta.url), { type: "module", name: "supervisor" });
    /** @type {Promise<any>} the "ready" message, once Python is up */
    this.ready = new Promise((resolve, reject) => {
      this.addEventListener("ready", (event) => resolve(/** @type {CustomEvent} */ (event).detail), { once: true });
      this.addEventListener(
        "failed",
        (event) => reject(Object.assign(new Error(), /** @type {CustomEvent} */ (event).detail)),
        { once: true },
      );
    });
    this.ready.catch(() => {}); // the "failed" event is shown; who awaits hears it too
    this.#worker.onmessage = ({ data }) => this.#receive(data);
    this.ready.then(() => {
      this.#up = true;
      this.#flush();
    }, () => {});
    this.#worker.onerror = (event) => {
      event.preventDefault();
      const text = event.message || "its module could not be loaded";
      if (this.#up) this.#tell("print", { type: "print", stream: "stderr", text: `supervisor: ${text}\n` });
      else this.#tell("failed", { type: "failed", name: "WorkerFailed", message: `the supervisor’s worker: ${text}` });
    };
  }

  /**
   * Runs Python with top-level await in the lasting namespace.
   *
   * @param {string} code
   * @returns {Promise<any>} the last expression's value; rejects with a PythonError
   */
  async python(code) {
    return (await this.#ask({ type: "python", code: String(code) })).value;
  }

  /**
   * As python(), for a console: how Python shows the value, "" for None.
   *
   * @param {string} code
   * @returns {Promise<string>}
   */
  async show(code) {
    return (await this.#ask({ type: "python", code, show: true })).value;
  }

  /**
   * Puts a file into the folder that the guest shares; nothing there is written over.
   *
   * @param {string} path below /mnt/host
   * @param {Uint8Array} data
   * @returns {Promise<string>} the path it got
   */
  async upload(path, data) {
    return (await this.#ask({ type: "upload", path, data })).value;
  }

  /**
   * @param {string} path of the guest's
   * @returns {Promise<Uint8Array>} a file's bytes, or a folder as a tar archive
   */
  async download(path) {
    return (await this.#ask({ type: "download", path })).data;
  }

  /**
   * Asks a web server of the guest's.
   *
   * @param {{port: number, method: string, path: string, headers: [string, string][]}} request
   * @param {Uint8Array} [body]
   * @returns {Promise<{status: number, headers: [string, string][], body: Uint8Array}>}
   */
  async http(request, body) {
    const { value, data } = await this.#ask({ type: "http", request, body });
    return { ...value, body: data };
  }

  /**
   * Shares a folder of the person's as /mnt/host/NAME.
   *
   * @param {string} name
   * @param {FileSystemDirectoryHandle} handle
   * @param {boolean} writable
   */
  share(name, handle, writable) {
    this.#post({ type: "folder", name, handle, writable });
  }

  /**
   * A sleeping machine as one file, for the person to keep.
   * @param {string} name
   */
  async exportFile(name) {
    const { value } = await this.#ask({ type: "export", name });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(value);
    link.download = `${name.replace(/[^\w .-]/g, "_")}.hartwell`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  /**
   * Puts a machine from a file onto the shelf.
   * @param {File} file
   * @returns {Promise<string>} its name there
   */
  async importFile(file) {
    return (await this.#ask({ type: "import", file })).value;
  }

  /** Ends what the Python console runs: with CancelledError where it awaits, else with KeyboardInterrupt. */
  interrupt() {
    const words = this.#interrupt;
    if (words) Atomics.store(words, 1, ASKED);
    this.#post({ type: "interrupt" });
    const signal = () => {
      // A supervisor that has heard of it is in no loop: the signal would hit whatever runs next, such as a machine's devices.
      if (!words || Atomics.load(words, 1) !== ASKED) return;
      Atomics.store(words, 0, SIGINT);
      if (Atomics.load(words, 1) !== ASKED) Atomics.compareExchange(words, 0, SIGINT, 0); // heard just now
      // One in ten is taken and comes to nothing (seen with Pyodide 314 in `while True: pass`).
      busy = setTimeout(signal, AGAIN_MS);
    };
    let busy = setTimeout(signal, BUSY_MS);
    this.addEventListener("interrupted", () => clearTimeout(busy), { once: true });
  }

  /** @param {Uint8Array} data keys, as the guest's terminal sends them */
  input(data) {
    this.#typed.push(data);
    this.#flush();
  }

  #flush() {
    const to = this.#early ?? (this.#up ? this.#worker : null);
    for (const data of to ? this.#typed.splice(0) : []) to?.postMessage({ type: "input", data });
  }

  /** A machine runs without Python. @param {MessagePort} port */
  #begin(port) {
    this.#early = port;
    port.onmessage = ({ data: message }) => {
      if (message.type === "ended") return void this.#handed(message.keys);
      if (!message.quiet) this.#output.push(message.data);
      else this.#drawn();
      this.#tell("console", message);
    };
    this.#flush();
  }

  /** Says when what comes now has been drawn, or would have been if the page were looked at. */
  #drawn() {
    let said = false;
    const say = () => {
      if (!said) this.#worker.postMessage({ type: "drawn" });
      said = true;
    };
    requestAnimationFrame(() => setTimeout(say));
    setTimeout(say, UNSEEN_MS);
  }

  /** Python takes over. @param {boolean} lost nobody is at the other end */
  #end(lost) {
    const port = this.#early;
    this.#early = null; // what is typed from here on is for Python
    if (lost || !port) void this.#handed(new Uint8Array());
    else port.postMessage({ type: "end" });
  }

  /** @param {Uint8Array} keys that the guest had no room for */
  async #handed(keys) {
    const output = new Uint8Array(await new Blob(/** @type {BlobPart[]} */ (this.#output.splice(0))).arrayBuffer());
    this.#worker.postMessage({ type: "handed", output, keys });
  }

  /**
   * Answers a "terminal" event.
   * @param {number} question the event's
   * @param {{position: number, text: string, screen: string} | null} shown null: it can't be said
   */
  terminal(question, shown) {
    this.#post({ type: "terminal", question, shown });
  }

  /**
   * @param {number} cols
   * @param {number} rows
   */
  resize(cols, rows) {
    this.#post({ type: "resize", cols, rows });
  }

  /** @param {any} message */
  async #ask(message) {
    await this.ready;
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.#worker.postMessage({ ...message, id });
    });
  }

  /** @param {any} message kept until the supervisor is up, in order */
  #post(message) {
    this.ready.then(() => this.#worker.postMessage(message), () => {});
  }

  /** @param {any} message */
  #receive(message) {
    const call = this.#calls.get(message.id);
    if (message.type === "result") {
      this.#calls.delete(message.id);
      call?.resolve({ value: message.json === undefined ? message.value ?? null : JSON.parse(message.json), data: message.data });
    } else if (message.type === "error") {
      this.#calls.delete(message.id);
      call?.reject(new PythonError(message));
    } else if (message.type === "early") {
      this.#begin(message.port);
    } else if (message.type === "handover") {
      this.#end(message.lost === true);
    } else {
      if (message.type === "ready" && message.interrupt) this.#interrupt = new Int32Array(message.interrupt);
      this.#tell(message.type, message);
    }
  }

  /**
   * @param {string} type
   * @param {any} detail
   */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
