/**
 * The debugger: where a hart stands, its code, registers, memory and calls;
 * breakpoints, steps, and gdb's way in.  Every button is one call of the public
 * API, which its tooltip shows.
 */

import { LivePanel } from "./live.mjs";

/**
 * What hartwell.debugger.panel.show gives.
 * @typedef {object} Look
 * @property {number} hart
 * @property {string} state
 * @property {string} stop
 * @property {boolean} recorded
 * @property {{pc: string, privilege: string, state: string}[]} harts
 * @property {[string, string][]} registers
 * @property {[string, string][]} csrs
 * @property {[string, string, string][]} code
 * @property {string} task
 * @property {string} where
 * @property {string} line
 * @property {[string, string][]} source
 * @property {[string, string, string][]} memory
 * @property {[string, string, string][]} stack
 * @property {[string, string, string][]} frames
 * @property {[string, string][]} points
 * @property {string} gdb
 */

export class DebugPanel extends LivePanel {
  static panel = {
    name: "debug",
    label: "Debug",
    icon: "M8 9a4 4 0 0 1 8 0v6a4 4 0 0 1-8 0zM4 9h4M4 15h4M16 9h4M16 15h4M9 5l1.5 1.5M15 5l-1.5 1.5M12 9v10",
  };

  #hart = 0;
  #address = "";
  #stop = "";
  /** @type {Map<string, string>} */
  #before = new Map();

