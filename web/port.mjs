/**
 * A worker's own end of its message port: the same two functions in a browser
 * worker and in a Node worker thread.
 */

const inBrowser = typeof WorkerGlobalScope !== "undefined";

/** @type {any} */
const port = inBrowser ? globalThis : (await import("node:worker_threads")).parentPort;

/**
 * @param {any} message
 * @param {Transferable[]} [transfer]
 */
export function post(message, transfer = []) {
  port.postMessage(message, transfer);
}

/** @param {(message: any) => void} handler */
export function listen(handler) {
  if (inBrowser) port.onmessage = (/** @type {MessageEvent} */ event) => handler(event.data);
  else port.on("message", handler);
}
