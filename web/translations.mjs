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
 */

const INDEX = "snapshots/index.json";
const SECTION = "hartwell.regions";
const LATER_MS = 4000; // after a machine was made: its start shall have the computer for itself

/**
 * What is at hand of them.  No machine waits: all of them take a browser a quarter of a
 * second to compile, which is more than they give a visit's first machine
 * (docs/decisions/0042).  They are looked for when that one is up, for those that follow.
 * Where an earlier visit left them in the browser's cache, with the code that the engine
 * made of them, they take a tenth, and the first that boots has them too.  Where none
 * did, it has the few that are hot first in a boot, which are there as soon.
 */
export class Translations {
  /** By image. @type {Map<string, Ahead | null>} */
  #found = new Map();

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

  /**
   * A machine of an image is about to be made; what it boots is fetched first.
   * @param {string} image "": none of them is for it
   */
  expect(image) {
    if (!image || this.#found.has(image)) return;
    this.#found.set(image, null);
    void this.#expect(image);
  }

  /** @param {string} image */
  async #expect(image) {
    if (await this.#find(image, this.cached, (all) => all)) return;
    await this.#find(image, this.read, (all) => all.first);
    this.#findLater(image);
  }

  /**
   * @param {string} image whose machine is made; "": none of them is for it
   * @returns {() => Ahead | null} asked each time its harts start: once it has some, the same for good
   */
  of(image) {
    if (image && !this.#found.has(image)) {
      this.#found.set(image, null);
      this.#findLater(image);
    }
    /** @type {Ahead | null} */
    let own = null;
    return () => (own ??= this.#found.get(image) ?? null);
  }

  /** @param {string} image */
  #findLater(image) {
    /** @type {any} */
    const timer = setTimeout(() => void this.#find(image, this.read, (all) => all), LATER_MS);
    timer.unref?.(); // Node is not to stay for it
  }

  /**
   * @param {string} image
   * @param {(name: string) => Promise<Response | null>} module where its module is read
   * @param {(all: Facts) => Kept | undefined} which
   */
  async #find(image, module, which) {
    const found = await findTranslations(image, (await this.cpu()).bytes, this.read, module, which);
    if (found) this.#found.set(image, found);
    return found;
  }
}

/**
 * @param {string} image
 * @param {Uint8Array} cpu cpu.wasm, which they must have been made for
 * @param {(name: string) => Promise<Response | null>} read a name below static/
 * @param {(name: string) => Promise<Response | null>} readModule
 * @param {(all: Facts) => Kept | undefined} which
 * @returns {Promise<Ahead | null>} null where there are none that fit; what is wrong with them is said on the console
 */
async function findTranslations(image, cpu, read, readModule, which) {
  try {
    const index = await (await read(INDEX))?.json();
    const all = index?.translations?.[image];
    if (!all || all.cpu !== (await digest(cpu))) return null;
    const found = which(all);
    if (!found) return null;
    const response = await readModule(`snapshots/${found.file}`);
    if (!response) return null;
    const copy = response.clone();
    // From the response itself: an engine keeps the code that it makes of it for the next visit.
    const [module, bytes] = await Promise.all([WebAssembly.compileStreaming(response), copy.arrayBuffer()]);
    if ((await digest(new Uint8Array(bytes))) !== found.digest) throw new Error("its contents are not what set-up wrote");
    const [table] = WebAssembly.Module.customSections(module, SECTION);
    if (!table) throw new Error(`it has no section ${SECTION}`);
    return { module, table: new Uint8Array(table) };
  } catch (error) {
    console.warn(`the translations made ahead for ${image} are not used:`, /** @type {Error} */ (error).message);
    return null;
  }
}

/** @param {Uint8Array} bytes */
async function digest(bytes) {
  const hash = await crypto.subtle.digest("SHA-256", /** @type {BufferSource} */ (bytes));
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
