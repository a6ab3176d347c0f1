/** The Linux console: an xterm.js terminal that the guest sees as its own. */

import { FitAddon } from "./static/xterm/addon-fit.mjs";
import { SerializeAddon } from "./static/xterm/addon-serialize.mjs";
import { Unicode11Addon } from "./static/xterm/addon-unicode11.mjs";
import { WebLinksAddon } from "./static/xterm/addon-web-links.mjs";
import { WebglAddon } from "./static/xterm/addon-webgl.mjs";
import { Terminal } from "./static/xterm/xterm.mjs";

import { settings } from "./settings.mjs";
import { terminalTheme } from "./theme.mjs";

const SCROLLBACK_LINES = 10000;
const KEPT_LINES = 1000; // of it in a snapshot
const BLINK_MS = 500; // that the cursor is seen, and is not
const SETTLE_MS = 80; // a dragged window tells the guest its size once, at rest
/** Those that draw without graphics hardware: Chromium's, Mesa's, Windows'. */
const SOFTWARE = /swiftshader|llvmpipe|softpipe|basic render/i;
const FONTS = '"JetBrains Mono", "Cascadia Mono", "SF Mono", Menlo, "DejaVu Sans Mono", "Liberation Mono", monospace';

const encoder = new TextEncoder();

export class ConsoleElement extends HTMLElement {
  /** @type {Terminal} */
  terminal;
  /** One-shot modifier of the touch keys: the next letter goes out as Ctrl+letter. */
  control = false;
  #fit = new FitAddon();
  #serialize = new SerializeAddon();
  #received = 0;
  #quiet = 0;

