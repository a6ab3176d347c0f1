/** The status line: one state in words, and the machine's figures. */

import { counted, memoryInWords, mipsInWords, uptimeInWords } from "./words.mjs";

/**
 * The "state" message of docs/contracts.md.
 *
 * @typedef {object} State
 * @property {"loading" | "running" | "paused" | "asleep" | "stopped" | "crashed"} state
 * @property {string} [image]
 * @property {string | null} [name] as it is called among sleeping machines
 * @property {number} [harts]
 * @property {number} [memory] bytes of RAM
 * @property {number} [mips] since the last message
 * @property {number} [uptime] seconds of guest time
 * @property {string | null} [error]
 */

const FIGURES = ["harts", "memory", "mips", "uptime"];

export class StatusElement extends HTMLElement {
  connectedCallback() {
    this.innerHTML = `
      <p class="state" role="status"><span class="dot"></span><span data-name="image"></span><span data-name="state"></span></p>
      <ul class="figures" aria-label="The machine’s figures">
        ${FIGURES.map((name) => `<li data-name="${name}"></li>`).join("")}
      </ul>`;
    this.show({ state: "loading" });
  }

  /** @param {State} state */
  show(state) {
    this.dataset.state = state.state;
    const on = state.state === "running" || state.state === "paused";
    this.#text("image", state.image ?? "");
    this.#text("state", state.state);
    this.#text("harts", state.harts ? counted(state.harts, "hart") : "");
    this.#text("memory", state.memory ? memoryInWords(state.memory) : "");
    this.#text("mips", on && state.mips !== undefined ? mipsInWords(state.mips) : "");
    this.#text("uptime", on && state.uptime !== undefined ? `up ${uptimeInWords(state.uptime)}` : "");
  }

  /**
   * @param {string} name
   * @param {string} text
   */
  #text(name, text) {
    const node = /** @type {HTMLElement} */ (this.querySelector(`[data-name="${name}"]`));
    if (node.textContent !== text) node.textContent = text; // unchanged text is not read out again
    node.hidden = text === "";
  }
}

customElements.define("hw-status", StatusElement);
