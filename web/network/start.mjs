/** Starts a machine's network worker; what `hartwell.platform.javascript` calls. */

/**
 * @param {(listen: (message: any) => void) => import("../core.mjs").Thread} spawn of worker.mjs
 * @param {WebAssembly.Module} module
 * @param {any} core of createCore
 * @param {string} json {stackTop, cards}
 * @param {(json: string, frame: Uint8Array) => void} heard
 */
export function startNetwork(spawn, module, core, json, heard) {
  const thread = spawn(({ frame = new Uint8Array(), ...message }) => heard(JSON.stringify(message), frame));
  thread.post({ type: "prepare", module, memory: core.memory, ...JSON.parse(json) });
  return {
    /**
     * @param {string} text
     * @param {Uint8Array} [frame]
     */
    post: (text, frame) => thread.post({ ...JSON.parse(text), ...(frame?.length ? { frame: frame.slice() } : {}) }),
    terminate: () => thread.terminate(),
  };
}
