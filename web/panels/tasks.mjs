/** The guest's tasks, read from its kernel's memory; a task's stack and maps when it is chosen. */

import { LivePanel } from "./live.mjs";

const EVERY_MS = 2000;

const QUESTION = `[{"pid": t.pid, "tgid": t.tgid, "parent": t.parent, "comm": t.comm, "state": t.state, "cpu": t.cpu,
  "running": t.running, "kernel": t.kernel_thread} for t in machine.linux.tasks()] if machine else None`;

/** @typedef {{pid: number, tgid: number, parent: number, comm: string, state: string, cpu: number, running: boolean, kernel: boolean}} Task */

const STATES = { R: "runs or could", S: "sleeps", D: "sleeps, not to be woken", I: "idle", T: "stopped", t: "traced", Z: "zombie", X: "dead" };

export class TasksPanel extends LivePanel {
  static panel = {
    name: "tasks",
    label: "Tasks",
    icon: "M4 6h2M4 12h2M4 18h2M9 6h11M9 12h11M9 18h11",
  };

  everyMs = EVERY_MS;
  #chosen = 0;

  connectedCallback() {
    if (this.firstChild) return;
    this.innerHTML = `
      <p class="row"><label class="check"><input type="checkbox" name="kernel" /> Kernel threads</label>
        <span class="hint" title="machine.linux.tasks()">Read from outside, every ${EVERY_MS / 1000} s</span></p>
      <p class="hint" role="status"></p>
      <section hidden></section>
      <table class="tasks"><thead><tr><th>pid</th><th>Name</th><th>State</th><th>Hart</th><th>Parent</th></tr></thead><tbody></tbody></table>`;
    this.querySelector("input")?.addEventListener("input", () => void this.look());
  }

  focus() {
    /** @type {HTMLElement | null} */ (this.querySelector("input"))?.focus();
  }

  async look() {
    const status = /** @type {HTMLElement} */ (this.querySelector("[role=status]"));
    try {
      const tasks = await this.page.supervisor.python(QUESTION);
      status.textContent = tasks ? "" : "No machine yet.";
      this.#draw(tasks ?? []);
    } catch (error) {
      status.textContent = /** @type {Error} */ (error).message;
      this.#draw([]);
    }
  }

  /** @param {Task[]} tasks */
  #draw(tasks) {
    const all = /** @type {HTMLInputElement} */ (this.querySelector("input")).checked;
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.pid : undefined;
    const rows = tasks.filter((task) => all || !task.kernel).map((task) => this.#row(task));
    /** @type {HTMLElement} */ (this.querySelector("tbody")).replaceChildren(...rows);
    if (focused) /** @type {HTMLElement | null} */ (this.querySelector(`[data-pid="${focused}"]`))?.focus();
  }

  /** @param {Task} task */
  #row(task) {
    const row = document.createElement("tr");
    const cell = (/** @type {string} */ text, title = "") => {
      const made = row.insertCell();
      made.textContent = text;
      made.title = title;
      return made;
    };
    cell(String(task.pid));
    const name = document.createElement("button");
    name.type = "button";
    name.className = "link";
    name.dataset.pid = String(task.pid);
    name.textContent = task.comm;
    name.title = `machine.linux.backtrace(${task.pid}), machine.linux.task(${task.pid}).maps()`;
    name.setAttribute("aria-expanded", String(task.pid === this.#chosen));
    name.addEventListener("click", () => void this.#choose(task));
    row.insertCell().append(name);
    cell(task.state, STATES[/** @type {keyof STATES} */ (task.state)] ?? "");
    cell(task.running ? String(task.cpu) : "");
    cell(task.tgid === task.pid ? String(task.parent) : `thread of ${task.tgid}`);
    return row;
  }

  /** @param {Task} task */
  async #choose(task) {
    const section = /** @type {HTMLElement} */ (this.querySelector("section"));
    if (this.#chosen === task.pid) {
      this.#chosen = 0;
      section.hidden = true;
      return;
    }
    this.#chosen = task.pid;
    const found = await this.page.act(
      `{"stack": [str(frame) for frame in machine.linux.backtrace(${task.pid})],` +
        ` "maps": [str(mapping) for mapping in machine.linux.task(${task.pid}).maps()]}`,
    );
    if (!found) return;
    section.replaceChildren(
      block(`${task.pid} ${task.comm}: stack`, found.stack, "It runs: pause the machine to see where."),
      block("maps", found.maps, "A kernel thread has none."),
    );
    section.hidden = false;
    section.scrollIntoView({ block: "nearest" });
  }
}

/**
 * @param {string} title
 * @param {string[]} lines
 * @param {string} none
 */
function block(title, lines, none) {
  const part = document.createElement("div");
  const heading = document.createElement("h3");
  heading.textContent = title;
  const text = document.createElement("pre");
  text.textContent = lines.join("\n") || none;
  part.append(heading, text);
  return part;
}

customElements.define("hw-tasks-panel", TasksPanel);
