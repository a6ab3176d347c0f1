/** A panel that looks at the machine again and again, as long as it is shown. */
export class LivePanel extends HTMLElement {
  /** @type {import("../dock.mjs").Page} */
  page;
  /** Between two looks. */
  everyMs = 1000;
  #timer = 0;

  /** Asks, and draws what the answer is. @returns {Promise<void>} */
  async look() {
    throw new Error(`${this.tagName} does not say what it looks at`);
  }

  shown() {
    this.#timer ||= window.setInterval(() => void this.look(), this.everyMs);
    void this.look();
  }

  concealed() {
    clearInterval(this.#timer);
    this.#timer = 0;
  }
}
