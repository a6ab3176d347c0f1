/** What the guest's network cards are plugged into, and a window on its web servers. */

import "../guest-frame.mjs";
import { LivePanel } from "./live.mjs";

/** @typedef {{number: number, mac: string, segment: string, state: string, reaches?: string, forwards?: string[], error?: string}} Card */

export class NetworkPanel extends LivePanel {
  static panel = {
    name: "network",
    label: "Network",
    icon: "M12 3v6M6 21v-6h12v6M4 9h16v6H4z",
  };

  everyMs = 2000;
  #drawn = "";

  connectedCallback() {
    if (this.firstChild) return;
    this.innerHTML = `
      <div class="cards"></div>
      <form class="fields open">
        <h3>A web server of the guest’s</h3>
        <label>Port <input name="port" type="number" min="1" max="65535" value="8000" required /></label>
        <label>Path <input name="path" value="/" spellcheck="false" /></label>
        <p class="row">
          <button class="main" type="submit" title="await machine.http(8000, '/')">Show</button>
          <button type="button" class="close" hidden>Close</button>
          <a class="tab" target="_blank" rel="noopener" hidden>Open in a tab</a>
        </p>
      </form>
      <hw-guest-frame></hw-guest-frame>`;
    const form = /** @type {HTMLFormElement} */ (this.querySelector("form"));
    const frame = /** @type {import("../guest-frame.mjs").GuestFrame} */ (this.querySelector("hw-guest-frame"));
    const close = /** @type {HTMLButtonElement} */ (form.querySelector(".close"));
    const link = /** @type {HTMLAnchorElement} */ (form.querySelector(".tab"));
    const field = (/** @type {string} */ name) => /** @type {HTMLInputElement} */ (form.elements.namedItem(name));
    frame.supervisor = this.page.supervisor;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const path = field("path").value || "/";
      frame.show(Number(field("port").value), path.startsWith("/") ? path : `/${path}`).then(
        (address) => {
          link.href = address;
          close.hidden = link.hidden = false;
        },
        (error) => this.page.tell(error),
      );
    });
    close.addEventListener("click", () => {
      frame.close();
      close.hidden = link.hidden = true;
    });
  }

  focus() {
    /** @type {HTMLElement | null} */ (this.querySelector("input"))?.focus();
  }

  async look() {
    const { state } = this.page.state();
    const there = state === "running" || state === "paused";
    const cards = there ? await this.page.supervisor.python("machine.network.status").catch(() => null) : null;
    this.#draw(cards);
  }

  /** @param {Card[] | null} cards */
  #draw(cards) {
    const now = JSON.stringify(cards);
    if (now === this.#drawn) return;
    this.#drawn = now;
    const place = /** @type {HTMLElement} */ (this.querySelector(".cards"));
    if (!cards?.length) {
      const words = document.createElement("p");
      words.className = "hint";
      words.textContent = cards ? "This machine has no network card." : "No machine runs.";
      place.replaceChildren(words);
      return;
    }
    place.replaceChildren(...cards.map((card) => this.#card(card)));
  }

  /** @param {Card} card */
  #card(card) {
    const box = document.createElement("section");
    const title = document.createElement("h3");
    title.textContent = `eth${card.number}: ${WORDS[card.state] ?? card.state}`;
    const about = document.createElement("p");
    about.textContent = card.error ?? (card.reaches ? `Reaches ${card.reaches}.` : `Plugged into ${card.segment}.`);
    const mac = document.createElement("p");
    mac.className = "hint";
    mac.textContent = [`${card.segment}, address ${card.mac}`, ...(card.forwards ?? []).map((each) => `port ${each}`)].join(", ");
    const row = document.createElement("p");
    row.className = "row";
    const call = (/** @type {string} */ label, /** @type {string} */ code) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.title = code;
      button.addEventListener("click", () => void this.page.act(code).then(() => this.look()));
      return button;
    };
    row.append(call("Plug in", `machine.network.connect(${JSON.stringify(card.segment)}, ${card.number})`));
    if (card.state === "connected") row.append(call("Pull out", `machine.network.disconnect(${card.number})`));
    box.append(title, about, mac, row);
    return box;
  }
}

/** @type {Record<string, string>} */
const WORDS = { connected: "connected", connecting: "connecting", failed: "no network", unplugged: "unplugged" };

customElements.define("hw-network-panel", NetworkPanel);
