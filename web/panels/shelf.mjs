/** The sleeping machines: their last screens, and what can be done with them; above them, the machine that runs. */

import { settings } from "../settings.mjs";
import { pythonLiteral } from "../options.mjs";
import { ageInWords, bytesInWords, counted, memoryInWords } from "../words.mjs";

const LIST = `
import dataclasses
{"machines": [dataclasses.asdict(one) for one in await Machine.snapshots()],
 "room": dataclasses.asdict(await Machine.room()),
 "own": machine.name if machine is not None and machine.alive else None,
 "alive": machine is not None and machine.alive,
 "failed": machine.checkpoint_error if machine is not None else None}
`;

const INTERVALS = [[0, "never"], [5, "every 5 seconds"], [10, "every 10 seconds"], [30, "every 30 seconds"], [120, "every 2 minutes"]];

/**
 * @typedef {object} Sleeper
 * @property {string} name
 * @property {string} image
 * @property {number} harts
 * @property {number} memory
 * @property {number} stored
 * @property {number} time
 * @property {string} screen
 * @property {number} cols
 */

export class ShelfPanel extends HTMLElement {
  static panel = {
    name: "shelf",
    label: "Shelf",
    icon: "M20 14.5A8 8 0 1 1 9.5 4a6.5 6.5 0 0 0 10.5 10.5zM14 4h5l-5 5h5",
  };

  /** @type {import("../dock.mjs").Page} */
  page;

  connectedCallback() {
    if (this.firstChild) return;
    this.innerHTML = `
      <form class="fields now">
        <label>Name <input name="name" maxlength="100" spellcheck="false" autocomplete="off" /></label>
        <div class="row">
          <button class="main" type="submit" name="sleep">Sleep</button>
          <button type="button" name="save" title="await machine.checkpoint()">Save and go on</button>
        </div>
        <label>Save while it runs <select name="interval"></select></label>
        <p class="hint" data-name="failed"></p>
      </form>
      <ul class="machines" aria-label="Sleeping machines"></ul>
      <div class="row">
        <label class="button">Import… <input type="file" accept=".hartwell" hidden /></label>
      </div>
      <p class="hint" data-name="room"></p>`;
    const form = /** @type {HTMLFormElement} */ (this.querySelector("form"));
    const name = () => /** @type {HTMLInputElement} */ (form.elements.namedItem("name")).value.trim();
    const argument = () => (name() ? pythonLiteral(name()) : "");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#act(`await machine.hibernate(${argument()})`);
    });
    const save = /** @type {HTMLButtonElement} */ (form.elements.namedItem("save"));
    save.addEventListener("click", () => this.#act(`await machine.checkpoint(${argument()})`));
    const interval = /** @type {HTMLSelectElement} */ (form.elements.namedItem("interval"));
    interval.replaceChildren(...INTERVALS.map(([seconds, words]) => new Option(String(words), String(seconds))));
    interval.value = String(settings.saveSeconds);
    interval.addEventListener("change", () => settings.set({ saveSeconds: Number(interval.value) }));
    const file = /** @type {HTMLInputElement} */ (this.querySelector('input[type="file"]'));
    file.addEventListener("change", async () => {
      const chosen = file.files?.[0];
      file.value = "";
      if (!chosen) return;
      await this.page.supervisor.importFile(chosen).catch((error) => this.page.tell(error));
      await this.#list();
    });
    this.querySelector("ul")?.addEventListener("click", (event) => {
      const button = /** @type {HTMLElement} */ (event.target).closest("button");
      if (button) void this.#press(button);
    });
  }

  shown() {
    this.tabIndex = -1;
    void this.#list();
  }

  focus() {
    /** @type {HTMLElement | null} */ (this.querySelector(".machines button, .now input"))?.focus();
  }

  /** @param {string} call */
  async #act(call) {
    await this.page.act(call);
    await this.#list();
  }

  /** @param {HTMLElement} button */
  async #press(button) {
    const { act, name = "" } = button.dataset;
    const literal = pythonLiteral(name);
    if (act === "wake") {
      const elsewhere = await this.page.supervisor.python(`await Machine.in_use(${literal})`).catch(() => false);
      if (elsewhere && !confirm(`${name} runs in another tab. Bring it here while it runs?`)) return;
      return this.#act(`machine = await Machine.wake(${literal}${elsewhere ? ", move=True" : ""})`);
    }
    if (act === "copy") return this.#act(`machine = await Machine.wake(${literal}, fork=True)`);
    if (act === "export") return this.page.supervisor.exportFile(name).catch((error) => this.page.tell(error));
    if (act === "rename") {
      const wanted = prompt(`A new name for ${name}`, name)?.trim();
      if (wanted && wanted !== name) await this.#act(`await Machine.rename_snapshot(${literal}, ${pythonLiteral(wanted)})`);
      return;
    }
    if (act === "delete" && confirm(`Delete the sleeping machine ${name}? It cannot be brought back.`)) {
      await this.#act(`await Machine.delete_snapshot(${literal})`);
    }
  }

  async #list() {
    const told = await this.page.supervisor.python(LIST).catch(() => null);
    if (!told) return;
    const form = /** @type {HTMLFormElement} */ (this.querySelector("form"));
    for (const element of form.querySelectorAll("button")) element.disabled = !told.alive;
    const name = /** @type {HTMLInputElement} */ (form.elements.namedItem("name"));
    name.placeholder = told.own ?? "";
    this.#text("failed", told.failed ? `The last save failed: ${told.failed}` : "");
    const { used, quota, lasting } = told.room;
    const free = quota ? `${bytesInWords(used)} of ${bytesInWords(quota)} used. ` : "";
    this.#text("room", `${free}${lasting ? "" : "The browser may drop what is stored when disk space is short; exported files are safe from that."}`);
    const list = /** @type {HTMLElement} */ (this.querySelector("ul"));
    list.replaceChildren(...told.machines.map((/** @type {Sleeper} */ one) => card(one, one.name === told.own)));
    if (!told.machines.length) list.innerHTML = `<li class="hint">No machine sleeps here yet.</li>`;
  }

  /**
   * @param {string} name
   * @param {string} text
   */
  #text(name, text) {
    /** @type {HTMLElement} */ (this.querySelector(`[data-name="${name}"]`)).textContent = text;
  }
}