  connectedCallback() {
    if (this.firstChild) return;
    this.innerHTML = `
      <div class="row" role="toolbar" aria-label="Debugger">
        <button data-call="machine.debugger.pause()">Pause</button>
        <button data-call="machine.debugger.resume()">Resume</button>
        <button data-step>Step</button>
        <button data-call="machine.history.reverse_step()" data-recorded hidden>Step back</button>
        <button data-call="await machine.history.reverse_continue()" data-recorded hidden>Run back</button>
        <label>Hart <select></select></label>
      </div>
      <p class="hint" data-name="stop" role="status"></p>
      <form data-name="set">
        <input name="where" aria-label="Address, symbol or line" placeholder="address, symbol or file.c:12" spellcheck="false" autocomplete="off" required>
        <select name="kind" aria-label="Kind">
          <option value="break">break</option><option value="write">watch writes</option>
          <option value="read">watch reads</option><option value="access">watch both</option>
        </select>
        <button>Set</button>
      </form>
      <ul data-name="points"></ul>
      <div data-name="lines"><h3>Source <span data-name="at"></span></h3><table data-name="source"></table></div>
      <h3>Code <span data-name="where"></span></h3><table data-name="code"></table>
      <h3>Calls <span data-name="task"></span></h3><table data-name="frames"></table>
      <div class="row"><button data-name="give" title="machine.symbols.add(elf), machine.symbols.add_source(text, name)">Add symbols or sources…</button><input type="file" multiple hidden></div>
      <h3>Registers</h3><table data-name="registers"></table>
      <details><summary>CSRs</summary><table data-name="csrs"></table></details>
      <h3>Memory</h3>
      <form data-name="goto"><input name="address" aria-label="Address" placeholder="address or symbol; empty: the stack" spellcheck="false" autocomplete="off"><button>Show</button></form>
      <table data-name="memory"></table>
      <details><summary>Stack</summary><table data-name="stack"></table></details>
      <h3>gdb</h3>
      <p class="hint">A gdb on this computer can debug this machine.</p>
      <div class="row"><button data-name="gdb" title="await machine.gdb()">Let gdb connect</button><code data-name="line"></code></div>`;
    for (const button of this.querySelectorAll("button[data-call]")) {
      const call = /** @type {HTMLElement} */ (button).dataset.call ?? "";
      /** @type {HTMLElement} */ (button).title = call;
      button.addEventListener("click", () => void this.#do(call));
    }
    this.#find("[data-step]").addEventListener("click", () => void this.#do(`machine.debugger.step(${this.#hart})`));
    this.#find("[data-step]").title = "machine.debugger.step(hart)";
    this.#find('[data-name="gdb"]').addEventListener("click", () => void this.#gdb());
    this.#find('[data-name="give"]').addEventListener("click", () => this.#find('input[type="file"]').click());
    this.#find('input[type="file"]').addEventListener("change", () => void this.#give());
    this.#find("select").addEventListener("change", () => {
      this.#hart = Number(this.#find("select").value);
      void this.look();
    });
    this.#find('[data-name="set"]').addEventListener("submit", (/** @type {any} */ event) => {
      event.preventDefault();
      void this.#set(new FormData(event.target));
    });
    this.#find('[data-name="goto"]').addEventListener("submit", (/** @type {any} */ event) => {
      event.preventDefault();
      this.#address = String(new FormData(event.target).get("address")).trim();
      void this.look();
    });
  }

  shown() {
    this.tabIndex = -1;
    super.shown();
  }

  /**
   * @param {string} selector
   * @returns {any}
   */
  #find(selector) {
    return this.querySelector(selector);
  }

  /** @param {string} call */
  async #do(call) {
    await this.page.act(call);
    await this.look();
  }

  /** @param {FormData} form */
  async #set(form) {
    const place = placeOf(String(form.get("where")));
    const kind = String(form.get("kind"));
    await this.#do(
      kind === "break" ? `machine.debugger.break_at(${place})` : `machine.debugger.watch(${place}, 8, ${JSON.stringify(kind)})`,
    );
  }

  async #gdb() {
    await this.#do("await machine.gdb()");
  }

  /** Files that were picked: ELF files have symbols and lines, all others are sources. */
  async #give() {
    const input = /** @type {HTMLInputElement} */ (this.#find('input[type="file"]'));
    for (const file of input.files ?? []) {
      const data = base64(new Uint8Array(await file.arrayBuffer()));
      await this.page.act(
        `__import__("hartwell.debugger.panel").debugger.panel.give(machine, ${JSON.stringify(file.name)}, __import__("base64").b64decode("${data}"))`,
        `the choice of ${file.name}`,
      );
    }
    input.value = "";
    await this.look();
  }

  async look() {
    const address = this.#address ? placeOf(this.#address) : "None";
    try {
      const look = await this.page.supervisor.python(
        `await __import__("hartwell.debugger.panel").debugger.panel.show(machine, ${this.#hart}, ${address}) if machine and machine.alive else None`,
      );
      if (look) this.#draw(look);
      else this.#find('[data-name="stop"]').textContent = "No machine runs.";
    } catch (error) {
      this.#find('[data-name="stop"]').textContent = /** @type {Error} */ (error).message;
    }
  }

  /** @param {Look} look */
  #draw(look) {
    if (look.stop !== this.#stop) {
      this.#stop = look.stop;
      // Whoever hit something is who one wants to see.
      const hart = Number(/ on hart (\d+)/.exec(look.stop)?.[1] ?? look.hart);
      if (hart !== this.#hart) {
        this.#hart = hart;
        void this.look();
        return;
      }
    }
    const still = look.state === "paused";
    this.#find('[data-name="stop"]').textContent = look.stop || (still ? "All harts stand still." : "The machine runs; what is here is a sample.");
    for (const [selector, off] of /** @type {[string, boolean][]} */ ([
      ['[data-call="machine.debugger.pause()"]', still],
      ['[data-call="machine.debugger.resume()"]', !still],
      ["[data-step]", !still],
    ]))
      this.#find(selector).disabled = off;
    for (const button of this.querySelectorAll("[data-recorded]")) {
      /** @type {HTMLButtonElement} */ (button).hidden = !look.recorded;
      /** @type {HTMLButtonElement} */ (button).disabled = !still;
    }
    const select = this.#find("select");
    const labels = look.harts.map((hart, i) => `${i} ${hart.privilege} ${hart.state}`);
    const shown = `${labels.join()} ${look.hart}`;
    if (select.dataset.shown !== shown) {
      select.dataset.shown = shown;
      select.replaceChildren(...labels.map((label, i) => new Option(label, String(i), false, i === look.hart)));
    }
    this.#find('[data-name="where"]').textContent = look.where;
    this.#find('[data-name="task"]').textContent = look.task;
    this.#find('[data-name="at"]').textContent = look.line;
    this.#find('[data-name="line"]').textContent = look.gdb;
    this.#find('[data-name="lines"]').hidden = !look.line;
    this.#table("source", look.source, (row, i) => row.classList.toggle("here", look.line.endsWith(`:${look.source[i][0]}`)));
    this.#table("code", look.code, (row, i) => row.classList.toggle("here", i === 0));
    this.#table("frames", look.frames);
    this.#table("registers", look.registers, (row, i) => {
      const [name, value] = look.registers[i];
      row.classList.toggle("changed", this.#before.has(name) && this.#before.get(name) !== value);
    });
    this.#before = new Map(look.registers);
    this.#table("csrs", look.csrs);
    this.#table("memory", look.memory.length ? look.memory : [["", "nothing is mapped there now", ""]]);
    this.#table("stack", look.stack);
    this.#points(look.points);
  }

  /**
   * @param {string} name
   * @param {string[][]} rows
   * @param {(row: HTMLTableRowElement, index: number) => void} dress
   */
  #table(name, rows, dress = () => {}) {
    const body = document.createElement("tbody");
    rows.forEach((cells, index) => {
      const row = body.insertRow();
      for (const cell of cells) row.insertCell().textContent = cell;
      dress(row, index);
    });
    this.#find(`table[data-name="${name}"]`).replaceChildren(body);
  }

  /** @param {[string, string][]} points */
  #points(points) {
    const list = this.#find('[data-name="points"]');
    if (list.dataset.shown === JSON.stringify(points)) return;
    list.dataset.shown = JSON.stringify(points);
    list.replaceChildren(
      ...points.map(([number, text]) => {
        const item = document.createElement("li");
        const code = document.createElement("code");
        code.textContent = text;
        const button = document.createElement("button");
        button.textContent = "Clear";
        button.title = `machine.debugger.clear(number=${number})`;
        button.addEventListener("click", () => void this.#do(button.title));
        item.append(code, button);
        return item;
      }),
    );
  }
}

/**
 * What a person wrote, as Python: a number, or a string for a name.
 *
 * @param {string} text
 */
function placeOf(text) {
  const word = text.trim();
  return /^(0x[0-9a-f]+|0|[1-9]\d*)$/i.test(word) ? word : JSON.stringify(word);
}

/**
 * @param {Uint8Array} data
 * @returns {string}
 */
function base64(data) {
  let text = "";
  for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000));
  return btoa(text);
}

customElements.define("hw-debug-panel", DebugPanel);
