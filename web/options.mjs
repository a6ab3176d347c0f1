/**
 * The address's parameters, and the Python they stand for.
 *
 *     ?image=debian&harts=2&memory=512M&append=quiet&kernel=…&initrd=…&network=switch&boot=no
 *
 * Without any of the machine's, the page begins with the machine that slept
 * last (`Machine.arrive`); boot=cold boots all the same.
 *
 * All are optional.  What a value may be is Python's to judge (`Machine.boot`
 * names what is wrong); here only its shape is.
 *
 * @typedef {object} Options
 * @property {boolean} boot whether to start a machine when the page is loaded
 * @property {boolean} cold whether that is a boot even where a machine could wake
 * @property {Record<string, string | number>} machine arguments of Machine.boot
 */

const TEXTS = ["image", "memory", "append", "kernel", "initrd", "firmware", "network"];
const FLAGS = new Map([["yes", true], ["1", true], ["true", true], ["no", false], ["0", false], ["false", false]]);

/**
 * @param {string} search location.search
 * @returns {Options} throws an Error that says which parameter is wrong
 */
export function parseOptions(search) {
  /** @type {Options} */
  const options = { boot: true, cold: false, machine: {} };
  for (const [name, value] of new URLSearchParams(search)) {
    if (TEXTS.includes(name)) {
      options.machine[name] = value;
    } else if (name === "harts") {
      if (!/^-?\d+$/.test(value)) throw new Error(`harts=${value} in the address: it must be a whole number, such as 2`);
      options.machine.harts = Number(value);
    } else if (name === "boot" && value.toLowerCase() === "cold") {
      options.cold = true;
    } else if (name === "boot") {
      const flag = FLAGS.get(value.toLowerCase());
      if (flag === undefined) throw new Error(`boot=${value} in the address: it must be yes, no or cold`);
      options.boot = flag;
    } else {
      const known = ["harts", "boot", ...TEXTS].join(", ");
      throw new Error(`${name} in the address is no parameter of this page; those are ${known}`);
    }
  }
  return options;
}

/**
 * Does the page begin with `Machine.arrive`?
 * @param {string} search location.search
 */
export function arrives(search) {
  try {
    const { boot, cold, machine } = parseOptions(search);
    return boot && !cold && Object.keys(machine).length === 0;
  } catch {
    return false;
  }
}

/**
 * What the page begins with, for the supervisor's address.
 * @param {string} search location.search
 * @returns {string} "arrive", "image=NAME" of the one that may be booted ("": the default), or "" where neither is known
 */
export function beginning(search) {
  if (arrives(search)) return "arrive";
  try {
    const { kernel, image } = parseOptions(search).machine;
    return kernel ? "" : String(new URLSearchParams({ image: String(image ?? "") }));
  } catch {
    return ""; // the page says what is wrong
  }
}

/**
 * A Python call as text, e.g. `Machine.boot(image="debian", harts=2)`.
 *
 * @param {string} name
 * @param {Record<string, string | number>} keywords
 */
export function pythonCall(name, keywords) {
  const parts = Object.entries(keywords).map(([key, value]) => `${key}=${pythonLiteral(value)}`);
  return `${name}(${parts.join(", ")})`;
}

/** @param {string | number} value */
export function pythonLiteral(value) {
  // JSON's strings are Python's, but for surrogates, which an address cannot have.
  return typeof value === "number" ? String(value) : JSON.stringify(value);
}
