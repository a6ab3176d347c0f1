/** `machine.statistics()` once a second, and the speed of the last minute as a line. */

import { LivePanel } from "./live.mjs";

const SAMPLES = 60;

export class NumbersPanel extends LivePanel {
  static panel = {
    name: "numbers",
    label: "Numbers",
    icon: "M4 20h16M7 20v-7M12 20V5M17 20v-11",
  };

  /** @type {number[]} */
  #mips = [];

  shown() {
    this.tabIndex = -1;
    super.shown();
  }

  async look() {
    try {
      const state = this.page.state();
      this.#mips = [...this.#mips, state.mips ?? 0].slice(-SAMPLES);
      this.#draw(await this.page.supervisor.python("machine.statistics() if machine else None"));
    } catch (error) {
      this.textContent = /** @type {Error} */ (error).message;
    }
  }

  /** @param {unknown} numbers */
  #draw(numbers) {
    if (!numbers) {
      this.textContent = "No machine yet.";
      return;
    }
    const most = Math.max(...this.#mips, 1);
    const points = this.#mips.map((mips, i) => `${((i + SAMPLES - this.#mips.length) * 300) / (SAMPLES - 1)},${46 - (44 * mips) / most}`);
    const figure = document.createElement("figure");
    figure.innerHTML = `
      <svg viewBox="0 0 300 48" preserveAspectRatio="none" role="img" aria-label="MIPS in the last minute">
        <polyline points="${points.join(" ")}"/></svg>
      <figcaption>MIPS, the last minute; up to ${most.toFixed(0)}</figcaption>`;
    const table = document.createElement("table");
    const body = table.createTBody();
    for (const [name, value] of flatten(numbers)) {
      const row = body.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      row.append(head);
      row.insertCell().textContent = value;
    }
    this.replaceChildren(figure, table);
  }
}

/**
 * Nested numbers as rows: {harts: [{traps: 3}]} gives ["harts 0 traps", "3"].
 *
 * @param {unknown} value
 * @param {string} [name]
 * @returns {[string, string][]}
 */
function flatten(value, name = "") {
  if (value !== null && typeof value === "object") {
    return Object.entries(value).flatMap(([key, inner]) => flatten(inner, `${name} ${key.replaceAll("_", " ")}`.trim()));
  }
  if (typeof value === "number") {
    return [[name, Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(2)]];
  }
  return [[name, String(value)]];
}

customElements.define("hw-numbers-panel", NumbersPanel);
