/**
 * The worker of one hart: an instance of cpu.wasm that runs until the machine
 * stops.
 *
 * Gets {type: "prepare", module, memory, place, hart, budget, again}, answers
 * {type: "prepared"}; gets {type: "run", ahead}, answers {type: "stopped"} when
 * hart_run is left for good, or {type: "failed", message} when it trapped.
 * Pausing and waiting for interrupts happen inside hart_run, so a hart at work
 * reads no messages; the machine's memory is how it is reached.
 *
 * Before all that it may get {type: "warm", module}: translations made ahead, for a machine
 * that may come.
 */

import { instantiate } from "./instance.mjs";
import { listen, post } from "./port.mjs";
import { warm } from "./warm.mjs";

/** The module of translations made ahead, if there is one. @type {WebAssembly.Module | undefined} */
let ahead;

let wanted = false; // by a machine

/** @type {() => void} */
let run = () => {
  throw new Error("this hart was asked to run before it was prepared");
};

/** @param {any} message */
async function prepare({ module, memory, place, hart, budget, again }) {
  const exports = await instantiate(module, memory, place, () => ahead);
  const hartRun = /** @type {(hart: number, budget: number, flags: number) => number} */ (exports.hart_run);
  run = () => {
    // Leaving Wasm every `budget` instructions lets the engine move the
    // interpreter to its optimised code: V8 never replaces a running function.
    while (hartRun(hart, budget, 0) === again);
  };
}

listen(async (message) => {
  try {
    if (message.type === "warm") {
      await warm(message.module, () => !wanted);
    } else if (message.type === "prepare") {
      wanted = true;
      await prepare(message);
      post({ type: "prepared" });
    } else if (message.type === "run") {
      ahead = message.ahead;
      run();
      post({ type: "stopped" });
    }
  } catch (error) {
    const { name, message: text, stack } = /** @type {Error} */ (error);
    post({ type: "failed", message: `${name}: ${text}`, stack });
  }
});
