/**
 * The disks of a machine that wakes before Python is up: what hartwell.machine_disks
 * and hartwell.disks do on a wake, of disks that need nothing unusual.  Those are
 * empty ones and images, whose changes are kept under the name that they had.
 */

import { CHUNK, DIGEST } from "./storage/store.mjs";

const DESCRIPTION = "disk.json"; // of an image, which lies beside its chunks and their table

/**
 * @typedef {object} Served what hartwell.machine_disks.MachineDisks goes on with
 * @property {number} machine as openDisks gave it; 0: no disk is more than its machine's memory
 * @property {string[]} locked
 * @property {Record<string, string>} scratch of a disk that nobody gave a name: its record, as long as the machine lives
 * @property {any[]} disks as for openDisks
 */

export class EarlyDisks {
  /** @type {Served} */
  served = { machine: 0, locked: [], scratch: {}, disks: [] };

  /**
   * @param {import("./storage/client.mjs").StorageClient} store
   * @param {(name: string) => string} address of a file below static/
   * @param {any} manifest
   * @param {string} owner the machine's identity
   * @param {number} pack an open file that has their chunks, 0: the store
   */
  constructor(store, address, manifest, owner, pack) {
    this.store = store;
    this.address = address;
    this.manifest = manifest;
    this.owner = owner;
    this.pack = pack;
  }

  /** Finds their bases and takes their names; an error says what only Python can do. */
  async take() {
    const { recipe, machine } = this.manifest;
    const places = recipe.disks ?? [];
    if (places.length !== machine.disks.length) throw new Error("its disks are not in the recipe");
    const bases = await Promise.all(
      places.map((/** @type {any} */ place, /** @type {number} */ i) => place && this.#base(machine.disks[i])));
    for (const [i, place] of places.entries()) {
      if (!place) continue; // all of it is in the machine's memory
      const { bytes, frames, overlay, born, generation, changed } = machine.disks[i];
      const scratch = overlay === null ? `${this.owner} ${i}` : "";
      if (scratch) this.served.scratch[i] = scratch;
      const name = scratch || overlay;
      if (!(await this.store.lock(`disk ${name}`))) throw new Error(`another machine has the disk ${name}`);
      this.served.locked.push(name);
      // Under its lock: who had it until now may have written to it.
      if (!scratch && !(await this.#unchanged(machine.disks[i]))) throw new Error(`another machine has changed the disk ${name}`);
      const from = { born, generation, pack: this.pack, entries: changed, scratch };
      this.served.disks.push({ ...place, index: i, bytes, frames, base: bases[i], overlay, owner: this.owner, from });
    }
  }

  /** The machine's memory is what it was: begins to serve them. @param {any} core */
  async open(core) {
    const { disks } = this.served;
    for (const { durable, overlay } of disks) core.store(durable, overlay === null ? 0 : 1);
    if (disks.length) this.served.machine = await this.store.openDisks(core, JSON.stringify({ bell: this.manifest.recipe.bell, disks }));
  }

  /** Ends all of it. */
  async close() {
    const { machine, locked, scratch } = this.served;
    if (machine) await this.store.closeDisks(machine);
    for (const name of Object.values(scratch)) await this.store.dropRecord("scratch", name);
    for (const name of locked) await this.store.unlock(`disk ${name}`);
  }

  /**
   * @param {{kind: string, name: string, source: string | null, digest: string, size: number}} said
   */
  async #base({ kind, name, source, digest, size }) {
    if (kind === "zeros") return { kind, name };
    if (kind !== "chunks" || !source?.endsWith(DESCRIPTION)) throw new Error(`the disk ${name} is over ${source}`);
    const folder = source.slice(0, -DESCRIPTION.length);
    const url = this.address(`${folder}disk.bin`);
    // That its table is the one it slept over is seen when that is read.
    const response = await fetch(url, { method: "HEAD" });
    const length = (size / (4 + DIGEST)) * CHUNK;
    if (!response.ok || Number(response.headers.get("content-length")) !== length) throw new Error(`${url} is not what it was`);
    return { kind, name: folder.replace(/\/+$/, ""), url, table: this.address(`${folder}disk.table`), digest, size };
  }

  /**
   * Does what is kept under the disk's name belong to this machine?
   * @param {{overlay: string, bytes: number, born: number, generation: number}} said
   */
  async #unchanged({ overlay, bytes, born, generation }) {
    /** @type {{name: string, about: string}[]} */
    const kept = JSON.parse(await this.store.records("disk"));
    const found = kept.find(({ name }) => name === overlay);
    if (!found) return true;
    const about = JSON.parse(found.about);
    return about.bytes === bytes && (about.owner === this.owner || (about.born === born && about.generation === generation));
  }
}
