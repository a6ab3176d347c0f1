/** The bar above the console in which errors stand, in words, until dismissed; good news goes by itself. */

/**
 * @typedef {object} Notice
 * @property {string} title
 * @property {string} [text] what to do about it
 * @property {string} [details] a traceback
 * @property {boolean} [calm] nothing went wrong
 * @property {{label: string, title: string, act: () => void}} [action] what can be done about it at once; it stays until then
 * @property {boolean} [lasting] cannot be dismissed: the page cannot work
 */

const CALM_MS = 8000;

export class NoticeElement extends HTMLElement {
  /** @type {number | undefined} */
  #timer;

  connectedCallback() {
    this.setAttribute("role", "alert");
    this.hidden = true;
  }

  /** @param {Notice} notice */
  show({ title, text = "", details = "", calm = false, action, lasting = false }) {
    clearTimeout(this.#timer);
    if (calm && !action) this.#timer = window.setTimeout(() => this.clear(), CALM_MS);
    this.classList.toggle("calm", calm);
    this.setAttribute("role", calm ? "status" : "alert");
    const words = document.createElement("div");
    words.className = "words";
    words.append(part("strong", title));
    if (text) words.append(part("p", text));
    if (details) {
      const fold = document.createElement("details");
      fold.append(part("summary", "Details"), part("pre", details));
      words.append(fold);
    }
    this.replaceChildren(words);
    if (action) {
      const button = part("button", action.label);
      button.className = "main";
      button.title = action.title;
      button.addEventListener("click", () => {
        this.clear();
        action.act();
      });
      this.append(button);
    }
    if (!lasting) {
      const close = part("button", action ? "Later" : "Dismiss");
      close.className = "plain";
      close.addEventListener("click", () => this.clear());
      this.append(close);
    }
    this.hidden = false;
  }

  clear() {
    this.hidden = true;
    this.replaceChildren();
  }
}

/**
 * @param {string} tag
 * @param {string} text
 */
function part(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

customElements.define("hw-notice", NoticeElement);
