/**
 * Bytes that stay in JavaScript (a kernel, a disk image), and how they get
 * there from the network.
 */

/**
 * Gives memory back now that nobody reads again: a worker that does nothing
 * collects no garbage for minutes.  A part of a buffer, and one that others
 * share, stays.
 *
 * @param {Uint8Array} bytes
 */
export function letGo({ buffer, byteLength }) {
  // Engines since 2023 have transfer().
  if (byteLength === buffer.byteLength) /** @type {any} */ (buffer).transfer?.(0);
}

export class ByteBlob {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.size = bytes.length;
  }

  /**
   * A view of `count` bytes from `offset`, shorter at the end.
   * @param {number} offset
   * @param {number} count
   */
  slice(offset, count) {
    return this.bytes.subarray(offset, offset + count);
  }

  free() {
    letGo(this.bytes);
    this.bytes = new Uint8Array();
    this.size = 0;
  }
}

/** @typedef {(what: string, loaded: number, total: number) => void} Report bytes; total 0: unknown */

const REPORT_MS = 60;
const PIECE = 1 << 20;

/**
 * What a body brings, each piece good until the next is asked for.  All are read into one
 * buffer where the engine can: fresh memory for each costs a tenth of a download.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<Uint8Array>}
 */
async function* pieces(body) {
  let reader;
  try {
    reader = body.getReader({ mode: "byob" });
  } catch { // no stream of bytes
    const plain = body.getReader();
    for (let next; !(next = await plain.read()).done; ) yield next.value;
    return;
  }
  for (let buffer = new ArrayBuffer(PIECE); ; ) {
    const { done, value } = await reader.read(new Uint8Array(buffer));
    if (done) return;
    yield value;
    buffer = value.buffer;
  }
}

/**
 * A server on this computer gives a file as fast as the browser's cache does, and what goes into
 * the cache comes half as fast.
 *
 * @param {URL | string} url
 * @returns {RequestInit}
 */
function uncachedIfNear(url) {
  const { hostname } = new URL(url);
  return /^(localhost|.*\.localhost|127\.[\d.]+|\[::1\])$/.test(hostname) ? { cache: "no-store" } : {};
}

/**
 * Downloads a file, reporting on the way.
 *
 * @param {URL | string} url
 * @param {string} what its name for people
 * @param {Report} report
 * @returns {Promise<Uint8Array | null>} null when there is no such file
 */
export async function download(url, what, report) {
  const response = await fetch(url, uncachedIfNear(url)).catch((error) => {
    throw new Error(`${what}: no answer from the server (${error.message}); is it still running?`);
  });
  if (response.status === 404) return null;
  if (!response.ok || !response.body) throw new Error(`${what}: the server answered ${response.status}`);
  const total = Number(response.headers.get("content-length")) || 0;
  report(what, 0, total);
  let bytes = new Uint8Array(total || 1 << 20);
  let loaded = 0;
  let next = performance.now() + REPORT_MS;
  for await (const value of pieces(response.body)) {
    if (loaded + value.length > bytes.length) {
      const larger = new Uint8Array(Math.max(bytes.length * 2, loaded + value.length));
      larger.set(bytes.subarray(0, loaded));
      bytes = larger;
    }
    bytes.set(value, loaded);
    loaded += value.length;
    if (performance.now() >= next) {
      report(what, loaded, Math.max(total, loaded));
      next = performance.now() + REPORT_MS;
    }
  }
  report(what, loaded, loaded);
  return bytes.subarray(0, loaded);
}

/**
 * Lets somebody else's downloads report too: while `work` runs, every fetch
 * that it makes counts into one sum named `what`.
 *
 * @template T
 * @param {string} what
 * @param {Report} report
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function countingFetches(what, report, work) {
  const plain = globalThis.fetch;
  let loaded = 0;
  let total = 0;
  let next = 0;
  globalThis.fetch = async (...request) => {
    const response = await plain(...request);
    // Wasm as it comes: an engine keeps the code that it makes of it only then.
    if (!response.ok || !response.body || response.headers.get("content-type") === "application/wasm") return response;
    total += Number(response.headers.get("content-length")) || 0;
    const counter = new TransformStream({
      transform(/** @type {Uint8Array} */ chunk, controller) {
        loaded += chunk.length;
        if (performance.now() >= next) {
          report(what, loaded, Math.max(loaded + 1, total)); // it ends with the work, not with a file
          next = performance.now() + REPORT_MS;
        }
        controller.enqueue(chunk);
      },
    });
    const { status, statusText, headers } = response;
    return new Response(response.body.pipeThrough(counter), { status, statusText, headers });
  };
  try {
    return await work();
  } finally {
    globalThis.fetch = plain;
    if (loaded) report(what, loaded, loaded);
  }
}
