/**
 * The supervisor's end of the storage worker (worker.mjs): what Python calls
 * as `platform.store` (py/hartwell/platform/store.py has the contract).
 *
 * The worker starts with the first call.  A machine's memory goes to it as
 * the SharedArrayBuffer that it is; no bulk bytes pass here.
 */

/** @typedef {import("../core.mjs").Thread} Thread */

/**
 * @typedef {object} Pending
 * @property {(value: any) => void} resolve
 * @property {(error: Error) => void} reject
 * @property {(event: any) => void} hear
 */

export class StorageClient {
  /** @type {Thread | null} */
  #worker = null;
  /** @type {Map<number, Pending>} */
  #pending = new Map();
  #next = 1;

  /**
   * @param {(listen: (message: any) => void) => Thread} spawn starts worker.mjs
   * @param {{statics: string, folder?: string}} place
   */
  constructor(spawn, place) {
    this.spawn = spawn;
    this.place = place;
  }

  /**
   * @param {string} operation
   * @param {object} [more]
   * @param {(event: any) => void} [hear]
   * @returns {Promise<any>}
   */
  ask(operation, more = {}, hear = () => {}) {
    const worker = this.start();
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, hear });
      worker.post({ id, operation, ...more });
    });
  }

  /** Starts the worker, if none runs: before the first call, where that has time. */
  start() {
    if (!this.#worker) {
      this.#worker = this.spawn((message) => this.#receive(message));
      this.#worker.post({ type: "open", ...this.place });
    }
    return this.#worker;
  }

  /** @param {any} message */
  #receive(message) {
    if (message.type === "failed") {
      for (const { reject } of this.#pending.values()) reject(Object.assign(new Error(message.message), { name: "StorageFailed" }));
      this.#pending.clear();
      this.#worker = null;
      return;
    }
    const pending = this.#pending.get(message.id);
    if (!pending) return;
    if (message.event) return pending.hear(message);
    this.#pending.delete(message.id);
    if (message.error) pending.reject(Object.assign(new Error(message.error.message), { name: message.error.name }));
    else pending.resolve(message.value);
  }

  /**
   * Saves ranges of a machine's memory, in chunks of 64 KiB from each range's begin.
   *
   * @param {any} core of core.mjs
   * @param {number[]} ranges offset, count, ...
   * @param {boolean} aside copies them first, so that the machine need not wait
   * @param {number} machine whose disks are saved along with it, as openDisks gave it; 0: none
   * @param {(event: any) => void} hear {event: "captured"}, when the machine may go on; {event: "progress", done, total}
   * @returns {Promise<import("./keeper.mjs").Saved & {disks: ({index: number} & import("./overlay.mjs").Frozen)[]}>}
   */
  save(core, ranges, aside, machine, hear) {
    return this.ask("save", { memory: core.memory.buffer, ranges, aside, machine }, hear);
  }

  /**
   * Brings chunks back; every one is held to its digest.
   *
   * @param {any} core
   * @param {Uint8Array} digests 32 bytes each
   * @param {number[]} ranges cut into chunks as for save
   * @param {number} pack an open file that has them; 0: the store
   * @param {(event: any) => void} hear {event: "progress", done, total}
   * @returns {Promise<void>}
   */
  load(core, digests, ranges, pack, hear) {
    return this.ask("load", { memory: core.memory.buffer, digests, ranges, pack }, hear);
  }

  /**
   * Fills chunks of guest RAM while harts run; see stream.mjs.
   *
   * @param {any} core
   * @param {Uint8Array} digests 32 bytes each
   * @param {number[]} chunks their places in RAM, in 64 KiB
   * @param {number[]} order what was touched first the last time
   * @param {string} places JSON of stream.mjs's Places
   * @param {number} pack as for load
   * @param {string} [seed] an image: what comes of its file goes into the store, too, for a first save
   * @returns {Promise<{touched: number[], kept: boolean}>} the chunks that were waited for; are all in the store?
   */
  stream(core, digests, chunks, order, places, pack, seed = "") {
    return this.ask("stream", { memory: core.memory.buffer, digests, chunks, order, places: JSON.parse(places), pack, seed });
  }

  /**
   * Opens a snapshot's file: a URL, a path in Node, or a File.
   * @param {string | Blob} file
   * @returns {Promise<{pack: number, text: string}>}
   */
  openPack = (file) => this.ask("openPack", { file });
  /** @param {number} pack */
  closePack = (pack) => this.ask("closePack", { pack });
  /**
   * Takes its chunks into the store.
   * @param {number} pack
   * @param {(event: any) => void} hear {event: "progress", done, total}
   */
  importPack = (pack, hear) => this.ask("importPack", { pack }, hear);
  /**
   * Writes a snapshot's file, in Node; in a browser it is the result.
   * @param {string} text
   * @param {Uint8Array} refs digests in the order in which a wake wants them
   * @param {string} file
   * @param {(event: any) => void} hear {event: "progress", done, total}
   * @returns {Promise<Blob | null>}
   */
  exportPack = (text, refs, file, hear) => this.ask("exportPack", { text, refs, file }, hear);

  /** From here to end(), no chunk is dropped that no record names yet. @returns {Promise<number>} */
  begin = () => this.ask("begin");
  /** @param {number} guard what begin() gave */
  end = (guard) => this.ask("end", { guard });

  /**
   * @param {string} kind
   * @param {string} name
   * @param {string} about
   * @param {string} text
   * @param {Uint8Array} refs
   */
  putRecord = (kind, name, about, text, refs) => this.ask("putRecord", { kind, name, about, text, refs });
  /**
   * @param {string} kind
   * @param {string} name
   * @returns {Promise<import("./store.mjs").Kept | undefined>} undefined, not null: that is Python's None
   */
  getRecord = (kind, name) => this.ask("getRecord", { kind, name });
  /**
   * @param {string} kind
   * @param {string} name
   */
  dropRecord = (kind, name) => this.ask("dropRecord", { kind, name });
  /** @param {string} kind @returns {Promise<string>} JSON */
  records = async (kind) => JSON.stringify(await this.ask("records", { kind }));
  /** @returns {Promise<string>} JSON */
  estimate = async () => JSON.stringify(await this.ask("estimate"));
  collect = () => this.ask("collect");
  /** Those that are not in the store. @param {Uint8Array} digests @returns {Promise<Uint8Array>} */
  missing = (digests) => this.ask("missing", { digests });
  /** @param {string} name */
  lock = (name) => this.ask("lock", { name });
  /** @param {string} name */
  unlock = (name) => this.ask("unlock", { name });

  /**
   * Begins to serve a machine's disks.
   * @param {any} core of core.mjs
   * @param {string} plan JSON {bell, disks}
   * @returns {Promise<number>} the machine, for the calls below
   */
  openDisks(core, plan) {
    return this.ask("openDisks", { memory: core.memory, module: core.module, place: core.storagePlace, ...JSON.parse(plan) });
  }
  /** Settles when all that was written is kept. @param {number} machine @returns {Promise<number[]>} generations */
  commitDisks = (machine) => this.ask("commitDisks", { machine });
  /** After a wake: the overlays' records become what the disks are. @param {number} machine */
  settleDisks = (machine) => this.ask("settleDisks", { machine });
  /** @param {number} machine @returns {Promise<string>} JSON: what went wrong last with each, or null */
  diskErrors = (machine) => this.ask("diskErrors", { machine });
  /** Node only: writes an image's chunks. @type {(machine: number, index: number, folder: string) => Promise<string>} */
  packDisk = (machine, index, folder) => this.ask("packDisk", { machine, index, folder });
  /**
   * Writes a disk as one file, in Node; in a browser it is the result.
   * @param {string} which JSON: export.mjs's Which, or {machine, index} of one that runs
   * @param {string} format "raw" or "qcow2"
   * @param {string} file
   * @param {(event: any) => void} hear {event: "progress", done, total}; {event: "taken"}: a machine's disk may change again
   * @returns {Promise<Blob | null>}
   */
  exportDisk(which, format, file, hear) {
    const { machine = 0, index = 0, ...rest } = JSON.parse(which);
    return this.ask("exportDisk", { which: rest, machine, index, format, file }, hear);
  }
  /** Forgets changes that make no difference. @param {string} which as above @returns {Promise<number>} chunks */
  compactDisk = (which) => this.ask("compactDisk", { which: JSON.parse(which) });
  /** @param {string} which as above */
  growDisk = (which) => this.ask("growDisk", { which: JSON.parse(which) });
  /** @param {number} machine */
  closeDisks = (machine) => this.ask("closeDisks", { machine });

  terminate() {
    this.#worker?.terminate();
    this.#worker = null;
  }
}
