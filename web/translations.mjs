/**
 * Translations that set-up made ahead for an image (py/hartwell/translations.py):
 * one module for all harts, compiled while the machine is prepared, and its table.
 *
 * @typedef {object} Ahead
 * @property {WebAssembly.Module} module
 * @property {Uint8Array} table for cpu/jit/ahead.c
 *
 * @typedef {{file: string, digest: string}} Kept what the index says of a module
 * @typedef {Kept & {cpu: string, first?: Kept}} Facts and of an image's: all, the digest of their cpu.wasm, those for a first boot
 * @typedef {object} Place
 * @property {(name: string) => Promise<Response | null>} read a name below static/
 * @property {(facts: Facts) => Kept | undefined} which of an image's modules
 */

const INDEX = "snapshots/index.json";
const SECTION = "hartwell.regions";
const ALL = (/** @type {Facts} */ facts) => facts;
const FIRST = (/** @type {Facts} */ facts) => facts.first;
const LATER_MS = 4000; // after a machine was made: its start shall have the computer for itself

/**
 * What is known of an image's.
 *
 * @typedef {object} Known
 * @property {Ahead | null} found
 * @property {Promise<boolean> | null} look the one that asks for nothing large: did it find all?
 * @property {boolean} later all of them are looked for, when their time comes
 */

/**
 * What is at hand of them.  No machine waits: all of them take a browser a quarter of a
 * second to compile, which is more than they give a visit's first machine
 * (docs/decisions/0042).  They are looked for when that one is up, for those that follow.
 * Where an earlier visit left them in the browser's cache, with the code that the engine
 * made of them, they take a tenth, and the first that boots has them too.  Where none
 * did, it has the few that are hot first in a boot, which are there as soon.
 */
export class Translations {
  /** By image. @type {Map<string, Known>} */
  #images = new Map();
  /** Of cpu.wasm. @type {string | undefined} */
  #digest;

  /**
   * @param {() => Promise<import("./core.mjs").Cpu>} cpu
   * @param {(name: string) => Promise<Response | null>} read a name below static/
   * @param {(name: string) => Promise<Response | null>} cached the same, of what an earlier visit read
   */
  constructor(cpu, read, cached = async () => null) {
    this.cpu = cpu;
    this.read = read;
    this.cached = cached;
  }

  /** @param {string} image */
  #of(image) {
    let known = this.#images.get(image);
    if (!known) this.#images.set(image, (known = { found: null, look: null, later: false }));
    return known;
  }

  /**
   * A machine of an image may be booted soon: what a first boot takes is looked for.
   * @param {string} image
   * @returns {Promise<boolean>} whether all of them are there; see at()
   */
  look(image) {
    const known = this.#of(image);
    return (known.look ??= this.#find(image, [{ read: this.cached, which: ALL }, { read: this.read, which: FIRST }]));
  }

  /** @param {string} image @returns {Ahead | null} what is there */
  at(image) {
    return this.#of(image).found;
  }

  /**
   * A machine of an image is about to be made; what it boots is fetched first.
   * @param {string} image "": none of them is for it
   */
  expect(image) {
    if (!image || this.#of(image).later) return;
    this.#of(image).later = true;
    void this.look(image).then((all) => all || this.#findLater(image));
  }

  /**
   * @param {string} image whose machine is made; "": none of them is for it
   * @returns {() => Ahead | null} asked each time its harts start: once it has some, the same for good
   */
  of(image) {
    if (!image) return () => null;
    const known = this.#of(image);
    if (!known.later) {
      known.later = true;
      this.#findLater(image);
    }
    /** @type {Ahead | null} */
    let own = null;
    return () => (own ??= known.found);
  }

  /** @param {string} image */
  #findLater(image) {
    /** @type {any} */
    const timer = setTimeout(() => void this.#find(image, [{ read: this.read, which: ALL }]), LATER_MS);
    timer.unref?.(); // Node is not to stay for it
  }

  /**
   * @param {string} image
   * @param {Place[]} places the first that has what fits is taken
   * @returns {Promise<boolean>} whether that was all of them; what is wrong with one is said on the console
   */
  async #find(image, places) {
    const known = this.#of(image);
    const tell = (/** @type {Error} */ { message }) => console.warn(`the translations made ahead for ${image} are not used:`, message);
    const facts = await this.#facts(image).catch(tell);
    for (const { read, which } of facts ? places : []) {
      try {
        const kept = which(/** @type {Facts} */ (facts));
        const response = kept && (await read(`snapshots/${kept.file}`));
        if (!response) continue;
        const found = await compiled(response, kept);
        const all = which === ALL;
        if (all || !known.found) known.found = found; // a look for few that ends late takes none away
        return all;
      } catch (error) {
        tell(/** @type {Error} */ (error));
      }
    }
    return false;
  }

  /**
   * @param {string} image
   * @returns {Promise<Facts | null>} of translations for this cpu.wasm
   */
  async #facts(image) {
    const index = await (await this.read(INDEX))?.json();
    const facts = index?.translations?.[image];
    return facts && facts.cpu === (await this.#cpuDigest()) ? facts : null;
  }

  async #cpuDigest() {
    this.#digest ??= await digest((await this.cpu()).bytes);
    return this.#digest;
  }
}

/**
 * @param {Response} response
 * @param {Kept} kept what it must be
 * @returns {Promise<Ahead>}
 */
async function compiled(response, kept) {
  const copy = response.clone();
  // From the response itself: an engine keeps the code that it makes of it for the next visit.
  const [module, bytes] = await Promise.all([WebAssembly.compileStreaming(response), copy.arrayBuffer()]);
  if ((await digest(new Uint8Array(bytes))) !== kept.digest) throw new Error("its contents are not what set-up wrote");
  const [table] = WebAssembly.Module.customSections(module, SECTION);
  if (!table) throw new Error(`it has no section ${SECTION}`);
  return { module, table: new Uint8Array(table) };
}

/** @param {Uint8Array} bytes */
async function digest(bytes) {
  const hash = await crypto.subtle.digest("SHA-256", /** @type {BufferSource} */ (bytes));
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