  connectedCallback() {
    this.terminal = new Terminal({
      allowProposedApi: true, // unicode11
      cursorBlink: true,
      fontFamily: FONTS,
      fontSize: settings.fontSize,
      minimumContrastRatio: 4.5,
      scrollback: SCROLLBACK_LINES,
      screenReaderMode: settings.screenReader,
      theme: terminalTheme(),
    });
    const { terminal } = this;
    terminal.loadAddon(this.#fit);
    terminal.loadAddon(this.#serialize);
    terminal.loadAddon(new Unicode11Addon());
    terminal.unicode.activeVersion = "11";
    terminal.loadAddon(new WebLinksAddon(openLink));
    terminal.open(this);
    this.#useWebgl();
    this.#blink();
    terminal.textarea?.setAttribute("aria-label", "Linux console");
    terminal.attachCustomKeyEventHandler((event) => this.#key(event));
    terminal.onData((data) => this.#send(this.#withControl(data)));
    terminal.onBinary((data) => this.dispatchEvent(inputEvent(Uint8Array.from(data, (c) => c.charCodeAt(0)))));
    terminal.onResize(({ cols, rows }) => this.dispatchEvent(new CustomEvent("size", { detail: { cols, rows } })));

    let timer = 0;
    new ResizeObserver(() => {
      clearTimeout(timer);
      timer = window.setTimeout(() => this.fit(), SETTLE_MS);
    }).observe(this);
    this.fit();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      terminal.options.theme = terminalTheme();
    });
    settings.addEventListener("change", () => {
      terminal.options.fontSize = settings.fontSize;
      terminal.options.screenReaderMode = settings.screenReader;
      this.fit();
    });
  }

  /** The cursor of a terminal that is drawn by the DOM (style/console.css): seen again whenever it moves. */
  #blink() {
    const { terminal } = this;
    let timer = 0;
    const seen = () => {
      clearInterval(timer);
      this.toggleAttribute("data-dark", false);
      timer = terminal.textarea === document.activeElement ? window.setInterval(() => this.toggleAttribute("data-dark"), BLINK_MS) : 0;
    };
    terminal.textarea?.addEventListener("focus", seen);
    terminal.textarea?.addEventListener("blur", () => setTimeout(seen)); // by then another has the focus
    terminal.onCursorMove(seen);
  }

  /** Makes the terminal as large as its place, which tells the guest. */
  fit() {
    if (this.offsetParent && this.clientWidth > 0) this.#fit.fit();
  }

  focus() {
    this.terminal.focus();
  }

  /**
   * @param {Uint8Array} data
   * @param {boolean} [quiet] what in it asks the terminal something is not answered
   */
  write(data, quiet = false) {
    this.#received += data.length;
    if (quiet) this.#quiet++;
    this.terminal.write(data, () => quiet && this.#quiet--);
  }

  /** Has nothing been written to it yet? */
  get blank() {
    return this.#received === 0;
  }

  /**
   * What the terminal shows, and how many bytes had been written to it by then.
   * @returns {Promise<{position: number, text: string, screen: string}>} with escape sequences; the screen as plain text
   */
  contents() {
    const position = this.#received;
    return new Promise((resolve, reject) => {
      // The call comes when all that was written before is drawn, and nothing of what follows.
      this.terminal.write("", () => {
        try {
          resolve({ position, text: this.#serialize.serialize({ scrollback: KEPT_LINES }), screen: this.#screen() });
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #screen() {
    const { rows, buffer } = this.terminal;
    const lines = Array.from({ length: rows }, (_, i) => buffer.active.getLine(buffer.active.baseY + i)?.translateToString(true) ?? "");
    return lines.join("\n").trimEnd();
  }

  /** Sends keys as if typed. @param {string} data */
  type(data) {
    this.#send(this.#withControl(data));
  }

  /** @param {string} data */
  #send(data) {
    if (this.#quiet) return;
    this.dispatchEvent(inputEvent(encoder.encode(data)));
  }

  /** @param {string} data */
  #withControl(data) {
    if (!this.control || data.length !== 1) return data;
    this.control = false;
    this.dispatchEvent(new CustomEvent("controlused"));
    return String.fromCharCode(data.toUpperCase().charCodeAt(0) & 0x1f);
  }

  /**
   * Copy and paste as terminals on Linux have them, since Ctrl+C is the guest's.
   * @param {KeyboardEvent} event
   * @returns {boolean} whether xterm.js shall go on with the key
   */
  #key(event) {
    if (event.altKey && event.shiftKey && event.code.startsWith("Digit")) return false; // the page's (dock.mjs)
    if (!event.ctrlKey || !event.shiftKey || event.altKey) return true;
    if (event.code === "KeyC") {
      event.preventDefault(); // in Chromium: the inspector
      if (event.type === "keydown" && this.terminal.hasSelection()) {
        void navigator.clipboard?.writeText(this.terminal.getSelection());
      }
      return false;
    }
    return event.code !== "KeyV"; // the browser answers with a paste event
  }

  #useWebgl() {
    this.renderer = "dom";
    if (!drawsFast()) return;
    try {
      const webgl = new WebglAddon();
      // A lost context (GPU reset, many tabs): the DOM renderer takes over.
      webgl.onContextLoss(() => webgl.dispose());
      this.terminal.loadAddon(webgl);
      this.renderer = "webgl";
    } catch {
      // no WebGL2 here
    }
  }
}

/**
 * Does graphics hardware draw?  Without it a canvas is read back for each frame, for which
 * this thread waits: letters that the browser draws itself cost less.
 */
function drawsFast() {
  const context = document.createElement("canvas").getContext("webgl2");
  const said = context?.getExtension("WEBGL_debug_renderer_info");
  const by = said && context?.getParameter(said.UNMASKED_RENDERER_WEBGL);
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return context !== null && !SOFTWARE.test(by ?? "");
}

/** @param {Uint8Array} data */
function inputEvent(data) {
  return new CustomEvent("keys", { detail: data });
}

/**
 * @param {MouseEvent} event
 * @param {string} uri
 */
function openLink(event, uri) {
  if (event.ctrlKey || event.metaKey || matchMedia("(pointer: coarse)").matches) {
    window.open(uri, "_blank", "noopener,noreferrer");
  }
}

customElements.define("hw-console", ConsoleElement);
