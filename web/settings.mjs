/** What a person set for this browser: kept in localStorage, told by "change". */

const KEY = "hartwell.settings";
const SMALLEST = 9;
const LARGEST = 28;

class Settings extends EventTarget {
  fontSize = 14; // CSS pixels
  screenReader = false;
  panelWidth = 380; // CSS pixels

  constructor() {
    super();
    try {
      const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
      if (typeof kept.fontSize === "number") this.fontSize = clamp(kept.fontSize, SMALLEST, LARGEST);
      if (typeof kept.screenReader === "boolean") this.screenReader = kept.screenReader;
      if (typeof kept.panelWidth === "number") this.panelWidth = clamp(kept.panelWidth, 280, 900);
    } catch {
      // Storage is off or damaged: the defaults do.
    }
  }

  /** @param {Partial<{fontSize: number, screenReader: boolean, panelWidth: number}>} changes */
  set(changes) {
    Object.assign(this, changes);
    this.fontSize = clamp(this.fontSize, SMALLEST, LARGEST);
    try {
      const { fontSize, screenReader, panelWidth } = this;
      localStorage.setItem(KEY, JSON.stringify({ fontSize, screenReader, panelWidth }));
    } catch {
      // Lasts for this page then.
    }
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

export const settings = new Settings();
