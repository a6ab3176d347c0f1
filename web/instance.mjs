/**
 * One thread's instance of cpu.wasm on the machine's memory.
 *
 * @typedef {object} Place where a thread's C stack lies (py/hartwell/layout.py)
 * @property {number} stackTop first byte above it
 */

/** Microseconds since the Unix epoch, finer than Date.now(). */
export function clock() {
  return (performance.timeOrigin + performance.now()) * 1000;
}

/**
 * @param {WebAssembly.Module} module
 * @param {WebAssembly.Memory} memory
 * @param {Place} place
 * @returns {Promise<WebAssembly.Exports>}
 */
export async function instantiate(module, memory, place) {
  const { exports } = await WebAssembly.instantiate(module, { env: { memory }, host: { clock } });
  /** @type {WebAssembly.Global} */ (exports.__stack_pointer).value = place.stackTop;
  return exports;
}
