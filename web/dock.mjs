/**
 * The strip of panels beside the console.
 *
 * A panel is a custom element of panels/*.mjs with a static `panel`
 * description; it is made when first opened, learns the machine only through
 * the `page` it is connected with, and hears shown() and concealed().
 * Alt+Shift+1… opens panels, Alt+Shift+0 and Esc go back to the console.
 */

import { settings } from "./settings.mjs";

/**
 * @typedef {object} Description
 * @property {string} name
 * @property {string} label
 * @property {string} icon an SVG path, 24 by 24, drawn as a line
 */

/**
 * What a panel knows of the machine.
 * @typedef {object} Page
 * @property {import("./supervisor-client.mjs").Supervisor} supervisor
 * @property {(call: string, said?: string) => Promise<any>} act runs a call of the public API; errors go to the bar, which names it or what is `said`
 * @property {(error: Error) => void} tell shows an error in the bar
 * @property {(text: string) => void} say shows good news there
 * @property {() => import("./status.mjs").State} state
 * @property {Record<string, string | number>} options arguments of Machine.boot from the address
 */

/** @typedef {HTMLElement & {page: Page, shown?: () => void, concealed?: () => void}} Panel */
/** @typedef {(new () => Panel) & {panel: Description}} PanelClass */

export class DockElement extends HTMLElement {
  /** @type {Page} */
  #page;
  /** @type {PanelClass[]} */
  #classes = [];
  /** @type {Map<string, Panel>} */
  #panels = new Map();
  #open = "";
  /** Gives the focus back to the console. */
  leave = () => {};

  /**
   * @param {Page} page
   * @param {PanelClass[]} classes
   */
  connect(page, classes) {
    this.#page = page;
    this.#classes = classes;
    const strip = document.createElement("nav");
    strip.setAttribute("aria-label", "Panels");
    classes.forEach(({ panel }, i) => {
      const button = document.createElement("button");
      button.dataset.panel = panel.name;
      button.title = panel.label;
      button.setAttribute("aria-expanded", "false");
      if (i < 9) {
        button.title += ` (Alt+Shift+${i + 1})`;
        button.setAttribute("aria-keyshortcuts", `Alt+Shift+${i + 1}`);
      }
      button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${panel.icon}"/></svg><span>${panel.label}</span>`;
      button.addEventListener("click", () => this.toggle(panel.name));
      strip.append(button);
    });
    const body = document.createElement("div");
    body.className = "panel";
    body.hidden = true;
    this.replaceChildren(body, strip);
    this.append(this.#splitter());
    this.#width(settings.panelWidth);
    this.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.defaultPrevented) this.close();
    });
    document.addEventListener("keydown", (event) => {
      if (!event.altKey || !event.shiftKey || !event.code.startsWith("Digit")) return;
      const number = Number(event.code.slice(5));
      if (number > this.#classes.length) return;
      event.preventDefault();
      if (number === 0) this.leave();
      else this.open(this.#classes[number - 1].panel.name);
    });
  }

  /** @param {string} name */
  toggle(name) {
    if (this.#open === name) this.close();
    else this.open(name);
  }

  /** @param {string} name */
  open(name) {
    const made = this.#classes.find(({ panel }) => panel.name === name);
    if (!made) throw new Error(`there is no panel ${JSON.stringify(name)}`);
    if (this.#open !== name) {
      this.#panels.get(this.#open)?.concealed?.();
      let panel = this.#panels.get(name);
      if (!panel) {
        panel = new made();
        panel.page = this.#page;
        this.#panels.set(name, panel);
      }
      const body = /** @type {HTMLElement} */ (this.querySelector(".panel"));
      body.setAttribute("role", "region");
      body.setAttribute("aria-label", made.panel.label);
      body.replaceChildren(heading(made.panel.label, () => this.close()), panel);
      body.hidden = false;
      this.#show(name);
    }
    const panel = /** @type {Panel} */ (this.#panels.get(name));
    panel.shown?.();
    panel.focus();
  }

  close() {
    this.#panels.get(this.#open)?.concealed?.();
    /** @type {HTMLElement} */ (this.querySelector(".panel")).hidden = true;
    this.#show("");
    this.leave();
  }

  /** @param {string} name */
  #show(name) {
    this.#open = name;
    this.classList.toggle("open", name !== "");
    for (const button of this.querySelectorAll("nav button")) {
      button.setAttribute("aria-expanded", String(/** @type {HTMLElement} */ (button).dataset.panel === name));
    }
  }

  /** The edge that is dragged, or moved with arrow keys, to set the width. */
  #splitter() {
    const edge = document.createElement("div");
    edge.className = "splitter";
    edge.tabIndex = 0;
    edge.setAttribute("role", "separator");
    edge.setAttribute("aria-orientation", "vertical");
    edge.setAttribute("aria-label", "Width of the panel");
    edge.addEventListener("pointerdown", (event) => {
      edge.setPointerCapture(event.pointerId);
      const from = event.clientX;
      const width = settings.panelWidth;
      const move = (/** @type {PointerEvent} */ moved) => this.#width(width + from - moved.clientX);
      edge.addEventListener("pointermove", move);
      edge.addEventListener("lostpointercapture", () => edge.removeEventListener("pointermove", move), { once: true });
    });
    edge.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: 16, ArrowRight: -16 }[event.key];
      if (step) this.#width(settings.panelWidth + step);
    });
    return edge;
  }

  /** @param {number} width CSS pixels */
  #width(width) {
    const whole = Math.round(Math.min(Math.max(width, 280), Math.max(280, innerWidth * 0.7)));
    this.style.setProperty("--panel-width", `${whole}px`);
    if (whole !== settings.panelWidth) settings.set({ panelWidth: whole });
  }
}

/**
 * @param {string} label
 * @param {() => void} close
 */
function heading(label, close) {
  const row = document.createElement("div");
  row.className = "heading";
  const title = document.createElement("h2");
  title.textContent = label;
  const button = document.createElement("button");
  button.className = "plain";
  button.title = "Close (Esc)";
  button.setAttribute("aria-label", `Close ${label}`);
  button.textContent = "×";
  button.addEventListener("click", close);
  row.append(title, button);
  return row;
}

customElements.define("hw-dock", DockElement);
