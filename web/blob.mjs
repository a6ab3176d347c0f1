/**
 * Bytes that stay in JavaScript (a kernel, a disk image), and how they get
 * there from the network.
 */

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
}

/** @typedef {(what: string, loaded: number, total: number) => void} Report bytes; total 0: unknown */

const REPORT_MS = 60;

/**
 * Downloads a file, reporting on the way.
 *
 * @param {URL | string} url
 * @param {string} what its name for people
 * @param {Report} report
 * @returns {Promise<Uint8Array | null>} null when there is no such file
 */
export async function download(url, what, report) {
  const response = await fetch(url).catch((error) => {
    throw new Error(`${what}: no answer from the server (${error.message}); is it still running?`);
  });
  if (response.status === 404) return null;
  if (!response.ok || !response.body) throw new Error(`${what}: the server answered ${response.status}`);
  const total = Number(response.headers.get("content-length")) || 0;
  report(what, 0, total);
  let bytes = new Uint8Array(total || 1 << 20);
  let loaded = 0;
  let next = performance.now() + REPORT_MS;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
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
