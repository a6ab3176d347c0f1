/** The bar above the console in which errors stand, in words, until dismissed. */

/**
 * @typedef {object} Notice
 * @property {string} title
 * @property {string} [text] what to do about it
 * @property {string} [details] a traceback
 * @property {boolean} [lasting] cannot be dismissed: the page cannot work
 */

export class NoticeElement extends HTMLElement {
  connectedCallback() {
    this.setAttribute("role", "alert");
    this.hidden = true;
  }

  /** @param {Notice} notice */
  show({ title, text = "", details = "", lasting = false }) {
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
    if (!lasting) {
      const close = part("button", "Dismiss");
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
