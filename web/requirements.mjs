/**
 * What the page needs of its browser, and the words for what is missing.
 *
 * @typedef {object} Shortfall
 * @property {string} name an error name that programs can test
 * @property {string} title
 * @property {string} advice what a person can do about it
 */

/** A module that needs threads, bulk memory and SIMD: only validated, never run. */
const NEEDED_WASM = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // magic, version 1
  0x01, 0x04, 0x01, 0x60, 0x00, 0x00, // type: () -> ()
  0x03, 0x02, 0x01, 0x00, // one function of it
  0x05, 0x04, 0x01, 0x03, 0x01, 0x01, // memory: shared, 1 to 1 pages
  0x0a, 0x23, 0x01, 0x21, 0x00, // its code, 33 bytes, no locals
  0x41, 0x00, 0x41, 0x00, 0x42, 0x00, 0xfe, 0x01, 0x02, 0x00, 0x1a, // memory.atomic.wait32; drop
  0x41, 0x00, 0x41, 0x00, 0x41, 0x00, 0xfc, 0x0b, 0x00, // memory.fill
  0xfd, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1a, // v128.const; drop
  0x0b,
]);
NEEDED_WASM[25] = NEEDED_WASM.length - 26; // size of the code section
NEEDED_WASM[27] = NEEDED_WASM.length - 28; // size of its one body

/**
 * The first thing that is missing, or null.
 *
 * `place` is the global object; a test hands in one with holes.
 *
 * @param {any} [place]
 * @returns {Shortfall | null}
 */
export function missing(place = globalThis) {
  const update = "Use a current Chromium, Chrome, Edge, Firefox or Safari.";
  if (typeof place.WebAssembly !== "object") {
    return { name: "NoWebAssembly", title: "This browser runs no WebAssembly, or it is switched off.", advice: update };
  }
  if (place.isSecureContext === false) {
    return {
      name: "NotSecureContext",
      title: "This page did not come over a secure connection.",
      advice: "Browsers share memory between workers only on https:// or on localhost: open it by one of those.",
    };
  }
  if (place.crossOriginIsolated !== true) {
    return {
      name: "NotCrossOriginIsolated",
      title: "This page is not cross-origin isolated, so its workers may not share memory.",
      advice:
        "The server must send the headers “Cross-Origin-Opener-Policy: same-origin” and " +
        "“Cross-Origin-Embedder-Policy: require-corp”. `python3 serve.py` does; another server, a proxy " +
        "or a frame around this page may not.",
    };
  }
  if (typeof place.SharedArrayBuffer !== "function" || typeof place.Atomics !== "object") {
    return { name: "NoSharedMemory", title: "This browser has no shared memory for workers.", advice: update };
  }
  if (!place.WebAssembly.validate(NEEDED_WASM)) {
    return {
      name: "NoWasmThreads",
      title: "This browser’s WebAssembly lacks threads, bulk memory or SIMD.",
      advice: update,
    };
  }
  if (typeof place.Worker !== "function") {
    return { name: "NoWorkers", title: "This browser has no Web Workers, or they are switched off.", advice: update };
  }
  return null;
}
