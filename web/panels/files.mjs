/** The folder that host and guest share: what is in it, to it and from it. */

import { pickUploads, uploadAll } from "../uploads.mjs";
import { LivePanel } from "./live.mjs";

const ROOT = "/mnt/host";

/** @typedef {{name: string, kind: "file" | "folder" | "link", size: number, modified: number}} Entry */

export class FilesPanel extends LivePanel {
  static panel = {
    name: "files",
    label: "Files",
    icon: "M3 6h6l2 2h10v11H3z",
  };

  everyMs = 3000;
  #path = ROOT;
  #drawn = "";

  connectedCallback() {
    if (this.firstChild) return;
    this.innerHTML = `
      <p class="path"></p>
      <table class="files"><tbody></tbody></table>
      <p class="row">
        <button type="button" class="upload" title="machine.files.upload(path, data)">Add files…</button>
        <button type="button" class="folder" title="machine.files.make_folder(path)">New folder…</button>
      </p>
      <form class="fields share">
        <h3>A folder of this computer</h3>
        <label class="check"><input name="writable" type="checkbox" /> The guest may change it</label>
        <button type="submit">Share a folder…</button>
      </form>
      <p class="hint">Files dropped on the console come here too. <code>saved</code> outlasts this page; the rest of
        the folder does not.</p>`;
    const on = (/** @type {string} */ name, /** @type {() => void} */ act) =>
      /** @type {HTMLElement} */ (this.querySelector(name)).addEventListener("click", act);
    on(".upload", () => void this.#upload());
    on(".folder", () => void this.#makeFolder());
    const form = /** @type {HTMLFormElement} */ (this.querySelector("form.share"));
    form.hidden = !("showDirectoryPicker" in window);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const writable = /** @type {HTMLInputElement} */ (form.elements.namedItem("writable")).checked;
      void this.#share(writable);
    });
  }

  focus() {
    /** @type {HTMLElement | null} */ (this.querySelector("button"))?.focus();
  }

  async look() {
    const state = this.page.state().state;
    if (state !== "running" && state !== "paused") return this.#draw(null);
    try {
      this.#draw(await this.page.supervisor.python(`await machine.files.list(${JSON.stringify(this.#path)})`));
    } catch {
      if (this.#path !== ROOT) this.#enter(ROOT); // the folder has gone
      else this.#draw(null);
    }
  }

  /** @param {string} path */
  #enter(path) {
    this.#path = path;
    void this.look();
  }

  /** @param {Entry[] | null} entries null: there is no machine to ask */
  #draw(entries) {
    const now = JSON.stringify([this.#path, entries]);
    if (now === this.#drawn) return;
    this.#drawn = now;
    const focused = this.contains(document.activeElement);
    const path = /** @type {HTMLElement} */ (this.querySelector(".path"));
    const parts = this.#path.slice(ROOT.length).split("/").filter(Boolean);
    const steps = [ROOT, ...parts].map((name, i) => {
      const step = document.createElement("button");
      step.type = "button";
      step.className = "plain";
      step.textContent = name;
      step.addEventListener("click", () => this.#enter([ROOT, ...parts.slice(0, i)].join("/")));
      return step;
    });
    path.replaceChildren(...steps.flatMap((step, i) => (i ? [" / ", step] : [step])));
    const body = /** @type {HTMLElement} */ (this.querySelector("tbody"));
    if (!entries?.length) {
      body.innerHTML = `<tr><td class="hint">${entries ? "Empty." : "No machine runs."}</td></tr>`;
    } else {
      const sorted = [...entries].sort((a, b) => Number(b.kind === "folder") - Number(a.kind === "folder"));
      body.replaceChildren(...sorted.map((entry) => this.#row(entry)));
    }
    // The button that had the focus may be gone; without it Esc would not be heard here.
    if (focused && !this.contains(document.activeElement)) this.focus();
  }

  /** @param {Entry} entry */
  #row(entry) {
    const path = `${this.#path}/${entry.name}`;
    const row = document.createElement("tr");
    const name = document.createElement("button");
    name.type = "button";
    name.className = "plain";
    name.textContent = entry.kind === "folder" ? `${entry.name}/` : entry.name;
    name.title = entry.kind === "folder" ? "Open" : `Download: machine.files.read(${JSON.stringify(path)})`;
    name.addEventListener("click", () => (entry.kind === "folder" ? this.#enter(path) : void this.#download(path)));
    const size = document.createElement("td");
    size.className = "number";
    if (entry.kind === "folder") {
      const pack = document.createElement("button");
      pack.type = "button";
      pack.className = "plain";
      pack.textContent = "tar";
      pack.title = `Download all of it: machine.files.download(${JSON.stringify(path)})`;
      pack.addEventListener("click", () => void this.#download(path, `${entry.name}.tar`));
      size.append(pack);
    } else {
      size.textContent = sizeWords(entry.size);
    }
    const cell = document.createElement("td");
    cell.append(name);
    row.append(cell, size);
    return row;
  }

  /**
   * @param {string} path
   * @param {string} [name]
   */
  async #download(path, name = path.slice(path.lastIndexOf("/") + 1)) {
    try {
      const data = await this.page.supervisor.download(path);
      const url = URL.createObjectURL(new Blob([/** @type {BlobPart} */ (data)], { type: "application/octet-stream" }));
      const link = Object.assign(document.createElement("a"), { href: url, download: name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    } catch (error) {
      this.page.tell(/** @type {Error} */ (error));
    }
  }

  async #upload() {
    const uploads = await pickUploads();
    await uploadAll(this.page, uploads, this.#path);
    await this.look();
  }

  async #makeFolder() {
    const name = prompt("Name of the folder");
    if (!name) return;
    await this.page.act(`await machine.files.make_folder(${JSON.stringify(`${this.#path}/${name}`)})`);
    await this.look();
  }

  /** @param {boolean} writable */
  async #share(writable) {
    try {
      const handle = await /** @type {any} */ (window).showDirectoryPicker({ mode: writable ? "readwrite" : "read" });
      this.page.supervisor.share(handle.name, handle, writable);
      this.#enter(ROOT);
    } catch (error) {
      if (/** @type {Error} */ (error).name !== "AbortError") this.page.tell(/** @type {Error} */ (error));
    }
  }
}

/** @param {number} bytes */
function sizeWords(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

customElements.define("hw-files-panel", FilesPanel);
