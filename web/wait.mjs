/**
 * Until a word of shared memory differs from `value`, at most `ms`; the event
 * loop goes on meanwhile.  May come back early.
 *
 * @param {Int32Array} words
 * @param {number} index
 * @param {number} value
 * @param {number} ms
 * @returns {Promise<boolean>} did it wait?  If not, nothing else had its turn
 */
export async function waitAsync(words, index, value, ms) {
  if (Atomics.waitAsync) {
    const waiting = Atomics.waitAsync(words, index, value, ms);
    if (waiting.async) await waiting.value;
    return waiting.async;
  }
  // Engines without waitAsync look every 4 ms, as often as a timer may fire.
  const end = performance.now() + ms;
  let waited = false;
  while (Atomics.load(words, index) === value && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 4));
    waited = true;
  }
  return waited;
}
