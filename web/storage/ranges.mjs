/** Byte ranges of a file behind a URL, over a network that loses answers. */

const TRIES = 3;
const TRY_MS = 300;
/** An answer of which nothing came for so long is taken for lost: harts may wait for it, and so may a save. */
const SILENT_MS = 30_000;

/** @typedef {{status: number, bytes: Uint8Array}} Answer the HTTP status, and what it allows to be read of the body */

/**
 * Asks for a range; again where no answer came, or ceased to.  What a server says is final.
 *
 * @param {string} url
 * @param {number} offset
 * @param {number} count bytes
 * @param {number[]} [wanted] statuses whose body is read
 * @param {number} [silentMs]
 * @returns {Promise<Answer>}
 */
export async function askRange(url, offset, count, wanted = [206], silentMs = SILENT_MS) {
  /** @type {unknown} */
  let trouble;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    if (attempt) await new Promise((resolve) => setTimeout(resolve, TRY_MS * attempt));
    try {
      return await askOnce(url, `bytes=${offset}-${offset + count - 1}`, wanted, silentMs);
    } catch (error) {
      trouble = error;
    }
  }
  throw trouble;
}

/**
 * @param {string} url
 * @param {string} range
 * @param {number[]} wanted
 * @param {number} silentMs
 * @returns {Promise<Answer>}
 */
async function askOnce(url, range, wanted, silentMs) {
  const stop = new AbortController();
  const giveUp = () => stop.abort(new Error(`${url}: nothing came for ${silentMs / 1000} s`));
  let timer = setTimeout(giveUp, silentMs);
  try {
    const response = await fetch(url, { headers: { range }, signal: stop.signal });
    const { status } = response;
    const parts = [];
    if (wanted.includes(status)) {
      const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
      for (let piece = await reader.read(); piece.value; piece = await reader.read()) {
        clearTimeout(timer);
        timer = setTimeout(giveUp, silentMs);
        parts.push(piece.value);
      }
    }
    return { status, bytes: joined(parts) };
  } finally {
    clearTimeout(timer);
    stop.abort(); // a body that nobody read
  }
}

/** @param {Uint8Array[]} parts */
function joined(parts) {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
