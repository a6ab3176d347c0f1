/**
 * The machine's buttons.  Each is one call of the public API and says which:
 * a person who points at a button learns the Python for it.
 */

import { pythonLiteral } from "./options.mjs";

/** @typedef {import("./status.mjs").State} State */

const ICONS = {
  start: "M8 5v14l11-7z",
  sleep: "M20 14.5A8 8 0 1 1 9.5 4a6.5 6.5 0 0 0 10.5 10.5z",
  pause: "M7 5h4v14H7zM13 5h4v14h-4z",
  reset: "M12 5V1L7 6l5 5V7a5 5 0 1 1-5 5H5a7 7 0 1 0 7-7z",
  power: "M11 3h2v9h-2zM7 6.2 5.6 4.8A9 9 0 1 0 18.4 4.8L17 6.2a7 7 0 1 1-10 0z",
};

/** @typedef {{label: string, icon: string, call: string}} Button */

const PAUSE = { label: "Pause", icon: ICONS.pause, call: "machine.pause()" };
const RESUME = { label: "Resume", icon: ICONS.start, call: "machine.resume()" };
const RESET = { label: "Reset", icon: ICONS.reset, call: "machine.reset()" };
const SLEEP = { label: "Sleep", icon: ICONS.sleep, call: "await machine.hibernate()" };
const POWER_OFF = { label: "Power off", icon: ICONS.power, call: "await machine.shutdown()" };

export class ControlsElement extends HTMLElement {
  /** The call behind Start; main.mjs sets it from the address's parameters. */
  bootCall = "machine = await Machine.boot()";
  #shown = "";

  connectedCallback() {
    this.addEventListener("click", (event) => {
      const button = /** @type {HTMLElement} */ (event.target).closest("button");
      if (button?.dataset.call) this.dispatchEvent(new CustomEvent("call", { detail: button.dataset.call }));
    });
    this.show({ state: "loading" });
  }

  /** @param {State} state */
  show({ state, name }) {
    const start = { label: "Start", icon: ICONS.start, call: this.bootCall };
    const on = state === "running" || state === "paused";
    const wake = { label: "Wake", icon: ICONS.start, call: `machine = await Machine.wake(${pythonLiteral(name ?? "")})` };
    const main = state === "running" ? SLEEP : state === "paused" ? RESUME : state === "asleep" ? wake : start;
    const second = state === "paused" ? SLEEP : state === "asleep" ? start : PAUSE;
    /** @type {[Button, boolean][]} button, usable */
    const buttons = [
      [main, state !== "loading"], [second, on || state === "asleep"], [RESET, on || state === "crashed"], [POWER_OFF, on],
    ];
    const wanted = JSON.stringify(buttons);
    if (wanted === this.#shown) return; // the focus stays where it is
    this.#shown = wanted;
    const focused = [...this.children].indexOf(/** @type {Element} */ (document.activeElement));
    this.replaceChildren(...buttons.map(([button, usable], i) => element(button, usable, i === 0)));
    if (focused >= 0) /** @type {HTMLElement} */ (this.children[focused]).focus();
  }
}

/**
 * @param {Button} button
 * @param {boolean} usable
 * @param {boolean} main
 */
function element({ label, icon, call }, usable, main) {
  const made = document.createElement("button");
  made.className = main ? "main" : "quiet";
  made.disabled = !usable;
  made.dataset.call = call;
  made.title = `${label}: ${call}`;
  made.setAttribute("aria-label", label);
  made.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${icon}"/></svg><span>${label}</span>`;
  return made;
}

customElements.define("hw-controls", ControlsElement);
