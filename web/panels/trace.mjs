/** What the guest's programs ask of its kernel, as it happens; traps, interrupts and devices too. */

import { download } from "./save.mjs";

const EVERY_MS = 500;
const SHOWN = 1000; // lines; what is older is in Python

const KINDS = [
  ["syscalls", "System calls"],
  ["traps", "Traps"],
  ["interrupts", "Interrupts"],
  ["switches", "Task switches"],
  ["devices", "Devices"],
];

export class TracePanel extends HTMLElement {
  static panel = {
    name: "trace",
    label: "Trace",
    icon: "M4 6h10M4 12h16M4 18h7M17 4l3 2-3 2M14 16l3 2-3 2",
  };

  /** @type {import("../dock.mjs").Page} */
  page;
  #timer = 0;
  #running = false;

  connectedCallback() {
    if (this.firstChild) return;
    this.innerHTML = `
      <form class="fields">
        <fieldset class="row"><legend class="hint">What to note</legend>
          ${KINDS.map(([name, label], i) => `<label class="check"><input type="checkbox" name="kind" value="${name}" ${i ? "" : "checked"} /> ${label}</label>`).join("")}
        </fieldset>
        <label>Only these system calls <input name="names" placeholder="openat execve" spellcheck="false" autocapitalize="off" /></label>
        <label>Only this process <input name="pid" type="number" min="1" placeholder="all" /></label>
        <p class="call"><code></code></p>
        <p class="row">
          <button class="main" type="submit">Start</button>
          <button type="button" name="clear" title="trace.clear()">Clear</button>
          <button type="button" name="save" title="trace.chrome()">Save for Perfetto</button>
        </p>
      </form>
      <p class="hint" role="status">Seen from outside: the guest has no part in it, and pays nothing while it is off.</p>
      <div class="log" role="log" tabindex="0" aria-label="Events"></div>`;
    const form = /** @type {HTMLFormElement} */ (this.querySelector("form"));
    const show = () => ((/** @type {HTMLElement} */ (this.querySelector("code"))).textContent = this.#call(form));
    form.addEventListener("input", show);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void (this.#running ? this.#stop() : this.#start(form));
    });
    show();
    this.#button("clear").addEventListener("click", () => {
      this.#log.replaceChildren();
      void this.page.act('trace.clear() if "trace" in globals() else None');
    });
    this.#button("save").addEventListener("click", async () => {
      const text = await this.page.act('trace.chrome() if "trace" in globals() else None');
      if (text) download("trace.json", text);
    });
  }

  /** @returns {HTMLElement} */
  get #log() {
    return /** @type {HTMLElement} */ (this.querySelector(".log"));
  }

  /** @param {string} name */
  #button(name) {
    return /** @type {HTMLButtonElement} */ (this.querySelector(`[name="${name}"]`));
  }

  focus() {
    /** @type {HTMLElement | null} */ (this.querySelector(".main"))?.focus();
  }

  shown() {
    if (this.#running) this.#timer ||= window.setInterval(() => void this.#ask(), EVERY_MS);
  }

  concealed() {
    clearInterval(this.#timer);
    this.#timer = 0;
  }

  /** @param {HTMLFormElement} form */
  #call(form) {
    const data = new FormData(form);
    const kinds = data.getAll("kind").map(String);
    const names = String(data.get("names") ?? "").split(/[\s,]+/).filter(Boolean);
    const pid = Number(data.get("pid")) || 0;
    const only = pid ? `pid=${pid}` : "";
    if (kinds.length === 1 && kinds[0] === "syscalls") {
      const named = names.length ? `names=${JSON.stringify(names)}` : "";
      return `trace = machine.trace.syscalls(${[only, named].filter(Boolean).join(", ")})`;
    }
    return `trace = machine.trace.events(${[...kinds.map((kind) => JSON.stringify(kind)), only].filter(Boolean).join(", ")})`;
  }

  /** @param {HTMLFormElement} form */
  async #start(form) {
    const started = await this.page.act(`${this.#call(form)}\nTrue`);
    if (!started) return;
    this.#running = true;
    this.#log.replaceChildren();
    this.#label("Stop");
    this.shown();
  }

  async #stop() {
    this.concealed();
    this.#running = false;
    await this.page.act("trace.stop()");
    await this.#ask();
    this.#label("Start");
  }

  /** @param {string} text */
  #label(text) {
    const button = /** @type {HTMLButtonElement} */ (this.querySelector(".main"));
    button.textContent = text;
    button.title = text === "Stop" ? "trace.stop()" : "";
  }

  async #ask() {
    try {
      const { lines, total, missing, here } = await this.page.supervisor.python(
        `{"lines": [str(event) for event in trace.new(${SHOWN})], "total": len(trace), "missing": trace.missing,
          "here": bool(machine and machine.alive and trace.is_of(machine.trace))}`,
      );
      this.#draw(lines, total, missing);
      if (!here && this.#running) this.#over("The machine is gone; what it did is here.");
    } catch (error) {
      this.#over(/** @type {Error} */ (error).message);
    }
  }

  /** @param {string} why nothing more comes */
  #over(why) {
    this.concealed();
    this.#running = false;
    this.#label("Start");
    /** @type {HTMLElement} */ (this.querySelector("[role=status]")).textContent = why;
  }

  /**
   * @param {string[]} lines
   * @param {number} total
   * @param {string} missing
   */
  #draw(lines, total, missing) {
    const log = this.#log;
    const following = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
    log.append(
      ...lines.map((text) => {
        const line = document.createElement("div");
        line.textContent = text;
        if (/ = -1 E/.test(text)) line.className = "failed";
        return line;
      }),
    );
    while (log.childElementCount > SHOWN) log.firstElementChild?.remove();
    if (following) log.scrollTop = log.scrollHeight;
    const status = /** @type {HTMLElement} */ (this.querySelector("[role=status]"));
    status.textContent = `${total.toLocaleString("en")} events${missing && `; ${missing}`}.`;
  }
}

customElements.define("hw-trace-panel", TracePanel);
