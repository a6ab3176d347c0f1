/** A Python console in the supervisor, where `machine` and `Machine` are at hand. */

const HISTORY_KEY = "hartwell.python.history";
const HISTORY_LENGTH = 200;
const LOG_BLOCKS = 500;

const GREETING = `\`machine\` is this page’s machine; \`await\` works. Try:
  machine.state
  machine.statistics()
  (await machine.run("uname -a")).stdout`;

export class PythonPanel extends HTMLElement {
  static panel = {
    name: "python",
    label: "Python",
    icon: "M5 8l4 4-4 4M12 16h7",
  };

  /** @type {import("../dock.mjs").Page} */
  page;
  /** @type {string[]} */
  #history = loadHistory();
  #at = this.#history.length;
  #draft = "";
  #running = false;

  connectedCallback() {
    if (this.firstChild) return;
    this.innerHTML = `
      <div class="log" role="log" aria-label="Output of Python" tabindex="0"></div>
      <form><label><span aria-hidden="true">&gt;&gt;&gt;</span>
        <textarea rows="1" spellcheck="false" autocapitalize="off" autocomplete="off"
          aria-label="Python. Enter runs, Shift+Enter is a new line, arrows go through the history"></textarea></label></form>`;
    this.#log("note", GREETING);
    this.#input.addEventListener("keydown", (event) => this.#key(event));
    this.#input.addEventListener("input", () => this.#grow());
    this.page.supervisor.addEventListener("print", (event) => {
      const { text, stream } = /** @type {CustomEvent} */ (event).detail;
      this.#log(stream, text);
    });
    this.addEventListener("click", () => {
      if (!getSelection()?.toString()) this.focus();
    });
  }

  /** @returns {HTMLTextAreaElement} */
  get #input() {
    return /** @type {HTMLTextAreaElement} */ (this.querySelector("textarea"));
  }

  focus() {
    this.#input.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const input = this.#input;
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (event.ctrlKey || !unfinished(input.value)) void this.#run();
      else this.#insert(`\n${indentAfter(input.value)}`);
    } else if (event.key === "c" && event.ctrlKey && input.selectionStart === input.selectionEnd) {
      event.preventDefault();
      if (this.#running) this.page.supervisor.interrupt();
      else this.#set("");
    } else if (event.key === "Tab" && !event.shiftKey && /^\s*$/.test(currentLine(input)) && input.value) {
      event.preventDefault();
      this.#insert("    ");
    } else if (event.key === "ArrowUp" && !input.value.slice(0, input.selectionStart).includes("\n")) {
      event.preventDefault();
      this.#recall(-1);
    } else if (event.key === "ArrowDown" && !input.value.slice(input.selectionEnd).includes("\n")) {
      event.preventDefault();
      this.#recall(1);
    } else if (event.key === "l" && event.ctrlKey) {
      event.preventDefault();
      this.querySelector(".log")?.replaceChildren();
    }
  }

  async #run() {
    const code = this.#input.value.trimEnd();
    if (!code || this.#running) return;
    if (this.#history.at(-1) !== code) this.#history.push(code);
    this.#at = this.#history.length;
    saveHistory(this.#history);
    this.#log("code", code.replace(/^/gm, "... ").replace("... ", ">>> "));
    this.#set("");
    this.#running = true;
    this.classList.add("running");
    try {
      const shown = await this.page.supervisor.show(code);
      if (shown) this.#log("value", shown);
    } catch (error) {
      const { traceback, name, message } = /** @type {any} */ (error);
      this.#log("stderr", (traceback || `${name}: ${message}`).trimEnd());
    }
    this.#running = false;
    this.classList.remove("running");
  }

  /** @param {number} step */
  #recall(step) {
    const to = this.#at + step;
    if (to < 0 || to > this.#history.length) return;
    if (this.#at === this.#history.length) this.#draft = this.#input.value;
    this.#at = to;
    this.#set(this.#history[to] ?? this.#draft);
  }

  /** @param {string} text */
  #insert(text) {
    const input = this.#input;
    input.setRangeText(text, input.selectionStart, input.selectionEnd, "end");
    this.#grow();
  }

  /** @param {string} text */
  #set(text) {
    this.#input.value = text;
    this.#grow();
  }

  #grow() {
    const input = this.#input;
    input.rows = Math.min(12, input.value.split("\n").length);
  }

  /**
   * @param {string} kind
   * @param {string} text
   */
  #log(kind, text) {
    const log = /** @type {HTMLElement} */ (this.querySelector(".log"));
    const last = /** @type {HTMLElement | null} */ (log.lastElementChild);
    if ((kind === "stdout" || kind === "stderr") && last?.className === kind && !last.textContent?.endsWith("\n\n")) {
      last.append(text);
    } else {
      const block = document.createElement("pre");
      block.className = kind;
      block.textContent = text;
      log.append(block);
      while (log.childElementCount > LOG_BLOCKS) log.firstElementChild?.remove();
    }
    log.scrollTop = log.scrollHeight;
  }
}

/** Whether Enter should go on with a block, as Python's own console does. @param {string} code */
function unfinished(code) {
  const lines = code.split("\n");
  const last = lines[lines.length - 1];
  if (lines.length > 1) return last.trim() !== "";
  return last.trimEnd().endsWith(":") || openBrackets(code) > 0;
}

/** @param {string} code */
function openBrackets(code) {
  const bare = code.replace(/"(\\.|[^"\\])*"|'(\\.|[^'\\])*'|#.*/g, "");
  return (bare.match(/[([{]/g)?.length ?? 0) - (bare.match(/[)\]}]/g)?.length ?? 0);
}

/** @param {string} code */
function indentAfter(code) {
  const last = code.split("\n").at(-1) ?? "";
  const indent = /^\s*/.exec(last)?.[0] ?? "";
  return last.trimEnd().endsWith(":") ? `${indent}    ` : indent;
}

/** @param {HTMLTextAreaElement} input */
function currentLine(input) {
  return input.value.slice(0, input.selectionStart).split("\n").at(-1) ?? "";
}

/** @returns {string[]} */
function loadHistory() {
  try {
    const kept = JSON.parse(localStorage.getItem(HISTORY_KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((line) => typeof line === "string") : [];
  } catch {
    return [];
  }
}

/** @param {string[]} history */
function saveHistory(history) {
  try {
    localStorage.setItem(HISTORY_KEY, JSON.stringify(history.slice(-HISTORY_LENGTH)));
  } catch {
    // Then it lasts for this page.
  }
}

customElements.define("hw-python-panel", PythonPanel);
