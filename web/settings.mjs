/** What a person set for this browser: kept in localStorage, told by "change". */

const KEY = "hartwell.settings";
const SMALLEST = 9;
const LARGEST = 28;

class Settings extends EventTarget {
  fontSize = 14; // CSS pixels
  screenReader = false;
  panelWidth = 380; // CSS pixels
  saveSeconds = 10; // between two saves of a running machine; 0: never
  sleepMinutes = 30; // until a machine nobody sees falls asleep; 0: never

  constructor() {
    super();
    try {
      const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
      if (typeof kept.fontSize === "number") this.fontSize = clamp(kept.fontSize, SMALLEST, LARGEST);
      if (typeof kept.screenReader === "boolean") this.screenReader = kept.screenReader;
      if (typeof kept.panelWidth === "number") this.panelWidth = clamp(kept.panelWidth, 280, 900);
      if (typeof kept.saveSeconds === "number") this.saveSeconds = clamp(kept.saveSeconds, 0, 3600);
      if (typeof kept.sleepMinutes === "number") this.sleepMinutes = clamp(kept.sleepMinutes, 0, 1440);
    } catch {
      // Storage is off or damaged: the defaults do.
    }
  }

  /** @param {Partial<{fontSize: number, screenReader: boolean, panelWidth: number, saveSeconds: number, sleepMinutes: number}>} changes */
  set(changes) {
    Object.assign(this, changes);
    this.fontSize = clamp(this.fontSize, SMALLEST, LARGEST);
    try {
      const { fontSize, screenReader, panelWidth, saveSeconds, sleepMinutes } = this;
      localStorage.setItem(KEY, JSON.stringify({ fontSize, screenReader, panelWidth, saveSeconds, sleepMinutes }));
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
