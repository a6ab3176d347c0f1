/** Each hart's registers: sampled once a second while the machine runs, exact while it is paused. */

import { LivePanel } from "./live.mjs";

const QUESTION = `
[{"pc": f"{h.pc:016x}", "privilege": str(getattr(h.privilege, "name", h.privilege)), "instret": f"{h.instret:,}",
  "x": [f"{h.x[i]:016x}" for i in range(32)]} for h in (machine.harts if machine else [])]
`;

const NAMES = (
  "zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6"
).split(" ");

/** @typedef {{pc: string, privilege: string, instret: string, x: string[]}} Hart */

export class HartsPanel extends LivePanel {
  static panel = {
    name: "harts",
    label: "Harts",
    icon: "M8 8h8v8H8zM10 4v4M14 4v4M10 16v4M14 16v4M4 10h4M4 14h4M16 10h4M16 14h4",
  };

  /** @type {Hart[]} */
  #before = [];

  shown() {
    this.tabIndex = -1;
    super.shown();
  }

  async look() {
    try {
      this.#draw(await this.page.supervisor.python(QUESTION));
    } catch (error) {
      this.textContent = /** @type {Error} */ (error).message;
    }
  }

  /** @param {Hart[]} harts */
  #draw(harts) {
    const exact = this.page.state().state !== "running";
    const note = document.createElement("p");
    note.className = "hint";
    note.textContent = !harts.length
      ? "No machine yet."
      : exact
        ? "All harts stand still."
        : "A sample each second; machine.pause() makes it exact.";
    const parts = harts.map((hart, i) => this.#hart(hart, i));
    this.replaceChildren(note, ...parts);
    this.#before = harts;
  }

  /**
   * @param {Hart} hart
   * @param {number} index
   */
  #hart(hart, index) {
    const open = this.querySelectorAll("details")[index]?.open ?? index === 0;
    const fold = document.createElement("details");
    fold.open = open;
    const before = this.#before[index];
    const row = (/** @type {string} */ name, /** @type {string} */ value, /** @type {string | undefined} */ old) =>
      `<tr><th scope="row">${name}</th><td class="${old !== undefined && old !== value ? "changed" : ""}">${value}</td></tr>`;
    fold.innerHTML = `
      <summary>hart ${index} <code>${hart.pc}</code> <span>${hart.privilege}</span></summary>
      <table><tbody>${row("pc", hart.pc, before?.pc)}${row("instret", hart.instret, undefined)}
      ${NAMES.map((name, i) => (i ? row(name, hart.x[i], before?.x[i]) : "")).join("")}</tbody></table>`;
    return fold;
  }
}

customElements.define("hw-harts-panel", HartsPanel);
