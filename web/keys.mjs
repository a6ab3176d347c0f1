/** A row of the keys that a touch keyboard lacks. */

/** @typedef {import("./console.mjs").ConsoleElement} ConsoleElement */

const KEYS = [
  ["Ctrl", ""],
  ["Esc", "\x1b"],
  ["Tab", "\t"],
  ["←", "\x1b[D", "Left"],
  ["↑", "\x1b[A", "Up"],
  ["↓", "\x1b[B", "Down"],
  ["→", "\x1b[C", "Right"],
];

export class KeysElement extends HTMLElement {
  /** @param {ConsoleElement} target */
  connect(target) {
    for (const [label, sequence, name = label] of KEYS) {
      const button = document.createElement("button");
      button.textContent = label;
      button.setAttribute("aria-label", name);
      // The terminal keeps the focus, so the touch keyboard stays up.
      button.addEventListener("pointerdown", (event) => event.preventDefault());
      button.addEventListener("click", () => {
        if (sequence) {
          const application = target.terminal.modes.applicationCursorKeysMode && sequence.startsWith("\x1b[");
          target.type(application ? sequence.replace("[", "O") : sequence);
        } else {
          target.control = !target.control;
          button.setAttribute("aria-pressed", String(target.control));
        }
        target.focus();
      });
      if (!sequence) {
        button.setAttribute("aria-pressed", "false");
        target.addEventListener("controlused", () => button.setAttribute("aria-pressed", "false"));
      }
      this.append(button);
    }
  }
}

customElements.define("hw-keys", KeysElement);
