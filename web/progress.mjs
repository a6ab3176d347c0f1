/** What goes on before the guest has anything to say: what is loaded, how much, how fast, and that it starts. */

import { bytesInWords } from "./words.mjs";

/**
 * @typedef {object} Item
 * @property {number} loaded bytes
 * @property {number} total bytes, 0 while unknown
 * @property {number} began performance.now()
 * @property {number} ended performance.now(), 0 while it lasts
 */

export class ProgressElement extends HTMLElement {
  /** @type {Map<string, Item>} */
  #items = new Map();
  #timer = 0;

  connectedCallback() {
    this.hidden = true;
    this.setAttribute("aria-live", "polite");
  }

  /**
   * A step without bytes has total 0 and ends when the next one begins.
   * @param {{what: string, loaded: number, total: number}} message
   */
  report({ what, loaded, total }) {
    const now = performance.now();
    for (const item of this.#items.values()) if (item.total === 0 && item.ended === 0) item.ended = now;
    const item = this.#items.get(what) ?? { loaded: 0, total: 0, began: now, ended: 0 };
    item.loaded = loaded;
    item.total = total;
    item.ended = total > 0 && loaded >= total ? now : 0;
    this.#items.set(what, item);
    this.#show();
  }

  /** The guest speaks, or nothing more will come. */
  done() {
    this.#items.clear();
    clearInterval(this.#timer);
    this.#timer = 0;
    this.hidden = true;
  }

  #show() {
    this.hidden = false;
    this.#timer ||= window.setInterval(() => this.#draw(), 250);
    this.#draw();
  }

  #draw() {
    const now = performance.now();
    const rows = [...this.#items].map(([what, item]) => {
      const row = document.createElement("li");
      row.className = item.ended ? "done" : "busy";
      const name = document.createElement("span");
      name.textContent = what;
      const amount = document.createElement("span");
      amount.textContent = amountInWords(item, now);
      const bar = document.createElement("progress");
      if (item.total > 0) {
        bar.max = item.total;
        bar.value = item.loaded;
      } else if (item.ended) {
        bar.value = 1;
      }
      bar.setAttribute("aria-label", what);
      row.append(name, amount, bar);
      return row;
    });
    const list = document.createElement("ul");
    list.append(...rows);
    this.replaceChildren(list);
  }
}

/**
 * @param {Item} item
 * @param {number} now
 */
function amountInWords({ loaded, total, began, ended }, now) {
  const seconds = ((ended || now) - began) / 1000;
  if (total === 0) return loaded ? bytesInWords(loaded) : `${seconds.toFixed(1)} s`;
  if (ended) return bytesInWords(total);
  const speed = seconds > 0.3 ? `, ${bytesInWords(Math.round(loaded / seconds))}/s` : "";
  return `${bytesInWords(loaded)} of ${bytesInWords(total)}${speed}`;
}

customElements.define("hw-progress", ProgressElement);
