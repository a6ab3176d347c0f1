/** Where the guest spends its time: a flame graph and the functions with most of it. */

import { flameGraph } from "./flame.mjs";
import { download } from "./save.mjs";

const SUMMARY = `{"tree": profile.tree(), "samples": profile.samples, "busy": profile.busy, "seconds": profile.seconds,
 "harts": profile.harts, "lost": profile.lost,
 "top": [{"name": line.name, "own": line.own, "total": line.total} for line in profile.top(30)]}`;

/** @typedef {{name: string, own: number, total: number}} Line */
/** @typedef {{tree: any, samples: number, busy: number, seconds: number, harts: number, lost: number, top: Line[]}} Summary */

export class ProfilePanel extends HTMLElement {
  static panel = {
    name: "profile",
    label: "Profile",
    icon: "M4 20h16M4 16h16v4M4 12h11v4M6 8h6v4M8 4h3v4",
  };

  /** @type {import("../dock.mjs").Page} */
  page;

  connectedCallback() {
    if (this.firstChild) return;
    this.innerHTML = `
      <form class="row">
        <label>Seconds <input name="seconds" type="number" min="1" max="600" step="1" value="5" /></label>
        <label>Samples a second <input name="hz" type="number" min="1" max="1000" step="1" value="1000" /></label>
        <button class="main" type="submit">Profile</button>
      </form>
      <p class="call"><code></code></p>
      <p class="hint" role="status">Harts take samples of themselves; nothing stops, and nothing in the guest is changed.</p>
      <div class="graph"></div>
      <p class="told hint" aria-live="polite"></p>
      <table hidden><thead><tr><th>Function</th><th>Own</th><th>With calls</th></tr></thead><tbody></tbody></table>
      <p class="row saves" hidden>
        <button type="button" name="speedscope" title="profile.speedscope()">Save for speedscope</button>
        <button type="button" name="collapsed" title="profile.collapsed()">Save collapsed stacks</button>
      </p>`;
    const form = /** @type {HTMLFormElement} */ (this.querySelector("form"));
    const show = () => ((/** @type {HTMLElement} */ (this.querySelector("code"))).textContent = this.#call(form));
    form.addEventListener("input", show);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#profile(form);
    });
    show();
    for (const [name, file] of [["speedscope", "profile.speedscope.json"], ["collapsed", "profile.txt"]]) {
      /** @type {HTMLElement} */ (this.querySelector(`[name="${name}"]`)).addEventListener("click", async () => {
        const text = await this.page.act(`profile.${name}()`);
        if (text !== null) download(file, text);
      });
    }
  }

  focus() {
    /** @type {HTMLElement | null} */ (this.querySelector(".main"))?.focus();
  }

  /** @param {HTMLFormElement} form */
  #call(form) {
    const { seconds, hz } = Object.fromEntries(new FormData(form));
    return `profile = await machine.profile(seconds=${Number(seconds) || 5}, hz=${Number(hz) || 1000})`;
  }

  /** @param {HTMLFormElement} form */
  async #profile(form) {
    const button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
    const status = /** @type {HTMLElement} */ (this.querySelector("[role=status]"));
    button.disabled = true;
    status.textContent = "Taking samples …";
    const call = this.#call(form);
    const summary = await this.page.act(`${call}\n${SUMMARY}`);
    button.disabled = false;
    status.textContent = "";
    if (summary) this.#draw(summary);
  }

  /** @param {Summary} summary */
  #draw({ tree, samples, busy, seconds, harts, lost, top }) {
    const status = /** @type {HTMLElement} */ (this.querySelector("[role=status]"));
    status.textContent =
      `${samples.toLocaleString("en")} samples in ${seconds.toFixed(1)} s; ` +
      `${harts === 1 ? "the hart was" : `${harts} harts were`} at work at least ${percent(busy)} of the time` +
      (lost ? `; ${lost} samples lost` : "") + (samples ? "." : ": nothing ran.");
    const told = /** @type {HTMLElement} */ (this.querySelector(".told"));
    told.textContent = samples ? "Point at a box for its numbers; click it to make it the whole width." : "";
    const graph = /** @type {HTMLElement} */ (this.querySelector(".graph"));
    graph.replaceChildren(...(samples ? [flameGraph(tree, (text) => (told.textContent = text))] : []));
    const table = /** @type {HTMLTableElement} */ (this.querySelector("table"));
    table.hidden = /** @type {HTMLElement} */ (this.querySelector(".saves")).hidden = !samples;
    const rows = top.map(({ name, own, total }) => {
      const row = document.createElement("tr");
      for (const text of [name.replace("_[k]", " (kernel)"), percent(own), percent(total)]) {
        row.insertCell().textContent = text;
      }
      return row;
    });
    /** @type {HTMLElement} */ (table.querySelector("tbody")).replaceChildren(...rows);
  }
}

/** @param {number} part */
function percent(part) {
  return `${(100 * part).toFixed(1)} %`;
}

customElements.define("hw-profile-panel", ProfilePanel);
