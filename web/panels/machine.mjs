/** What machine there is, and the form to boot another; below it, the console's looks. */

import { pythonCall } from "../options.mjs";
import { settings } from "../settings.mjs";

export class MachinePanel extends HTMLElement {
  static panel = {
    name: "machine",
    label: "Machine",
    icon: "M4 5h16v11H4zM9 20h6M12 16v4",
  };

  /** @type {import("../dock.mjs").Page} */
  page;

  connectedCallback() {
    if (this.firstChild) return;
    const { options } = this.page;
    this.innerHTML = `
      <form class="fields">
        <label>Image <select name="image"></select></label>
        <label>Harts <input name="harts" type="number" min="1" max="8" step="1" /></label>
        <label>Memory <input name="memory" placeholder="512M" spellcheck="false" /></label>
        <label>Added to the kernel’s command line <input name="append" spellcheck="false" autocapitalize="off" /></label>
        <p class="call"><code></code></p>
        <button class="main" type="submit">Boot</button>
        <p class="hint">A machine that runs now is switched off first, as by pulling its plug.</p>
      </form>
      <form class="fields looks">
        <h3>Console</h3>
        <label>Size of the letters <input name="fontSize" type="number" min="9" max="28" /></label>
        <label class="check"><input name="screenReader" type="checkbox" /> Read the console to a screen reader</label>
      </form>`;
    const form = /** @type {HTMLFormElement} */ (this.querySelector("form"));
    for (const [name, value] of Object.entries(options)) {
      const input = /** @type {HTMLInputElement | null} */ (form.elements.namedItem(name));
      if (input && name !== "image") input.value = String(value);
    }
    form.addEventListener("input", () => this.#showCall(form));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.page.act(this.#call(form));
    });
    void this.#listImages(form);
    this.#looks();
    this.#showCall(form);
  }

  focus() {
    /** @type {HTMLElement | null} */ (this.querySelector("select"))?.focus();
  }

  /** @param {HTMLFormElement} form */
  async #listImages(form) {
    const select = /** @type {HTMLSelectElement} */ (form.elements.namedItem("image"));
    const answer = await fetch("static/images/index.json").catch(() => null);
    const index = answer?.ok ? await answer.json() : { images: [] };
    const wanted = String(this.page.options.image ?? index.default ?? "");
    const names = new Set([...index.images, ...(wanted ? [wanted] : [])]);
    select.replaceChildren(...[...names].map((name) => new Option(name, name, false, name === wanted)));
    this.#showCall(form);
  }

  /** @param {HTMLFormElement} form */
  #call(form) {
    const { harts, ...texts } = Object.fromEntries(new FormData(form));
    /** @type {Record<string, string | number>} */
    const given = {};
    for (const [name, value] of Object.entries(texts)) if (value) given[name] = String(value);
    if (harts) given.harts = Number(harts);
    return `machine = await ${pythonCall("Machine.boot", given)}`;
  }

  /** @param {HTMLFormElement} form */
  #showCall(form) {
    const code = /** @type {HTMLElement} */ (form.querySelector("code"));
    code.textContent = this.#call(form);
  }

  #looks() {
    const form = /** @type {HTMLFormElement} */ (this.querySelector(".looks"));
    const size = /** @type {HTMLInputElement} */ (form.elements.namedItem("fontSize"));
    const reader = /** @type {HTMLInputElement} */ (form.elements.namedItem("screenReader"));
    size.valueAsNumber = settings.fontSize;
    reader.checked = settings.screenReader;
    form.addEventListener("change", () => {
      settings.set({ fontSize: size.valueAsNumber || settings.fontSize, screenReader: reader.checked });
    });
    form.addEventListener("submit", (event) => event.preventDefault());
  }
}

customElements.define("hw-machine-panel", MachinePanel);
