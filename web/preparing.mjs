/**
 * What serve.py prepares behind the page: a small word in the bar while it is
 * at work, and an offer when it is done.  preparing.json: docs/contracts.md.
 */

import { pythonLiteral } from "./options.mjs";

const EVERY_MS = 3000;
const LATER_MS = 60_000;
const KEY = "hartwell.offered"; // the image that was offered last, so that it is offered once

/** @typedef {{state: "none" | "preparing" | "ready" | "failed", image?: string, what?: string, part?: number, message?: string}} Preparing */

export class PreparingElement extends HTMLElement {
  #before = "";

  connectedCallback() {
    this.hidden = true;
    this.innerHTML = `<span></span> <progress max="1"></progress>`;
  }

  /**
   * Watches until there is nothing more to see.
   * @param {import("./notice.mjs").NoticeElement} notice
   * @param {() => import("./status.mjs").State} state
   * @param {(call: string) => void} act
   */
  async watch(notice, state, act) {
    for (;;) {
      /** @type {Preparing | null} */
      const told = document.hidden ? null : await fetch("preparing.json").then((answer) => answer.json(), () => null);
      if (told) {
        this.#show(told);
        if (told.state === "ready" && state().image && state().image !== told.image) this.#offer(told.image ?? "", notice, act);
        if (told.state === "failed" && this.#before === "preparing") {
          notice.show({
            title: `${capital(told.image ?? "")} could not be prepared; this machine is not touched by it.`,
            text: `${told.message} — the next start of serve.py tries again.`,
          });
        }
        if (told.state === "ready" ? state().image : told.state !== "preparing") return;
        this.#before = told.state;
      }
      const gone = !told && !document.hidden; // the server is, and what it prepared with it; it may come back
      if (gone) this.hidden = true;
      await new Promise((resolve) => setTimeout(resolve, gone ? LATER_MS : EVERY_MS));
    }
  }

  /** @param {Preparing} told */
  #show({ state, image = "", what = "", part = 0 }) {
    this.hidden = state !== "preparing";
    if (this.hidden) return;
    const percent = Math.floor(100 * part);
    /** @type {HTMLElement} */ (this.firstElementChild).textContent = `${capital(image)} ${percent} %`;
    const bar = /** @type {HTMLProgressElement} */ (this.querySelector("progress"));
    bar.value = part;
    bar.setAttribute("aria-label", `${capital(image)} is being prepared`);
    this.title = `${capital(image)} is being prepared behind this page, when nothing else wants the computer: ${what}`;
  }

  /**
   * @param {string} image
   * @param {import("./notice.mjs").NoticeElement} notice
   * @param {(call: string) => void} act
   */
  #offer(image, notice, act) {
    if (localStorage.getItem(KEY) === image && this.#before !== "preparing") return;
    localStorage.setItem(KEY, image);
    const call = `machine = await Machine.open(${pythonLiteral(image)})`;
    notice.show({
      title: `${capital(image)} is ready.`,
      text: "The machine that runs now goes to sleep on the shelf.",
      calm: true,
      action: { label: "Open it", title: call, act: () => act(call) },
    });
  }
}

/** @param {string} word */
const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);

customElements.define("hw-preparing", PreparingElement);
