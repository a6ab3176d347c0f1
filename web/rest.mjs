/**
 * When nobody looks: saves the machine at once, and sends it to sleep after a
 * while; it wakes when the page is seen again.
 *
 * What a browser promises is little (docs/hibernation.md): a hidden page's
 * timers may come late, a frozen or closed one gets no more time.  So the save
 * begins as soon as the page is hidden, and a machine that did not get to
 * sleep wakes from its last checkpoint.
 */

import { settings } from "./settings.mjs";

/** @typedef {import("./status.mjs").State} State */

export class Rest {
  #timer = 0;
  #asleep = "";
  #asked = false;

  /**
   * @param {import("./supervisor-client.mjs").Supervisor} supervisor
   * @param {() => State} state
   */
  constructor(supervisor, state) {
    this.supervisor = supervisor;
    this.state = state;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#hidden() : this.#seen()));
    for (const event of ["pagehide", "freeze"]) {
      (event === "freeze" ? document : window).addEventListener(event, () => this.#save());
    }
  }

  #save() {
    if (!this.#asked) {
      this.#asked = true;
      // Storage that the browser does not drop by itself; some ask the person.
      void navigator.storage?.persist?.().catch(() => false);
    }
    if (settings.saveSeconds && this.state().state === "running") {
      void this.supervisor.python("await machine.checkpoint()").catch(() => {}); // the shelf tells of it
    }
  }

  #hidden() {
    this.#save();
    if (!settings.sleepMinutes) return;
    this.#timer = window.setTimeout(async () => {
      const { state } = this.state();
      if (!document.hidden || state !== "running") return;
      const name = await this.supervisor.python("await machine.hibernate()\nmachine.name").catch(() => "");
      this.#asleep = name ?? "";
      if (!document.hidden) this.#seen();
    }, settings.sleepMinutes * 60_000);
  }

  #seen() {
    clearTimeout(this.#timer);
    if (!this.#asleep || this.state().state !== "asleep") return;
    const name = this.#asleep;
    this.#asleep = "";
    void this.supervisor.python(`machine = await Machine.wake(${JSON.stringify(name)})`).catch(() => {});
  }
}
