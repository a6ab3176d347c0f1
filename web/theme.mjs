/** The terminal's colours: the frame's ground and ink, and sixteen that read well on it. */

/** @typedef {import("./static/xterm/xterm.mjs").ITheme} ITheme */

const DARK = {
  black: "#22302d", red: "#ff7b72", green: "#56d364", yellow: "#e3b341",
  blue: "#79b8ff", magenta: "#d2a8ff", cyan: "#4fd1bd", white: "#c9d4d1",
  brightBlack: "#7d8f8a", brightRed: "#ffa198", brightGreen: "#7ee787", brightYellow: "#f2cc60",
  brightBlue: "#a5d0ff", brightMagenta: "#e2c5ff", brightCyan: "#86e5d6", brightWhite: "#ffffff",
};

const LIGHT = {
  black: "#16211f", red: "#b3261e", green: "#1a7f37", yellow: "#8a5a00",
  blue: "#0b57d0", magenta: "#8250df", cyan: "#0b6e63", white: "#6b7a76",
  brightBlack: "#55636a", brightRed: "#cf3029", brightGreen: "#157a34", brightYellow: "#9a6700",
  brightBlue: "#2668d8", brightMagenta: "#9a4ff0", brightCyan: "#0d7f72", brightWhite: "#3a4744",
};

/** @returns {ITheme} */
export function terminalTheme() {
  const style = getComputedStyle(document.documentElement);
  const token = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return {
    ...(matchMedia("(prefers-color-scheme: dark)").matches ? DARK : LIGHT),
    background: token("--screen"),
    foreground: token("--screen-ink"),
    cursor: token("--accent"),
    cursorAccent: token("--screen"),
    selectionBackground: token("--selection"),
  };
}
