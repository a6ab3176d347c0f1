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
 * V8 before 13 (Node before 24) never frees an instance that imports a table
 * as long as the table lives: 300 KB and 2.5 memory mappings each, of which
 * Linux gives a process 65,530.  So many a thread takes there, and no more.
 */
const MOST_WHERE_KEPT = 2000;

/** @returns {number} modules that this engine has room for */
function mostModules() {
  const version = /** @type {any} */ (globalThis).process?.versions?.v8;
  return version && Number.parseInt(version, 10) < 13 ? MOST_WHERE_KEPT : Number.POSITIVE_INFINITY;
}

/**
 * What cpu.wasm calls to make a module of the translator's part of itself
 * (docs/translator.md).  Synchronous: the hart goes on in it at once.
 *
 * @param {WebAssembly.Memory} memory
 * @param {() => WebAssembly.Table} table of the instance
 * @param {() => WebAssembly.Module | undefined} ahead the module made ahead, which is meant by 0 bytes
 */
function installer(memory, table, ahead) {
  const bytes = new Uint8Array(memory.buffer);
  /** @type {{env: Record<string, WebAssembly.Memory | WebAssembly.Table>}} */
  const imports = { env: { memory } };
  // The first module asks whether the engine has relaxed SIMD (module_fused in cpu/jit/module.c): "no" is an answer.
  let probing = true;
  let left = mostModules();
  /** @type {(offset: number, count: number, slots: number) => number} */
  return (offset, count, slots) => {
    const probe = probing;
    probing = false;
    if (left-- <= 0) {
      if (left === -1) console.warn("no more code is translated: this engine keeps what was given up; Node.js 24 does not");
      return 2; // INSTALL_FULL of cpu/jit/module.h
    }
    try {
      const own = table();
      // Not often; nor far: V8 before 13 copies the whole table for each instance.
      if (own.length < slots) own.grow(Math.max(1024, slots - own.length));
      imports.env.table ??= own;
      // A copy: engines refuse to compile from shared memory.
      const module = count ? new WebAssembly.Module(bytes.slice(offset >>> 0, (offset >>> 0) + count)) : ahead();
      if (!module) return 0;
      new WebAssembly.Instance(module, imports);
      return 1;
    } catch (error) {
      if (!(probe && error instanceof WebAssembly.CompileError)) console.warn(`translation of ${count} bytes refused:`, error);
      return 0;
    }
  };
}

/**
 * @param {WebAssembly.Module} module
 * @param {WebAssembly.Memory} memory
 * @param {Place} place
 * @param {() => WebAssembly.Module | undefined} [ahead] the module of translations made ahead
 * @returns {Promise<WebAssembly.Exports>}
 */
export async function instantiate(module, memory, place, ahead = () => undefined) {
  const table = () => /** @type {WebAssembly.Table} */ (exports.__indirect_function_table);
  const install = installer(memory, table, ahead);
  const { exports } = await WebAssembly.instantiate(module, { env: { memory }, host: { clock, install } });
  /** @type {WebAssembly.Global} */ (exports.__stack_pointer).value = place.stackTop;
  return exports;
}
