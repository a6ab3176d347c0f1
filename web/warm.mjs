/**
 * Has the engine compile translations made ahead before a machine calls them.
 *
 * V8 compiles a function when it is first called, on the thread that calls it: a tenth of a
 * boot's time, for its hart.  What one instance of a module has compiled, all have.
 */

const MOST = 500; // functions; those that a boot needs come first (hartwell/setup/preboot.py)
const AT_ONCE = 16; // between two looks whether somebody else needs the thread
const SLOTS = 1 << 15; // more than a table of translations has
const PAGES = 64; // what they say that their memory has at least

/**
 * Calls each function once, on a memory of its own that is all zeros and without an instruction
 * to spend, so it leaves at its first look or traps before.
 *
 * @param {WebAssembly.Module} module of translations made ahead
 * @param {() => boolean} goOn asked between some functions and the next
 * @returns {Promise<number>} how many were called; 0 also where that can't be
 */
export async function warm(module, goOn) {
  const limit = Error.stackTraceLimit;
  let called = 0;
  try {
    const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared: true });
    const table = new WebAssembly.Table({ element: "anyfunc", initial: SLOTS });
    new WebAssembly.Instance(module, { env: { memory, table } });
    for (let slot = 0; slot < SLOTS && called < MOST; slot++) {
      const region = table.get(slot);
      if (!region) continue;
      if (called % AT_ONCE === 0) {
        await othersFirst();
        if (!goOn()) break;
      }
      called++;
      Error.stackTraceLimit = 0;
      try {
        region(0, 0, 0n, -1); // RegionFunction of cpu/jit/jit.c: hart, depth, base, fuel
      } catch {
        // It is compiled all the same.
      }
      Error.stackTraceLimit = limit;
    }
  } catch (error) {
    console.info("Translations made ahead are compiled as they are needed.", error);
  }
  return called;
}

/** Lets messages that have come be read. */
function othersFirst() {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve(undefined);
    };
    port2.postMessage(null);
  });
}