/**
 * @param {Sleeper} one
 * @param {boolean} running it is the machine on this page, saved at that time
 */
function card(one, running) {
  const item = document.createElement("li");
  const picture = document.createElement("pre");
  picture.setAttribute("aria-hidden", "true");
  picture.style.setProperty("--cols", String(Math.max(20, one.cols)));
  picture.textContent = one.screen;
  const title = document.createElement("h3");
  title.textContent = one.name;
  const facts = document.createElement("p");
  facts.className = "hint";
  facts.textContent = [
    one.image, counted(one.harts, "hart"), memoryInWords(one.memory), bytesInWords(one.stored),
    running ? `runs here, saved ${ageInWords(one.time)}` : ageInWords(one.time),
  ].join(" · ");
  const row = document.createElement("div");
  row.className = "row";
  const literal = pythonLiteral(one.name);
  /** @type {[string, string, string][]} act, label, call */
  const buttons = [
    ["wake", "Wake", `machine = await Machine.wake(${literal})`],
    ["copy", "Copy", `machine = await Machine.wake(${literal}, fork=True)`],
    ["export", "Export", `the file ${one.name}.hartwell`],
    ["rename", "Rename", `await Machine.rename_snapshot(${literal}, …)`],
    ["delete", "Delete", `await Machine.delete_snapshot(${literal})`],
  ];
  for (const [act, label, call] of buttons) {
    const button = document.createElement("button");
    button.textContent = label;
    button.title = call;
    button.dataset.act = act;
    button.dataset.name = one.name;
    button.disabled = running && (act === "wake" || act === "delete" || act === "rename");
    button.setAttribute("aria-label", `${label} ${one.name}`);
    row.append(button);
  }
  item.append(picture, title, facts, row);
  return item;
}

customElements.define("hw-shelf-panel", ShelfPanel);
